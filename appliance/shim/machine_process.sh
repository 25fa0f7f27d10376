# The beginning of a process beside the commands: the environment that all of the job has. Needs machine.sh.
#
#   r_base r_instance r_node r_cookie r_home    r_file  what a terminal read this from
#   r_former  what former ones have in their environments that may have outlived their connections (needs machine_end.sh)

[ -z "$r_file" ] || rm -f "$r_file"
cd -P -- "$r_base/$r_instance/$r_node" 2>/dev/null && r_is_supervised || { r_tell gone; exit 0; }
for r_each_former in $r_former; do r_end "$r_each_former" HUP 50; done
unset GIT_CONFIG_PARAMETERS GIT_PREFIX SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_ORIGINAL_COMMAND SSH_AUTH_SOCK SSH_USER_AUTH
eval "$r_exports"
export TMPDIR="$PWD/tmp" RONDO_SANDBOX="$r_cookie"
[ "$r_home" = user ] || export HOME="$PWD/home"
r_join_cgroups
exec 2>&1
