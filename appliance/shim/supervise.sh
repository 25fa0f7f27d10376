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
#   ID.start   what the step's shell does first: working directory, exports, exec. Made by the client, sourced.
#   ID.script  the user's script
#   ID.log     stdout and stderr. Made once, with O_EXCL: the arbiter. A command is started at most once per id, ever.
#   ID.pid     the step = its process group
#   ID.pipe    a FIFO that brings the output of this step, and of later ones as long as nobody of it holds it
#   ID.exit    made when the end is about to be told; "CODE FLAGS ;" is added when no printing about it goes on
#   ID.follow  "NONCE OFFSET ;": somebody wants the output from there
#   ID.tail    "NONCE PID ;": the tail that answers; PID "-": too late for one
#   ID.served  the nonce that the starter answered last
#   ID.stop    it has been killed: if it has not begun yet it never will
# and of the sandbox:
#   ballast    goes when the disk is full, so that the ends of commands can still be written down
#   latest     the ids; the last one is that of the latest command    main, starter   their pids
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
# FLAGS is a sum: 1 the kernel killed something for memory, 2 the job asks to end here, as a success (`step halt`), 4 the
# disk had no room for the command (then it was not begun) or for its output.
# A short step costs no reader: if nobody asked before it ended, the starter prints begin, up to 65536 bytes and end in
# one go (SIZE "-"). Otherwise, the client asks by `follow` and a tail streams the file. At the step's end the
# starter *waits* for that tail to be dead, then prints the end mark, with the size of the log; a client that has
# less asks once more. Bytes of a former reader are what comes before the client's own begin mark. Late writers
# (daemons that kept the output open) cannot delay the end: every answer is bounded by the size then.
#
# Beside the answers, on stderr:  ^Aquestion ID TEXT ;   a line of `questions`. A stream of its own, for it comes at any
# moment, also amid a tail's bytes. It is lost when nobody is attached just then; so who asks, asks again.
#
# Processes:  top ─┬─ main ──pipe──> starter ─┬─ step (its own session) ──FIFO──> pump ──> ID.log
#                  │  (reads stdin)           └─ pump
#                  └─ tail (while somebody follows)
# Beside the starter is the listener to `questions`, which nothing waits for.
# Nothing of a user's is ever below a "&": a shell without job control starts such children with SIGINT and SIGQUIT
# ignored, for ever, and so would be every program of the step. The starter runs one foreground step at a time. For a
# background command it becomes the right side of a new pipeline whose left side is the command.
# `top` does nothing but wait, so as a container's process 1 it reaps every orphan; when all below it died (a
# step did `kill -9 -1`), it writes 137 for what has no exit code and starts main again.
#
# No file more, and no process more, than there must be: in a container a file costs a tenth of a millisecond, an exec
# nearly one.

r_say() { printf '\001%s\n' "$*"; }

r_self() { # r_pid = the pid of this very (sub)shell; $$ is that of the outermost
    if [ -r /proc/self/stat ]; then read -r r_pid r_rest </proc/self/stat; else r_pid=$(exec sh -c 'echo "$PPID"'); fi
}

r_read_word() { # r_word = first word of file $1, if the file is complete
    r_word=
    read -r r_word r_end <"$1" 2>/dev/null && [ "$r_end" = ';' ]
} 2>/dev/null

r_is_one() { # WORD: a process. A job may write into our notes, and -1 is everybody, 0 ourselves
    case $1 in '' | 0* | 1 | *[!0-9]*) return 1 ;; esac
}

r_has_ended() { [ -s "$r_dir/$1.exit" ]; }

r_count_oom() { # r_oom = how many processes of this cgroup the kernel has killed for memory
    r_oom=0
    [ -n "$r_cgroup" ] || return 0
    while read -r r_key r_value; do
        [ "$r_key" = oom_kill ] && r_oom=$r_value
    done <"$r_cgroup"
} 2>/dev/null

# --- the starter -----------------------------------------------------------------------------------------------------

