# The bridge between an SSH channel and the FIFOs of a supervisor: stdin into `in`, `out` to stdout, `aside` to stderr.
# Needs machine.sh, and a process group of its own (OpenSSH gives every command one).
#
#   r_base r_instance r_node
#
# It ends with its channel or its supervisor, whichever is first, and all of it at once. But the server may believe in a
# connection that has been dead for hours; what a bridge of that time read would be lost. So every bridge ends those
# before it, and is sure of their death before it reads anything. Each writes its own note first and looks for others then:
# of two that begin at the same time at least one sees the other.

r_over() { # The end, of both directions
    rm -f "bridges/$r_me"
    kill -KILL "-$$"
}

r_lives() { # PID: whether anything of this process group lives; zombies do not
    if [ -r /proc/self/stat ]; then
        for r_stat in /proc/[0-9]*/stat; do
            read -r r_line <"$r_stat" || continue
            set -- "$1" ${r_line##*') '}
            [ "$4" != "$1" ] || case $2 in Z | X) ;; *) return 0 ;; esac
        done
        return 1
    fi
    ps -A -o pgid= -o state= | grep -q "^ *$1  *[^Z]"
} 2>/dev/null

r_end_bridge() { # IDENTITY; when the pid belongs to another process by now, its group cannot be alive
    case ${1%%.*} in '' | 0 | 1 | *[!0-9]*) return ;; esac
    r_identity "${1%%.*}"
    if [ -z "$r_who" ] || [ "$r_who" = "$1" ]; then
        r_tries=500
        while kill -KILL "-${1%%.*}" 2>/dev/null && r_lives "${1%%.*}"; do
            r_tries=$((r_tries - 1))
            [ "$r_tries" -gt 0 ] || r_fail "a former connection to the job (process ${1%%.*}) cannot be ended"
            r_pause
        done
    fi
    rm -f "bridges/$1"
}

cd -P -- "$r_base/$r_instance/$r_node" 2>/dev/null && r_is_supervised || { r_tell gone; exit 0; }
kill -0 "-$$" 2>/dev/null || r_fail 'the SSH server has to start every command in a process group of its own'
r_identity "$$"
r_me=$r_who
: >"bridges/$r_me" || r_fail "the folder $PWD/bridges cannot be written; is there room?"
for r_other in bridges/*; do
    r_other=${r_other#bridges/}
    [ "$r_other" = "$r_me" ] || r_end_bridge "$r_other"
done
# Held in both directions while they are opened, which would have to wait if the supervisor ended just now.
exec 8<>out 9<>aside
exec 4<out 5<aside
exec 8>&- 9>&-
r_tell ok
{
    cat <&4
    r_over
} </dev/null &
{
    cat <&5 >&2
    r_over
} </dev/null &
cat 1<>in
r_over
