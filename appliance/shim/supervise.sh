# The supervisor: owns the commands of one sandbox, their output and their exit codes. POSIX sh (dash, bash, busybox).
#
#   sh -c "$SUPERVISE" rondo STATE [ENTRYPOINT ARGS...]
#
# It is a container's main process, a detached process of this host, or the far end of one SSH channel. Nothing is
# mounted and nothing copied: its text comes as an argument, everything else on stdin. Whoever sits at the other end
# (executors/supervised.py) is only a reader and may die at any moment; no byte of output, exit code or decision
# lives there.
#
# STATE is the state folder, "-" for the first writable of /tmp, /var/tmp, /dev/shm, $HOME. Files of command ID:
#   ID.run     made once, with O_EXCL: the arbiter. A command is started at most once per id, ever.
#   ID.start   what the step's shell does first: working directory, exports, exec. Made by the client, sourced.
#   ID.script  the user's script
#   ID.log     stdout and stderr          ID.pid     the step = its process group; ID.pump: who writes the log
#   ID.code    written when it ends       ID.exit    "CODE FLAGS ;" when all is done, and no printing about it goes on
#   ID.runner  pid of its runner          ID.follow  "NONCE OFFSET ;": somebody wants the output from there
#   ID.served  the nonce answered last    ID.closing the runner looks at ID.follow once more, and never again
#   bin/       the in-job `circleci`      task/      what the appliance tells it; halt: what it asks for
#   questions  a FIFO: lines "ID TEXT" from the in-job `circleci` to the appliance, which answers below task/
# A small file is written by one write() and ends in " ;", so a half-written one is never believed: no mv, no fork.
#
# Commands on stdin, one line each, ending in " ;" so that a line cut off by a client's death is no command:
#   run ID fg|bg NONCE OFFSET ;  then the payload: lines of ID.start with a "-" before each, "=", lines of ID.script
#                                likewise, ".". Any other line in a payload ends it, and it is as if never sent:
#                                so a new client begins with a newline and "sync ;".
#   follow ID NONCE OFFSET ;     output from OFFSET on, please
#   kill ID TENTHS ;             SIGTERM to the group, SIGKILL after TENTHS of a second
# Payloads are read with `read`, byte by byte: head -c may read more than it gives, and what it took is lost. Secrets
# (exports) come only this way, never in argv.
#
# Answers on stdout:  ^Abegin NONCE\n  bytes  ^Aend NONCE CODE SIZE FLAGS\n   all on one stream, so order is certain.
# FLAGS is a sum: 1 the kernel killed something for memory, 2 the job asks to end here, as a success (`step halt`).
# A short step costs no reader: if nobody asked before it ended, its runner prints begin, up to 65536 bytes and end in
# one go (SIZE "-"). Otherwise, the client asks by `follow` and a tail streams the file. At the step's end the
# runner *waits* for that tail to be dead, then prints the end mark, with the size of the log; a client that has
# less asks once more. Bytes of a former reader are what comes before the client's own begin mark. Late writers
# (daemons that kept the output open) cannot delay the end: every answer is bounded by the size then.
#
# Beside the answers, on stderr:  ^Aquestion ID TEXT ;   a line of `questions`. A stream of its own, for it comes at any
# moment, also amid a tail's bytes. It is lost when nobody is attached just then; so who asks, asks again.
#
# Processes:  top ─┬─ main ──pipe──> starter ─┬─ step (its own session)
#                  (reads stdin)              └─ runner (prints; traps USR1: "look at ID.follow")
# Beside the starter is the listener to `questions`, which nothing waits for.
# All others are members of foreground pipelines, never "&": a shell without job control starts "&" children with SIGINT
# and SIGQUIT ignored, for ever, and so would be every program of the step. The starter runs one foreground step at a
# time. For a background command it becomes the right side of a new pipeline whose left side is the command.
# `top` does nothing but wait, so as a container's process 1 it reaps every orphan; when all below it died (a
# step did `kill -9 -1`), it writes 137 for what has no exit code and starts main again.