r_starter() { # reads "ID KIND NONCE OFFSET" on fd 5
    r_self
    echo "$r_pid ;" >"$r_dir/starter"
    r_pipe=''
    while read -r r_id r_kind r_nonce r_offset <&5; do
        if [ "$r_kind" = bg ]; then
            r_do - 0 | r_starter
            return
        fi
        r_do "$r_nonce" "$r_offset"
    done
}

r_do() { # NONCE OFFSET, for r_id: run it, wait for its end, tell it. A NONCE "-" is nobody's
    r_log=$r_dir/$r_id.log
    r_count_oom
    r_before=$r_oom
    r_find_pipe
    if [ -n "$r_pipe" ]; then
        exec cat <"$r_pipe" >>"$r_log" 2>/dev/null 3>&- 5<&- 6<&- & # exec: or in yash $! waits for cat, and always sleeps
        r_pump=$!
        r_pumped=
        (r_step) </dev/null
        r_code=$?
    else
        r_do_without_fifo
    fi
    [ "$r_code" -lt 256 ] || r_code=$((128 + r_code % 128)) # ksh93 adds 256 to the signal's number, yash 384
    r_drain
    r_count_oom
    [ "$r_oom" -gt "$r_before" ] && r_oom=1 || r_oom=0
    [ -e "$r_dir/halt" ] && r_oom=$((r_oom + 2))
    r_reap && [ "$r_pumped" = 1 ] && r_oom=$((r_oom + 4))
    r_tell "$1" "$2"
}

r_step() { # becomes the step; returns never
    [ -z "$r_is_ksh93" ] || ulimit -c "$(ulimit -c)" # ksh93 has no process for a subshell until it must
    exec 3>&- 5<&- 6<&-
    r_self
    echo "$r_pid ;" >"$r_dir/$r_id.pid"
    [ -e "$r_dir/$r_id.stop" ] && exit 143
    [ -z "$r_pipe" ] || exec >"$r_pipe"
    exec 2>&1
    umask "$r_umask"
    r_script=$r_dir/$r_id.script
    . "$r_dir/$r_id.start"
}

# A step's output goes through a pipe, not straight into the log: `echo >/dev/stderr` and `curl -o /dev/stderr` open what
# they are given once more by its name, and a file opened so is emptied. The pump behind it lives as long as anybody holds
# the pipe, a daemon for ever; but the end of a step is not told before all that the step itself wrote is in the log.

r_find_pipe() { # r_pipe = a FIFO that nobody holds: the former one, when its pump has seen its end. Or none
    [ -n "$r_pipe" ] && r_reap && [ "$r_pumped" = 0 ] && return
    r_pipe=$r_dir/$r_id.pipe
    mkfifo "$r_pipe" || r_pipe=
} 2>/dev/null

r_reap() { # Whether the pump has ended. r_pumped = how: 1 when it could not write
    [ -z "$r_pumped" ] || return 0
    r_is_alive "$r_pump" && return 1
    wait "$r_pump"
    r_pumped=$?
} 2>/dev/null

r_do_without_fifo() {
    { (r_step) </dev/null; echo "$? ;" >"$r_dir/$r_id.code"; } | {
        exec 7<&0
        exec cat <&7 >>"$r_log" 2>/dev/null 3>&- 5<&- 6<&- 7<&- &
        echo "$! ;" >"$r_dir/$r_id.pump"
    }
    r_read_word "$r_dir/$r_id.pump" && r_pump=$r_word
    r_read_word "$r_dir/$r_id.code" && r_code=$r_word || r_code=137
}

r_drain() { # Wait until the pump has nothing left to do: one that sleeps waits for more, since who writes to a pipe wakes
    # its reader before going on. Most often a moment is enough.
    r_spins=0
    while r_is_alive "$r_pump"; do
        case $r_state in [SI-]*) return ;; esac
        [ "$r_spins" -lt 3000 ] || return # half a minute: a step has stopped its own pump, or the disk hangs
        r_pause
    done
}

