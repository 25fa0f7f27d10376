# `curl` in the jobs of setup workflows (spec 1.12). POSIX sh.
#
# Configs continue their pipeline with `curl … https://circleci.com/api/v2/pipeline/continue`, most often through an orb, and
# shall run here unchanged. But circleci.com is not who gave the job its key, and the appliance may have no address that
# a job can reach. So this stands first on the PATH of such jobs, and hands that one request to the appliance: its body as a
# file, and word of it through the supervisor, as the in-job `circleci` asks. No network is needed, and nothing else of the
# API can be reached so. All other requests are the real curl's, with the words as they came.
#
# Of curl's options those are honoured that decide what is sent and what the caller sees of the answer; the rest
# (headers, retries, time-outs) means nothing here. An unknown long option is skipped, its value too: it is no URL of ours.

bin=${0%/*}
state=${bin%/*}
requests=$state/task/requests
patience=600 # tenths of a second until somebody answers; the appliance may be starting again

main() {
    for word; do
        case $word in
        http://*/api/v2/pipeline/continue | https://*/api/v2/pipeline/continue) ask "$@" ;;
        esac
    done
    set -f
    IFS=:
    for folder in $PATH; do
        file=${folder:-.}/curl
        if [ -f "$file" ] && [ -x "$file" ] && ! [ "${folder:-.}" -ef "$bin" ]; then exec "$file" "$@"; fi
    done
    echo 'curl: not found' >&2
    exit 127
}

ask() { # The words of the caller; never returns
    output='' format='' fails='' keeps_body='' shows_head='' is_silent='' has_body=''
    make_place
    while [ "$#" -gt 0 ]; do
        case $1 in
        --data-raw | --data | --data-ascii | --data-binary | --json) add_data "$1" "${2-}" && shift ;;
        --output) output=${2-} && shift ;;
        --write-out) format=${2-} && shift ;;
        --fail) fails=1 ;;
        --fail-with-body) fails=1 keeps_body=1 ;;
        --include) shows_head=1 ;;
        --silent) is_silent=1 ;;
        --*) ;;
        -?*) short_options "$@" || shift ;;
        esac
        [ "$#" -eq 0 ] || shift
    done
    [ -n "$is_silent" ] || echo 'curl: this request goes to Rondo, which runs the job' >&2
    await_answer
    tell_answer
}

short_options() { # Letters of one word, and the word after it; fails when that belongs to the last letter
    letters=${1#-}
    while [ -n "$letters" ]; do
        letter=${letters%"${letters#?}"}
        letters=${letters#?}
        case $letter in
        f) fails=1 ;;
        i) shows_head=1 ;;
        s) is_silent=1 ;;
        [AbcCdDeEFhHKmoPQrtTuUwxXyYz])
            value=${letters:-${2-}}
            case $letter in
            d) add_data --data "$value" ;;
            o) output=$value ;;
            w) format=$value ;;
            esac
            [ -n "$letters" ]
            return
            ;;
        esac
    done
}

add_data() { # OPTION VALUE
    [ -z "$has_body" ] || printf '&' >>"$place/body"
    has_body=1
    case $1:$2 in
    --data-raw:*) printf '%s' "$2" ;;
    *:@-) cat ;;
    *:@*) cat "${2#@}" || give_up 26 "cannot read ${2#@}" ;;
    *) printf '%s' "$2" ;;
    esac >>"$place/body"
}

make_place() { # place = a name in the folder of requests that is ours alone
    umask 077
    mkdir -p "$requests" || give_up 23 "cannot write to $requests"
    number=1
    until mkdir "$requests/$number" 2>/dev/null; do
        number=$((number + 1))
        [ "$number" -lt 1000 ] || give_up 23 'too many requests'
    done
    place=$requests/$number
    : >"$place/body"
}

await_answer() { # answer = the file with it. It is asked for again every two seconds: who should hear it may be starting
    id=$number'x'$$'x'$(date +%s)
    answer=$state/task/answers/$id tenths=0
    until [ -e "$answer" ]; do
        [ "$tenths" -lt "$patience" ] || give_up 28 'Rondo has not answered'
        # Open in both directions: that never waits for a reader.
        [ $((tenths % 20)) -ne 0 ] || printf '%s continue %s\n' "$id" "$number" 1<>"$state/questions"
        tenths=$((tenths + 1))
        sleep 0.1 2>/dev/null || { sleep 1; tenths=$((tenths + 9)); }
    done
    read -r status <"$answer"
}

tell_answer() { # "STATUS", then the body
    body=$place/answer
    { [ -z "$shows_head" ] || printf 'HTTP/1.1 %s\r\nContent-Type: application/json\r\n\r\n' "$status"; tail -n +2 "$answer"; } >"$body"
    code=0
    if [ -n "$fails" ] && [ "$status" -ge 400 ]; then
        code=22
        echo "curl: (22) The requested URL returned error: $status" >&2
        [ -n "$keeps_body" ] || : >"$body"
    fi
    case $output in
    '' | - | /dev/stdout) cat "$body" ;;
    /dev/stderr) cat "$body" >&2 ;; # opened by name, the log of the step would be emptied
    *) cat "$body" >"$output" || code=23 ;;
    esac
    [ -z "$format" ] || printf '%b' "$(printf '%s' "$format" | sed "s/%{\(http_code\|response_code\)}/$status/g; s/%{[a-z_.]*}//g; s/%%/%/g")"
    exit "$code"
}

give_up() { # CODE TEXT
    echo "curl: ($1) $2" >&2
    exit "$1"
}

main "$@"