r_say() { printf '\001%s\n' "$*"; }

r_self() { # r_pid = the pid of this very (sub)shell; $$ is that of the outermost
    if [ -r /proc/self/stat ]; then read -r r_pid r_rest </proc/self/stat; else r_pid=$(exec sh -c 'echo "$PPID"'); fi
}

r_read_word() { # r_word = first word of file $1, if the file is complete
    r_word=
    read -r r_word r_end <"$1" 2>/dev/null && [ "$r_end" = ';' ]
} 2>/dev/null

r_has_ended() { [ -s "$r_dir/$1.exit" ]; }

r_count_oom() { # r_oom = how many processes of this cgroup the kernel has killed for memory
    r_oom=0
    [ -n "$r_cgroup" ] || return 0
    while read -r r_key r_value; do
        [ "$r_key" = oom_kill ] && r_oom=$r_value
    done <"$r_cgroup"
} 2>/dev/null

# --- the step, left side of a pipeline -------------------------------------------------------------------------------

r_step() { # ID: becomes the step; returns never
    exec 3>&- 5<&- 6<&-
    r_self
    echo "$r_pid ;" >"$r_dir/$1.pid"
    [ -e "$r_dir/$1.stop" ] && exit 143
    umask "$r_umask"
    r_script=$r_dir/$1.script
    . "$r_dir/$1.start"
}

# Its output goes through a pipe, not straight into the log: `echo >/dev/stderr` and `curl -o /dev/stderr` open what they
# are given once more by its name, and a file opened so is emptied. Nobody waits for the pump, which lives as long as
# anybody holds the pipe; but the end of a step is not told before all that the step itself wrote is in the log.

r_watch_step() { r_watch_piped "$1" | r_pump "$1"; } # ID: run it and note how it ended

r_pump() { # ID: into the log, by a process that is left behind
    exec 7<&0
    cat <&7 >>"$r_dir/$1.log" 2>/dev/null 3>&- 5<&- 6<&- 7<&- &
    echo "$! ;" >"$r_dir/$1.pump"
}

r_drain() { # ID: wait until the pump has nothing left to do
    r_spins=0
    until r_read_word "$r_dir/$1.pump"; do r_pause; done
    # A pump that sleeps waits for more: who writes to a pipe, or closes it, wakes its reader before going on.
    while read -r r_p r_name r_state r_rest <"/proc/$r_word/stat"; do
        case $r_state in S | Z | X) return ;; esac
        [ "$r_spins" -lt 3000 ] || return # half a minute: a step has stopped its own pump, or the disk hangs
        r_pause
    done
    [ -r /proc/self/stat ] || sleep 0.1 || sleep 1
} 2>/dev/null

r_pause() { # Most often a moment is enough
    r_spins=$((r_spins + 1))
    [ "$r_spins" -lt 200 ] || sleep 0.01 || sleep 1
}

r_watch_piped() { # ID
    r_count_oom
    r_before=$r_oom
    (r_step "$1") </dev/null 2>&1
    r_code=$?
    exec >/dev/null # our own end of the pipe
    r_drain "$1"
    r_count_oom
    [ "$r_oom" -gt "$r_before" ] && r_oom=1 || r_oom=0
    [ -e "$r_dir/halt" ] && r_oom=$((r_oom + 2))
    echo "$r_code $r_oom ;" >"$r_dir/$1.code"
}

# --- the runner, right side of a pipeline ----------------------------------------------------------------------------

r_run() { # ID NONCE OFFSET: stdin ends with the step
    r_id=$1 r_nonce=$2 r_offset=$3
    r_log=$r_dir/$1.log
    r_tail='' r_served='' r_busy='' r_asked='' r_code=''
    exec 4<&0 </dev/null
    trap r_answer USR1
    r_self
    echo "$r_pid ;" >"$r_dir/$1.runner"
    r_busy=1 # a signal between the next two lines would start the tail, and $! be its pid: waited for in vain
    (read -r r_line <&4) & # only `wait` is left at once by a trapped signal, `read` is not everywhere
    r_waiter=$!
    r_busy=
    exec 4<&-
    [ -s "$r_dir/$1.follow" ] && r_answer
    while kill -0 "$r_waiter"; do wait "$r_waiter" || [ ! -s "$r_dir/$1.code" ] || break; done 2>/dev/null
    r_finish
}