r_tell() { # NONCE OFFSET, of r_id which ended by r_code. From the first line on main starts no tail any more:
    # it writes ID.follow, then looks for ID.exit; we do it the other way round. So one of the two sees the other.
    : >"$r_dir/$r_id.exit"
    if [ -s "$r_dir/$r_id.follow" ]; then
        r_end_answer
    elif [ "$2" -gt 0 ]; then
        r_print_rest "$r_id" "$1" "$2"
    elif [ "$1" != - ]; then
        r_say begin "$1"
        [ -s "$r_log" ] && head -c 65536 "$r_log"
        r_say end "$1" "$r_code" - "$r_oom"
    fi
    r_note "$r_code $r_oom ;" "$r_dir/$r_id.exit"
}

r_note() { # TEXT FILE
    echo "$1" >"$2" || { rm -f "$r_dir/ballast"; echo "$1" >"$2"; }
} 2>/dev/null

r_end_answer() { # Of the tail that main started, or is just about to
    read -r r_nonce r_offset r_end <"$r_dir/$r_id.follow"
    r_spins=0
    until read -r r_n r_tail r_end <"$r_dir/$r_id.tail" && [ "$r_n$r_end" = "$r_nonce;" ]; do
        r_is_there main || { r_tail=-; break; }
        r_pause
    done 2>/dev/null
    r_note "$r_nonce ;" "$r_dir/$r_id.served"
    if ! r_is_one "$r_tail"; then
        r_print_rest "$r_id" "$r_nonce" "$r_offset"
    else
        kill -KILL "$r_tail" 2>/dev/null # bash loses a SIGTERM that comes between its fork and exec
        r_spins=0
        while r_is_alive "$r_tail" && [ "$r_state" != - ]; do r_pause; done # nothing of it may come after the mark
        r_measure "$r_log"
        r_say end "$r_nonce" "$r_code" "$r_size" "$r_oom"
    fi
}

r_is_alive() { # PID: false when it is gone or a zombie. r_state = what it does: "S" is to sleep, "-" is unknown
    if [ -r /proc/self/stat ]; then
        read -r r_p r_name r_state r_rest <"/proc/$1/stat" || return
    else
        kill -0 "$1" || return
        r_state=$(ps -o stat= -p "$1") || { sleep 0.1 || sleep 1; r_state=-; } # nobody knows
    fi
    case $r_state in [ZX]*) return 1 ;; esac
} 2>/dev/null

r_is_there() { ! r_read_word "$r_dir/$1" || r_is_alive "$r_word"; } # main or starter; it may be just beginning

r_pause() { # Most often a moment is enough
    r_spins=$((r_spins + 1))
    [ "$r_spins" -lt 200 ] || sleep 0.01 || sleep 1
} 2>/dev/null

r_print_rest() { # ID NONCE OFFSET, of an ended command: at most 16 MiB, so that no slow reader holds up others
    r_measure "$r_dir/$1.log"
    r_left=$((r_size - $3))
    [ "$r_left" -le 16777216 ] || r_left=16777216
    r_say begin "$2"
    [ "$r_left" -le 0 ] || r_print_part "$r_dir/$1.log" "$3" "$r_left"
    r_say end "$2" "$r_code" "$r_size" "$r_oom"
}

r_print_part() { # FILE OFFSET COUNT; dd because busybox's tail reads all that comes before; toybox has none
    if command -v dd >/dev/null; then
        dd if="$1" bs=65536 skip=$(($2 / 65536)) count=$(($3 / 65536 + 2)) 2>/dev/null | tail -c "+$(($2 % 65536 + 1))"
    else
        tail -c "+$(($2 + 1))" "$1"
    fi | head -c "$3"
}

r_measure() { r_size=$(($(stat -c %s "$1" 2>/dev/null || wc -c <"$1"))); } # FILE; busybox's wc would read it

# --- main: reads stdin -----------------------------------------------------------------------------------------------

