# Makes the folder of one job and starts its supervisor, whose text comes on the rest of stdin. Needs machine_folder.sh.
#
#   r_base r_instance r_node r_cookie    r_home "fresh" or "user"    r_exports  of the settings
#
# A folder of a job:  home/  tmp/  state/ the supervisor's   in out aside  FIFOs   pid  the supervisor's identity
#   supervise  its text   bridges/  a note of each process that connects us to the FIFOs   shells/  what terminals begin with

r_find_setsid() { # r_detach = words before a command that give it its own session
    r_detach=$(command -v setsid) && return
    for r_box in busybox toybox; do
        r_detach=$(command -v $r_box) && "$r_detach" setsid true 2>/dev/null && { r_detach="$r_detach setsid"; return; }
    done
    r_detach=
    trap '' HUP
}

r_let_go() { # End the shell that waits for us beside the supervisor: "&" would leave SIGINT ignored in all of the job
    r_tries=500
    until [ -s "$r_dir/pid" ] || [ "$r_tries" -le 0 ]; do
        r_tries=$((r_tries - 1))
        r_pause
    done
    kill -KILL "$r_self"
}

r_make_cgroups() {
    r_list_cgroups
    for r_group in $r_cgroups; do
        mkdir -p "$r_group" || mkdir -p "$r_group" || continue # the end of another job may just take the empty ones above
        r_above=${r_group%/*} # version 2 counts what the kernel kills for memory only where each level above was asked to
        for r_each in "${r_above%/*/*}" "${r_above%/*}" "$r_above"; do echo +memory >"$r_each/cgroup.subtree_control"; done
    done
} 2>/dev/null

r_start() { # In a subshell
    if [ -r /proc/self/stat ]; then read -r r_self r_rest </proc/self/stat; else r_self=$(exec sh -c 'echo "$PPID"'); fi
    if [ -n "$r_detach" ] || ! command -v perl >/dev/null; then
        $r_detach sh "$r_dir/supervise" "$r_dir/state" 0<>"$r_dir/in" 1<>"$r_dir/out" 2<>"$r_dir/aside" | r_let_go
    else
        perl -e 'use POSIX; POSIX::setsid(); exec @ARGV' sh "$r_dir/supervise" "$r_dir/state" \
            0<>"$r_dir/in" 1<>"$r_dir/out" 2<>"$r_dir/aside" | r_let_go
    fi
}

r_mask=$(umask)
r_enter
r_dir=$PWD/$r_node
[ ! -e "$r_dir" ] && [ ! -L "$r_dir" ] || { r_tell exists; exit 0; }
mkdir -- "$r_dir" && cd -- "$r_dir" && mkdir home tmp state bridges shells && mkfifo in out aside &&
    cat >supervise || r_fail "the folder $r_dir cannot be written; is there room?"
[ "$(tail -n 1 supervise)" = '# the end' ] || r_fail 'the text of the supervisor has not come whole'
umask "$r_mask"
unset GIT_CONFIG_PARAMETERS GIT_PREFIX SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_ORIGINAL_COMMAND SSH_AUTH_SOCK SSH_USER_AUTH
eval "$r_exports"
export TMPDIR="$r_dir/tmp" RONDO_SANDBOX="$r_cookie"
[ "$r_home" = user ] || export HOME="$r_dir/home"
cd -- "${HOME:-/}" || r_fail "the home $HOME cannot be entered"
r_find_setsid
r_make_cgroups
(r_start) >/dev/null
cd -- "$r_dir"
r_is_supervised || r_fail 'the supervisor cannot be started'
trap '' PIPE
# Nobody hears it: the job was cancelled meanwhile, and whoever cleans up after that may not have seen the folder yet.
r_tell ok "$(uname -s -m) $r_dir" || { kill -KILL "-${r_who%%.*}"; rm -rf -- "$r_dir"; }