r_answer() { # The signal handler. It does the work itself, so no wakeup is lost, and never inside itself
    r_asked=1
    [ -n "$r_busy" ] && return
    while [ -n "$r_asked" ]; do
        r_busy=1
        r_asked=
        r_attend
        r_busy=
    done
}

r_attend() {
    read -r r_n r_o r_end <"$r_dir/$r_id.follow" || return
    [ "$r_end" = ';' ] && [ "$r_n" != "$r_served" ] || return
    r_hush
    r_served=$r_n r_nonce=$r_n r_offset=$r_o
    echo "$r_n ;" >"$r_dir/$r_id.served"
    if [ -n "$r_code" ]; then
        r_print_rest "$r_id" "$r_n" "$r_o"
    else
        r_say begin "$r_n"
        tail $r_often -c "+$((r_o + 1))" -f "$r_log" 2>/dev/null &
        r_tail=$!
    fi
}

r_hush() { # End the tail and be sure that it is dead: nothing of it may come after the next mark
    [ -n "$r_tail" ] || return 0
    kill "$r_tail"
    while kill -0 "$r_tail"; do
        wait "$r_tail"
        [ $? -ne 127 ] || break
    done
    r_tail=
} 2>/dev/null

r_finish() {
    r_busy=1
    r_code=137 r_oom=0
    read -r r_code r_oom r_end <"$r_dir/$r_id.code"
    : "${r_code:=137}" "${r_oom:=0}"
    if [ -n "$r_tail" ]; then
        r_hush
        r_measure "$r_log"
        r_say end "$r_nonce" "$r_code" "$r_size" "$r_oom"
    elif [ "$r_offset" -gt 0 ]; then
        r_print_rest "$r_id" "$r_nonce" "$r_offset"
    else
        r_say begin "$r_nonce"
        [ -s "$r_log" ] && head -c 65536 "$r_log"
        r_say end "$r_nonce" "$r_code" - "$r_oom"
    fi
    r_busy=
    [ -n "$r_asked" ] && r_answer
    # From here on main answers. It writes ID.follow, then looks for ID.closing; we do it the other way round: so
    # one of the two sees the other, a question of this moment is answered once, and never by both at a time.
    trap '' USR1
    : >"$r_dir/$r_id.closing"
    [ -s "$r_dir/$r_id.follow" ] && r_attend
    echo "$r_code $r_oom ;" >"$r_dir/$r_id.exit"
}

r_print_rest() { # ID NONCE OFFSET, of an ended command: at most 16 MiB, so that no slow reader holds up others
    r_measure "$r_dir/$1.log"
    r_left=$((r_size - $3))
    [ "$r_left" -le 16777216 ] || r_left=16777216
    r_say begin "$2"
    [ "$r_left" -le 0 ] || r_print_part "$r_dir/$1.log" "$3" "$r_left"
    r_say end "$2" "$r_code" "$r_size" "$r_oom"
}

r_print_part() { # FILE OFFSET COUNT; dd because busybox's tail reads all that comes before
    dd if="$1" bs=65536 skip=$(($2 / 65536)) count=$(($3 / 65536 + 2)) 2>/dev/null |
        tail -c "+$(($2 % 65536 + 1))" | head -c "$3"
}

r_measure() { r_size=$(($(stat -c %s "$1" 2>/dev/null || wc -c <"$1"))); } # FILE; busybox's wc would read it

# --- the starter -----------------------------------------------------------------------------------------------------