r_main() {
    set -f
    r_line='' r_tail=''
    r_self
    echo "$r_pid ;" >"$r_dir/main"
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
    if [ -e "$r_dir/$1.log" ]; then
        r_take_part '.' >/dev/null || return
        [ "$2" = bg ] || r_follow "$1" "$3" "$4"
        return
    fi
    r_is_torn=
    r_take_part '=' >"$r_dir/$1.start" || return
    r_take_part '.' >"$r_dir/$1.script" || return
    [ -z "$r_is_torn" ] || { r_refuse "$1" "$3"; return; }
    r_make_once "$r_dir/$1.log" || return
    echo "$1" >>"$r_dir/latest"
    echo "$1 $2 $3 $4"
}

r_refuse() { # ID NONCE: half of a script may do anything, and nothing of one succeeds
    rm -f "$r_dir/$1.start" "$r_dir/$1.script"
    : >"$r_dir/$1.log"
    r_note '1 4 ;' "$r_dir/$1.exit"
    r_hush
    r_say begin "$2" >&3
    r_say end "$2" 1 0 4 >&3
}

r_make_once() { # FILE: false if it is there. `true`, for a shell may end when ":" cannot be redirected
    set -C
    { true >"$1"; } 2>/dev/null
    r_made=$?
    set +C
    return "$r_made"
}

r_take_part() { # Copy lines without their "-" until $1; when the payload breaks off, r_line holds what came instead
    while IFS= read -r r_line; do
        case $r_line in
        -*) printf '%s\n' "${r_line#-}" || r_is_torn=1 ;;
        "$1") r_line=''; return 0 ;;
        '=') ;;
        *) return 1 ;;
        esac
    done
    return 1
}

r_follow() { # ID NONCE OFFSET
    [ -e "$r_dir/$1.log" ] || { r_say begin "$2" >&3; r_say end "$2" none 0 0 >&3; return; }
    r_hush
    r_is_left=
    if ! r_has_ended "$1"; then
        r_note "$2 $3 ;" "$r_dir/$1.follow"
        r_is_there starter || r_is_left=1
        if [ ! -e "$r_dir/$1.exit" ] && [ -z "$r_is_left" ]; then
            r_say begin "$2" >&3
            exec tail $r_often -c "+$(($3 + 1))" -f "$r_dir/$1.log" 2>/dev/null >&3 3>&- &
            r_tail=$!
            r_note "$2 $r_tail ;" "$r_dir/$1.tail"
            return
        fi
        r_note "$2 - ;" "$r_dir/$1.tail"
        r_spins=0
        until r_has_ended "$1" || ! r_is_there starter; do r_pause; done
        r_has_ended "$1" || r_bury "$1"
        r_read_word "$r_dir/$1.served" && [ "$r_word" = "$2" ] && return
    fi
    read -r r_code r_oom r_end <"$r_dir/$1.exit"
    r_print_rest "$1" "$2" "$3" >&3
    [ -z "$r_is_left" ] || exit # `top` makes a new starter
}

r_hush() { # End the tail and be sure that it is dead: nothing of it may come after the next mark
    [ -n "$r_tail" ] || return 0
    kill -KILL "$r_tail"
    wait "$r_tail"
    r_tail=
} 2>/dev/null

r_bury() { # ID, whose starter was killed: nobody will ever know the exit code
    r_read_word "$r_dir/$1.pid" && r_is_one "$r_word" && kill -KILL "-$r_word" 2>/dev/null
    r_note '137 0 ;' "$r_dir/$1.exit"
}

r_kill() { # ID TENTHS
    [ -e "$r_dir/$1.log" ] && ! r_has_ended "$1" || return
    : >"$r_dir/$1.stop"
    r_read_word "$r_dir/$1.pid" && r_is_one "$r_word" || return
    r_escalate "$r_word" "$2" >/dev/null 2>&1 3>&- &
}

