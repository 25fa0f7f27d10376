# Enters the folder of all our jobs on a machine, and makes it. Needs machine.sh.
#
#   r_base r_instance
#
# Whoever else may change it, or a folder above, could put a folder of their own in a job's place and be given its secrets.

r_enter() {
    umask 077
    mkdir -p -- "$r_base/$r_instance" 2>/dev/null
    cd -P -- "$r_base/$r_instance" 2>/dev/null && [ -w . ] || r_fail "the folder $r_base/$r_instance cannot be made or written"
    case $(uname) in MINGW* | MSYS* | CYGWIN*) return ;; esac # owners there are groups
    set -- "$r_base" "$r_base/$r_instance"
    r_above=$PWD
    while [ -n "$r_above" ]; do
        set -- "$@" "$r_above"
        r_above=${r_above%/*}
    done
    r_uid=$(id -u 2>/dev/null) || return 0
    r_open=$(find "$@" -prune \( ! -user "$r_uid" ! -user 0 -o ! -type l -perm -2 ! -perm -1000 \) 2>/dev/null)
    [ -z "$r_open" ] || r_fail "others on this machine may change $r_open: choose another folder, or mend its owner and mode"
}
