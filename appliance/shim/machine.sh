# What all our texts on a machine share. Each is sent on the stdin of a `sh`, behind assignments of what it has to know
# (executors/machine_script.py), and answers in lines that begin with ^A and r_nonce: a login there may say anything first.
#
# POSIX sh with the tools of Linux (also busybox and toybox), macOS or a BSD; processes are looked at in /proc where
# there is one, by `ps` elsewhere.

r_tell() { printf '\001%s %s\n' "$r_nonce" "$*"; }

r_fail() { r_tell no "$*"; exit 0; }

# The program of that name in procps takes "-KILL -123" for "KILL to -1": to all that this user has.
case $(command -v kill) in */*) r_fail 'the shell called sh there has no kill of its own (posh?); make it dash or bash' ;; esac

r_identity() { # PID: r_who = a word that names this process and none after it; "" when it has ended
    r_who=
    if [ -r /proc/self/stat ]; then
        read -r r_line <"/proc/$1/stat" || return 0
        set -- "$1" ${r_line##*') '}
        case $2 in Z | X) ;; *) r_who=$1.${21} ;; esac
    else
        case $(ps -o state= -p "$1") in '' | Z*) return 0 ;; esac
        r_who=$1.$(LC_ALL=C ps -o lstart= -p "$1" | tr -d ' \n')
    fi
} 2>/dev/null

r_is_supervised() { # whether the supervisor of the folder we are in lives
    r_noted=
    read -r r_noted <pid 2>/dev/null || return 1
    r_identity "${r_noted%%.*}"
    [ -n "$r_who" ] && [ "$r_who" = "$r_noted" ]
}

r_list_cgroups() { # r_cgroups = the job's own, where we may make some: root may. What is in them is the job's, whatever it did
    r_cgroups=
    for r_root in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/memory; do
        [ ! -w "$r_root/cgroup.procs" ] || r_cgroups="$r_cgroups $r_root/rondo/$r_instance/$r_node"
    done
}

r_join_cgroups() {
    r_list_cgroups
    for r_group in $r_cgroups; do [ ! -d "$r_group" ] || echo "$$" >"$r_group/cgroup.procs"; done
} 2>/dev/null

r_pause() { sleep 0.02 2>/dev/null || sleep 1; }