r_escalate() { # PID TENTHS
    r_target=-$1
    kill -TERM "$r_target" || { r_target=$1; kill -TERM "$r_target"; } # no group before its setsid
    r_left=$2
    while [ "$r_left" -gt 0 ] && kill -0 "$r_target"; do
        if sleep 0.1; then r_left=$((r_left - 1)); else sleep 1; r_left=$((r_left - 10)); fi
    done
    # On Windows programs that are not MSYS2's have no groups. Never tried there.
    read -r r_winpid <"/proc/$1/winpid" && taskkill //F //T //PID "$r_winpid"
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
    printf '%65536s' '' >"$r_dir/ballast"
} 2>/dev/null

r_listen() { # Pass on what steps ask of the appliance: from the FIFO, which any of them may write to, aside to stderr
    r_listener=
    [ -n "$r_tool" ] || return 0
    [ -p "$r_dir/questions" ] || mkfifo "$r_dir/questions" 2>/dev/null || return 0
    # Open in both directions, so that it never ends. "&" is right here: no program of a user's is ever below it.
    (while IFS= read -r r_line; do printf '\001question %s ;\n' "$r_line"; done) <>"$r_dir/questions" >&2 3>&- 5<&- &
    r_listener=$!
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
    mkdir -p "$r_dir/bin" "$r_dir/task"
}

r_find_cgroup() {
    for r_cgroup in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
        [ -r "$r_cgroup" ] && return
    done
    r_cgroup=
}

r_find_setsid() { # r_detach = words before a command that give it its own session
    r_detach=$(command -v setsid) && return
    for r_name in busybox toybox; do
        r_detach=$(command -v $r_name) && "$r_detach" setsid true && { r_detach="$r_detach setsid"; return; }
    done
    r_detach=$(command -v perl) && "$r_detach" -MPOSIX -e1 && # macOS; without a blank, as it is split into words
        { r_detach="$r_detach -MPOSIX -e POSIX::setsid();exec(@ARGV);exit(127)"; return; }
    r_detach=
    trap '' HUP
} 2>/dev/null

r_find_shell() {
    r_is_ksh93=$(eval '[ -z "${.sh.version}" ] || echo yes') || r_is_ksh93=
} 2>/dev/null

r_find_often() { # r_often = words that let a tail look often: on overlay file systems it polls, once a second
    r_often='-s 0.1'
    tail $r_often -c +1 /dev/null 2>/dev/null || r_often=
}

r_top() {
    exec 3>&1
    until [ -e "$r_dir/over" ]; do
        : >"$r_dir/main" >"$r_dir/starter"
        r_main 2>/dev/null | {
            exec 5<&0 </dev/null
            r_install
            r_listen
            r_starter
            [ -z "$r_listener" ] || kill "$r_listener"
        }
        for r_log in "$r_dir"/*.log; do
            r_id=${r_log##*/}
            r_id=${r_id%.log}
            [ ! -e "$r_log" ] || r_has_ended "$r_id" || r_bury "$r_id"
        done
    done
}

# A login shell sets PATH anew, and reads this file afterwards.
r_path_again='case $PATH in *"${CIRCLE_INTERNAL_TASK_DATA%/task}/bin"*) ;; *) PATH=${CIRCLE_INTERNAL_TASK_DATA%/task}/bin:$PATH ;; esac'
# The program of that name in procps takes "-TERM -123" for "TERM to -1": to all that this user has.
case $(command -v kill) in */*) echo 'the shell called sh has no kill of its own (posh?); use dash or bash' >&2; exit 1 ;; esac
r_umask=$(umask)
umask 077
r_make_folder "$1" || { echo 'no writable folder among /tmp, /var/tmp, /dev/shm and the home' >&2; exit 1; }
r_cgroup=${r_events-} # where it is not a container's: set by machine.py
[ "$1" = - ] && r_find_cgroup
shift
r_find_shell
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
    exec "$@" </dev/null >"$r_dir/entrypoint.out" 2>&1 6<&-
fi
