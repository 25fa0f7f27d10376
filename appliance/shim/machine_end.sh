# Ends processes by a word in their environment, and all in the sessions that belong to such. Needs machine.sh.
#
# A session belongs to the job when one with the word is in it, and its leader, if it lives, has the word too: nothing here
# trusts a number that the job could have written down. What has both left the session and dropped the word is found only
# by the cgroups of the job (r_cgroups), where there are some, or as it stands in the job's folder (r_folder).

r_cgroups= r_folder=

r_marked() { # NAME=VALUE: pids
    if [ -r /proc/self/stat ]; then
        if printf 'a\0b\0' | grep -qzxF b; then
            grep -lszxF -e "$1" /proc/[0-9]*/environ | cut -d / -f 3
        else
            for r_each in /proc/[0-9]*/environ; do
                tr '\0' '\n' <"$r_each" | grep -qxF -e "$1" && echo "$r_each" | cut -d / -f 3
            done
        fi
    elif [ "$(uname)" = Darwin ]; then
        ps -A -E -ww -o pid= -o command= | grep -F -e " $1 " -e " $1" | sed 's/^ *//; s/ .*//'
    else
        ps -A -e -ww -o pid= -o command= | grep -F -e "$1 " | sed 's/^ *//; s/ .*//'
    fi
} 2>/dev/null

r_sessions() { # lines "PID SESSION" of all that lives
    if [ -r /proc/self/stat ]; then
        for r_each in /proc/[0-9]*/stat; do
            read -r r_line <"$r_each" || continue
            set -- ${r_line##*') '}
            case $1 in Z | X) continue ;; esac
            r_each=${r_each#/proc/}
            echo "${r_each%/stat} $4"
        done
    else
        ps -A -o pid= -o sess=
    fi
} 2>/dev/null

r_standing() { # FOLDER: pids of those whose working directory it is, or lies in it; but nobody who sits at a terminal
    ls -ld /proc/[0-9]*/cwd | while IFS= read -r r_line; do
        case $r_line in *" -> $1" | *" -> $1/"*) ;; *) continue ;; esac
        r_each=${r_line%%/cwd -> *}
        r_each=${r_each##*/}
        read -r r_line <"/proc/$r_each/stat" || continue
        set -- "$1" ${r_line##*') '}
        [ "$6" != 0 ] || echo "$r_each"
    done
} 2>/dev/null

r_find() { # NAME=VALUE: r_all = pids
    r_own=" $(r_marked "$1" | tr '\n' ' ')"
    set --
    [ "$r_own" = ' ' ] || set -- $(r_with_sessions)
    [ -z "$r_folder" ] || set -- "$@" $(r_standing "$r_folder")
    for r_group in $r_cgroups; do set -- "$@" $(find "$r_group" -name cgroup.procs -exec cat {} +); done
    r_all=
    for r_each in "$@"; do
        case $r_each in 0 | 1) ;; *) r_all="$r_all $r_each" ;; esac # a job of root may move anybody into its cgroup
    done
} 2>/dev/null

r_with_sessions() { # pids: r_own, and all in the sessions that belong to such
    r_list=$(r_sessions)
    r_alive=" $(echo "$r_list" | sed 's/ .*//' | tr '\n' ' ')"
    echo "$r_list" | {
        r_theirs=' '
        while read -r r_pid r_session; do
            case $r_own in *" $r_pid "*) ;; *) continue ;; esac
            echo "$r_pid"
            case $r_alive in *" $r_session "*)
                case $r_own in *" $r_session "*) ;; *) continue ;; esac
                ;;
            esac
            [ "$r_session" -gt 1 ] && r_theirs="$r_theirs$r_session "
        done
        echo "$r_list" | while read -r r_pid r_session; do
            case $r_theirs in *" $r_session "*) echo "$r_pid" ;; esac
        done
    } | sort -u
}

r_now() { # r_now = hundredths of a second since some moment
    if read -r r_now r_rest </proc/uptime; then
        r_now=$((${r_now%.*} * 100 + 1${r_now#*.} - 100)) # 08 alone would be octal
    else
        r_now=$(date +%s)00
    fi
} 2>/dev/null

r_end() { # NAME=VALUE SIGNAL HUNDREDTHS: once to each; SIGKILL follows after that time
    r_how=$2
    r_told= r_rounds=0
    r_now
    r_kill_at=$((r_now + $3))
    while r_find "$1" && [ -n "$r_all" ]; do
        r_now
        [ "$r_now" -lt "$r_kill_at" ] || r_how=KILL
        [ "$r_now" -lt "$((r_kill_at + 1000))" ] || r_fail "processes$r_all of the job cannot be ended"
        for r_each in $r_all; do
            case "$r_told " in *" $r_each "*) [ "$r_how" = KILL ] || continue ;; esac
            r_told="$r_told $r_each"
            kill "-$r_how" "$r_each"
            [ "$r_how" = KILL ] || kill -CONT "$r_each"
        done 2>/dev/null
        r_rounds=$((r_rounds + 1))
        if [ "$r_rounds" -lt 10 ]; then r_pause; else sleep 0.2 2>/dev/null || sleep 1; fi # a look at all costs something
    done
}