r_starter() { # reads "ID KIND NONCE OFFSET" on fd 5
    while read -r r_id r_kind r_nonce r_offset <&5; do
        if [ "$r_kind" = bg ]; then
            { r_watch_step "$r_id"; cat "$r_dir/$r_id.code" >"$r_dir/$r_id.exit"; } | r_starter
            return
        fi
        r_watch_step "$r_id" | r_run "$r_id" "$r_nonce" "$r_offset" 5<&-
    done
}

# --- main: reads stdin -----------------------------------------------------------------------------------------------

r_main() {
    set -f
    r_line=
    while [ -n "$r_line" ] || IFS= read -r r_line; do
        set -- $r_line
        r_line=
        for r_end; do :; done
        [ "$#" -gt 0 ] && [ "$r_end" = ';' ] || continue
        case $1 in
        run) r_take "$2" "$3" "$4" "$5" ;;
        follow) r_follow "$2" "$3" "$4" ;;
        kill) r_kill "$2" "$3" ;;
        esac
    done
    : >"$r_dir/over"
}

r_take() { # ID KIND NONCE OFFSET: read the payload, start the command or, if that was done before, follow it
    if [ -e "$r_dir/$1.run" ]; then
        r_take_part '.' >/dev/null || return
        [ "$2" = bg ] || r_follow "$1" "$3" "$4"
        return
    fi
    r_take_part '=' >"$r_dir/$1.start" || return
    r_take_part '.' >"$r_dir/$1.script" || return
    (set -C && : >"$r_dir/$1.run") 2>/dev/null || return
    : >"$r_dir/$1.log"
    echo "$1" >"$r_dir/latest"
    echo "$1 $2 $3 $4"
}

r_take_part() { # Copy lines without their "-" until $1; when the payload breaks off, r_line holds what came instead
    while IFS= read -r r_line; do
        case $r_line in
        -*) printf '%s\n' "${r_line#-}" ;;
        "$1") r_line=''; return 0 ;;
        '=') ;;
        *) return 1 ;;
        esac
    done
    return 1
}

r_follow() { # ID NONCE OFFSET
    [ -e "$r_dir/$1.run" ] || { r_say begin "$2" >&3; r_say end "$2" none 0 0 >&3; return; }
    if ! r_has_ended "$1"; then
        echo "$2 $3 ;" >"$r_dir/$1.follow"
        # Not begun yet: the runner looks at the file itself, right after making its own.
        r_read_word "$r_dir/$1.runner" || return
        if [ ! -e "$r_dir/$1.closing" ]; then
            kill -USR1 "$r_word" 2>/dev/null && return
        else
            while ! r_has_ended "$1" && kill -0 "$r_word" 2>/dev/null; do sleep 0.01 2>/dev/null; done
        fi
        r_has_ended "$1" || r_bury "$1"
        r_read_word "$r_dir/$1.served" && [ "$r_word" = "$2" ] && return
    fi
    read -r r_code r_oom r_end <"$r_dir/$1.exit"
    r_print_rest "$1" "$2" "$3" >&3
}

r_bury() { # ID, whose runner was killed: nobody will ever know the exit code
    r_read_word "$r_dir/$1.pid" && kill -KILL "-$r_word" 2>/dev/null
    echo '137 0 ;' >"$r_dir/$1.exit"
}

r_kill() { # ID TENTHS
    [ -e "$r_dir/$1.run" ] && ! r_has_ended "$1" || return
    : >"$r_dir/$1.stop"
    r_read_word "$r_dir/$1.pid" || return
    r_escalate "$r_word" "$2" >/dev/null 2>&1 3>&- &
}

r_escalate() { # PID TENTHS
    r_target=-$1
    kill -TERM "$r_target" || { r_target=$1; kill -TERM "$r_target"; } # no group before its setsid
    r_left=$2
    while [ "$r_left" -gt 0 ] && kill -0 "$r_target"; do
        if sleep 0.1; then r_left=$((r_left - 1)); else sleep 1; r_left=$((r_left - 10)); fi
    done
    kill -KILL "$r_target"
}

# --- top -------------------------------------------------------------------------------------------------------------

r_install() { # The in-job command under both its names. While nobody has sent a step yet: it costs no job any time
    [ -n "$r_tool" ] && [ ! -x "$r_dir/bin/circleci-agent" ] || return 0
    [ -d "$r_dir/bin" ] || mkdir -p "$r_dir/bin" "$r_dir/task"
    r_shell=/bin/sh
    [ -x "$r_shell" ] || r_shell=$(command -v sh)
    for r_name in circleci circleci-agent; do
        printf '#!%s\n%s' "$r_shell" "$r_tool" >"$r_dir/bin/$r_name"
    done
    chmod 755 "$r_dir/bin/circleci" "$r_dir/bin/circleci-agent"
} 2>/dev/null

r_listen() { # Pass on what steps ask of the appliance: from the FIFO, which any of them may write to, aside to stderr
    [ -n "$r_tool" ] || return 0
    [ -p "$r_dir/questions" ] || mkfifo "$r_dir/questions" 2>/dev/null || return 0
    # Open in both directions, so that it never ends. "&" is right here: no program of a user's is ever below it.
    (while IFS= read -r r_line; do printf '\001question %s ;\n' "$r_line"; done <>"$r_dir/questions" >&2 3>&- 5<&-) &
}

r_make_folder() { # STATE
    if [ "$1" = - ]; then
        for r_dir in /tmp /var/tmp /dev/shm "$HOME" ''; do
            [ -n "$r_dir" ] || return 1
            r_dir=$r_dir/.rondo
            mkdir -m 700 "$r_dir" "$r_dir/bin" "$r_dir/task" 2>/dev/null && return
        done
    fi
    r_dir=$1
    mkdir -p "$r_dir/bin" "$r_dir/task" # somebody may `put` a file there already
}

r_find_cgroup() {
    for r_cgroup in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
        [ -r "$r_cgroup" ] && return
    done
    r_cgroup=
}

r_find_setsid() { # r_detach = words before a command that give it its own session
    r_detach=$(command -v setsid) && return
    r_detach=$(command -v busybox) && "$r_detach" setsid true 2>/dev/null && { r_detach="$r_detach setsid"; return; }
    r_detach=
    trap '' HUP
}

r_find_often() { # r_often = words that let a tail look often: on overlay file systems it polls, once a second
    r_often='-s 0.1'
    tail $r_often -c +1 /dev/null 2>/dev/null || r_often=
}

r_top() {
    exec 3>&1
    until [ -e "$r_dir/over" ]; do
        r_main | { exec 5<&0 </dev/null; r_install; r_listen; r_starter; }
        for r_run in "$r_dir"/*.run; do
            r_run=${r_run##*/}
            r_run=${r_run%.run}
            [ "$r_run" = '*' ] || r_has_ended "$r_run" || r_bury "$r_run"
        done
    done
}

# A login shell sets PATH anew, and reads this file afterwards.
r_path_again='case $PATH in *"${CIRCLE_INTERNAL_TASK_DATA%/task}/bin"*) ;; *) PATH=${CIRCLE_INTERNAL_TASK_DATA%/task}/bin:$PATH ;; esac'
r_umask=$(umask)
umask 077
r_make_folder "$1" || { echo 'no writable folder among /tmp, /var/tmp, /dev/shm and the home' >&2; exit 1; }
r_cgroup=''
[ "$1" = - ] && r_find_cgroup
shift
r_find_setsid
r_find_often
[ -s "$r_dir/bash_env" ] || echo "$r_path_again" >"$r_dir/bash_env"
if [ "$#" -eq 0 ]; then
    r_top
else
    # The image's own entrypoint was asked for. It becomes the main process: its end is the sandbox's end.
    exec 6<&0
    {
        if command -v r_forget >/dev/null; then r_forget; fi # its environment is not the steps'
        r_top <&6
    } &
    exec "$@" </dev/null >"$r_dir/entrypoint.log" 2>&1 6<&-
fi
