# The in-job command `circleci`, also called `circleci-agent` (spec 2.5). POSIX sh, awk, find, sort; no network.
#
# The supervisor writes it to STATE/bin when a sandbox begins, and puts that folder first on the PATH of every step. What
# it does not know itself goes to another `circleci` on the PATH: images bring the command line tool of the same name.
#
# Splitting has one duty above all: every node works alone, from the same names, and yet each name must come to exactly
# one of them. So nothing here depends on time, locale, chance, or the order in which the names were given; weights are
# whole numbers, whose sums are the same in every awk.

version=1.0.0
bin=${0%/*}
[ "$bin" != "$0" ] || bin=${CIRCLE_INTERNAL_TASK_DATA:-/nowhere/task}
state=${bin%/*}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "circleci: $*"
    exit 1
}

main() {
    case "${1-} ${2-}" in
    'step halt' | 'task halt') halt ;;
    'tests glob') shift 2; tests_glob "$@" ;;
    'tests split') shift 2; tests_split "$@" ;;
    'tests run') shift 2; tests_run "$@" ;;
    'env subst') shift 2; env_subst "$@" ;;
    'run oidc') shift 2; run_oidc "$@" ;;
    'run release') die 'Rondo does not keep deploy markers yet' ;;
    'testsuite '*) die 'Rondo does not do "circleci testsuite" yet' ;;
    'version '* | '--version '*) tell_version "${2-}" ;;
    ' ' | 'help '* | '--help '* | '-h '*) tell_usage ;;
    *) run_another "$@" ;;
    esac
}

tell_version() {
    if [ "${1-}" = --short ]; then echo "$version"; else echo "circleci-agent of Rondo, version $version"; fi
}

tell_usage() {
    cat <<'END'
circleci step halt                      end the job after this step, as a success
circleci tests glob PATTERN...          list files; ** crosses folders, {a,b} is either
circleci tests split [FILE]             the tests of this node, of those in FILE or on standard input
    --split-by=name|filesize|timings  --timings-type=autodetect|filename|classname|testname
    --index=N  --total=N  --time-default=10s  --timings-file=FILE  --show-counts
circleci tests run --command=COMMAND    run COMMAND with the tests of this node on its standard input
circleci env subst [TEXT]               fill in $NAME and ${NAME}
circleci run oidc get [--claims JSON]   an OIDC token of this job, for the audience in the claims: '{"aud": "x"}'
    --root-issuer  --ttl=30m
circleci version [--short]
END
}

run_another() { # The same name further down the PATH, or a word on what is wrong
    set -f
    IFS=:
    for folder in $PATH; do
        file=$folder/${0##*/}
        if [ -f "$file" ] && [ -x "$file" ] && ! [ "$folder" -ef "$bin" ]; then exec "$file" "$@"; fi
    done
    IFS=' '
    die "unknown command \"$*\"; \"circleci help\" says what there is"
}

halt() { # The supervisor sees the mark when the step ends
    { echo halt >"$state/halt"; } 2>/dev/null || die "cannot write $state/halt: is this a step of a job, and its user?"
}

# --- run oidc --------------------------------------------------------------------------------------------------------

run_oidc() {
    [ "${1-}" = get ] || die 'circleci run oidc knows one word: get'
    shift
    claims='{}' ttl=- root=0
    while [ $# -gt 0 ]; do
        case $1 in
        --root-issuer | --root-issuer=true) root=1 ;;
        --root-issuer=false) root=0 ;;
        --claims=*) claims=${1#*=} ;;
        --ttl=*) ttl=${1#*=} ;;
        --claims | --ttl)
            [ $# -gt 1 ] || die "$1 needs a value"
            if [ "$1" = --ttl ]; then ttl=$2; else claims=$2; fi
            shift
            ;;
        *) die "unknown flag $1" ;;
        esac
        shift
    done
    case $ttl in '' | *[!0-9a-z-]*) die "\"$ttl\" is no duration; write it like 1h30m" ;; esac
    ask "oidc $root $ttl $(printf %s "$claims" | LC_ALL=C tr '\001-\037' ' ')"
}

# A question goes through the supervisor to whoever listens. The answer comes as a file: "ok TEXT" or "no REASON".
# It is asked again every two seconds, for the appliance may be starting anew just now: jobs do not wait for it.
ask() { # TEXT of one line; its answer on standard output
    # One write() of at most 4096 bytes is never mixed with that of another who asks.
    [ "$(printf %s "$1" | LC_ALL=C wc -c)" -le 2000 ] || die 'that is too long to be asked: more than 2000 bytes'
    { [ -p "$state/questions" ] && [ -w "$state/questions" ]; } || die "cannot ask by $state/questions: is this a step of a job, and its user?"
    id=$$x$(date +%s) tenths=0
    answer=$state/task/answers/$id
    until [ -f "$answer" ]; do
        [ "$tenths" -lt 3000 ] || die 'the appliance has not answered for five minutes'
        # Open in both directions: that never waits for a reader.
        [ $((tenths % 20)) -ne 0 ] || printf '%s %s\n' "$id" "$1" 1<>"$state/questions"
        tenths=$((tenths + 1))
        sleep 0.1 2>/dev/null || { sleep 1; tenths=$((tenths + 9)); }
    done
    IFS= read -r line <"$answer"
    rm -f "$answer"
    case $line in
    'ok '*) printf '%s\n' "${line#ok }" ;;
    *) die "${line#no }" ;;
    esac
}

# --- tests glob ------------------------------------------------------------------------------------------------------

tests_glob() {
    planned=$(
        for pattern; do
            # The shell may have filled in a pattern without quotes: then these are the files themselves.
            if [ -f "$pattern" ]; then printf '=%s\n' "$pattern"; else printf '*%s\n' "$pattern"; fi
        done | LC_ALL=C awk "$plan_glob"
    ) || die 'the pattern has more than 4096 alternatives'
    [ -z "$planned" ] || printf '%s\n' "$planned" | glob_files | LC_ALL=C sort -u
}

glob_files() { # Lines "=FILE", or "*" and then a folder, a depth (0: any), a prefix and an expression, a line each
    while IFS= read -r line; do
        case $line in
        =*) printf '%s\n' "${line#=}" ;;
        *)
            IFS= read -r folder
            IFS= read -r depth
            IFS= read -r prefix
            IFS= read -r expression
            if [ "$depth" -gt 0 ]; then depth="-maxdepth $depth"; else depth=; fi
            find -H "$folder" $depth \( -type f -o -type l ! -exec test -d {} \; \) -print 2>/dev/null |
                prefix=$prefix expression=$expression LC_ALL=C awk "$filter"
            ;;
        esac
    done
}

filter='
{ sub(/^\.\//, "") }
$0 ~ ENVIRON["expression"] { print ENVIRON["prefix"] $0 }
'

plan_glob='
/^=/ { print; next }
{ expand(substr($0, 2)) }

# Every way to read the {a,b} of a pattern becomes a pattern of its own.
function expand(p,    open, i, c, level, start, count, either, k) {
    open = first_brace(p)
    if (!open) { emit(p); return }
    level = 1; start = open + 1; count = 0
    for (i = start; i <= length(p) && level; i++) {
        c = substr(p, i, 1)
        if (c == "\\") i++
        else if (c == "{") level++
        else if (c == "}") level--
        if ((c == "," && level == 1) || level == 0) { either[++count] = substr(p, start, i - start); start = i + 1 }
    }
    if (level) { expand(substr(p, 1, open - 1) "\\{" substr(p, open + 1)); return }
    for (k = 1; k <= count; k++) expand(substr(p, 1, open - 1) either[k] substr(p, i))
}

function first_brace(p,    i, c) {
    for (i = 1; i <= length(p); i++) {
        c = substr(p, i, 1)
        if (c == "\\") i++
        else if (c == "[" && class_end(p, i)) i = class_end(p, i)
        else if (c == "{") return i
    }
    return 0
}

function class_end(p, i,    at) {
    i += substr(p, i + 1, 1) ~ /[!^]/ ? 2 : 1
    at = index(substr(p, i + 1), "]")
    return at ? i + at : 0
}

function emit(p,    prefix, part, n, k, folder, is_literal, depth, expression) {
    if (++made > 4096) exit 1
    prefix = substr(p, 1, 2) == "./" ? "./" : ""
    while (substr(p, 1, 2) == "./") p = substr(p, 3)
    gsub(/\/\/+/, "/", p)
    n = split(p, part, "/")
    folder = substr(p, 1, 1) == "/" ? "" : "."
    is_literal = 1
    depth = 0
    expression = "^"
    for (k = 1; k <= n; k++) {
        if (k == n || part[k] ~ /[*?[\\]/) is_literal = 0
        if (is_literal) { if (part[k] != "") folder = folder "/" part[k] }
        else depth++
        if (part[k] == "**" && k < n) { expression = expression "(.*/)?"; continue }
        expression = expression translated(part[k]) (k < n ? "/" : "")
    }
    if (index(p, "**")) depth = 0
    print "*"
    print (folder == "" ? "/" : folder)
    print depth
    print prefix
    print expression "$"
}

function translated(text,    out, i, c, end, not) {
    out = ""
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "*" && substr(text, i + 1, 1) == "*") { out = out ".*"; i++ }
        else if (c == "*") out = out "[^/]*"
        else if (c == "?") out = out "[^/]"
        else if (c == "[" && (end = class_end(text, i))) {
            not = substr(text, i + 1, 1) ~ /[!^]/
            out = out "[" (not ? "^/" : "") substr(text, i + 1 + not, end - i - 1 - not) "]"
            i = end
        }
        else {
            if (c == "\\" && i < length(text)) c = substr(text, ++i, 1)
            out = out (c == "^" ? "\\^" : c == "\\" ? "\\\\" : c ~ /[.$+*?(){}|[]/ ? "[" c "]" : c)
        }
    }
    return out
}
'

# --- tests split, tests run ------------------------------------------------------------------------------------------

tests_split() {
    read_flags "$@"
    selected=$(split) || exit 1
    [ -z "$selected" ] || printf '%s\n' "$selected"
}

tests_run() {
    read_flags "$@"
    [ -n "$command" ] || die 'tests run needs --command'
    failed=$state/task/circle-test-results/failed
    selected=$(split) || exit 1
    if [ -z "$selected" ]; then
        # Not even without input: "xargs pytest" would then run all tests there are.
        say "No tests for node $mine of $total: the command is not run"
        exit 0
    fi
    shell=/bin/bash
    [ -x "$shell" ] || shell=sh
    set -f
    IFS='
'
    set -- $selected
    IFS=' '
    [ -z "$verbose" ] || { say "$# tests for node $mine of $total: $*"; say "$shell -c $command"; }
    printf '%s\n' "$*" | "$shell" -c "$command"
}

read_flags() {
    mine=${CIRCLE_NODE_INDEX:-0} total=${CIRCLE_NODE_TOTAL:-1} by=name type=autodetect default=0s
    failed='' counts='' timings=$state/task/circle-test-results/results.json file='' command='' verbose=''
    while [ $# -gt 0 ]; do
        case $1 in
        --show-counts | --verbose | -v) flag=$1 value=true ;;
        --*=*) flag=${1%%=*} value=${1#*=} ;;
        --index | --total | --split-by | --timings-type | --time-default | --timings-file | --command)
            [ $# -gt 1 ] || die "$1 needs a value"
            flag=$1 value=$2
            shift
            ;;
        -?*) die "unknown flag $1" ;;
        *) flag=file value=$1 ;;
        esac
        take_flag
        shift
    done
    for value in "$mine" "$total"; do
        case $value in '' | *[!0-9]*) die "\"$value\" is not a number of nodes" ;; esac
    done
    [ "$mine" -lt "$total" ] || die "there is no node $mine of $total: nodes count from 0"
}

take_flag() {
    case $flag in
    --index) mine=$value ;;
    --total) total=$value ;;
    --split-by) one_of name filesize timings && by=$value ;;
    --timings-type) one_of autodetect filename file classname testname name && type=$value ;;
    --time-default) default=$value ;;
    --timings-file) timings=$value ;;
    --show-counts) counts=${value#false} ;;
    --verbose | -v) verbose=${value#false} ;;
    --command) command=$value ;;
    file) file=$value ;;
    *) die "unknown flag $flag" ;;
    esac
}

one_of() {
    for word; do [ "$word" != "$value" ] || return 0; done
    die "$flag takes one of: $*"
}

split() { # The names of this node, one a line
    case $file in
    '' | -) names=$(one_a_line) || exit 1 ;;
    *) names=$(one_a_line <"$file") || die "cannot read $file" ;;
    esac
    [ -n "$names" ] || { tell_counts ''; return 0; }
    [ ! -r "$failed" ] || keep_failed
    if [ "$by" = name ]; then picked=$(printf '%s\n' "$names" | by_turns); else picked=$(by_weight) || exit 1; fi
    tell_counts "$picked"
    [ -z "$picked" ] || printf '%s\n' "$picked"
}

keep_failed() { # Only the names of which a test failed. Every node keeps the same ones, and then takes its share.
    kept=$(
        printf '%s\n' "$names" | here=$PWD/ LC_ALL=C awk '
        function place(name) {
            if (substr(name, 1, length(ENVIRON["here"])) == ENVIRON["here"]) name = substr(name, length(ENVIRON["here"]) + 1)
            while (substr(name, 1, 2) == "./") name = substr(name, 3)
            return name
        }
        part == 1 { is_bad[place($0)]; next }
        place($0) in is_bad' part=1 "$failed" part=2 -
    )
    if [ -n "$kept" ]; then
        say "Rerun of failed tests: $(printf '%s\n' "$kept" | wc -l | tr -d ' ') of $(printf '%s\n' "$names" | wc -l | tr -d ' ')"
        names=$kept
    else
        # Better all than none: a job that runs nothing would be green.
        say 'None of these names is the file or the class of a test that failed: all are run'
    fi
}

tell_counts() {
    [ -n "$counts" ] || return 0
    read=$([ -z "$names" ] || printf '%s\n' "$names" | wc -l)
    took=$([ -z "$1" ] || printf '%s\n' "$1" | wc -l)
    say "Read $((read + 0)) tests, $((took + 0)) of them for node $mine of $total"
}

# Names are separated by white space. A line with blanks that is as a whole the name of a file is that one name.
one_a_line() {
    LC_ALL=C awk '
    { sub(/\r$/, "") }
    NF < 2 { if (NF) print $1; next }
    length($0) < 4096 && is_file($0) { print; next }
    { for (i = 1; i <= NF; i++) print $i }
    function is_file(name,    first, is) {
        is = (getline first <name) >= 0
        close(name)
        return is
    }' | LC_ALL=C sort
}

by_turns() { LC_ALL=C awk -v mine="$mine" -v total="$total" '(NR - 1) % total == mine'; }

by_weight() { # The heaviest first, each to the node that has least
    { if [ "$by" = filesize ]; then weigh_by_size; else weigh_by_time; fi; } |
        LC_ALL=C sort -t '	' -k 1,1nr -k 2 | LC_ALL=C awk -v mine="$mine" -v total="$total" "$deal"
}

weigh_by_size() {
    {
        printf '%s\n' "$names" | tr '\n' '\0' | sizes
        echo
        printf '%s\n' "$names"
    } | LC_ALL=C awk '
    is_name { printf "%.0f\t%s\n", size[$0], $0; next }
    $0 == "" { is_name = 1; next }
    { at = index($0, " "); size[substr($0, at + 1)] = substr($0, 1, at) }'
}

sizes() { # of the files named on standard input, a NUL after each: lines "SIZE NAME"
    if stat -c %s / >/dev/null 2>&1; then xargs -0 stat -L -c '%s %n' -- 2>/dev/null
    else xargs -0 stat -L -f '%z %N' -- 2>/dev/null; fi
    :
}

weigh_by_time() {
    case $timings in /*) ;; *) timings=./$timings ;; esac
    [ -r "$timings" ] || timings=/dev/null
    printf '%s\n' "$names" | here=$PWD/ unknown=$default kind=$type LC_ALL=C awk "$weigh" \
        part=1 RS='}' FS='"' "$timings" part=2 RS='\n' -
}

# The results are JSON. An object ends at the next brace outside of a string, that is, after an even count of quotes.
weigh='
BEGIN { unknown = micros(ENVIRON["unknown"]); here = ENVIRON["here"]; kind = ENVIRON["kind"]
    by_name = kind ~ /name$/ && kind !~ /^file|^class/ }
part == 1 { object = held $0; held = ""; learn(object); next }
{ names[++count] = $0 }
END { weigh_all() }

function micros(text,    sum, unit) { # "1m30s", "500ms", "10"
    sum = 0
    while (match(text, /^[0-9]+([.][0-9]*)?/)) {
        unit = substr(text, RLENGTH + 1)
        sum += substr(text, 1, RLENGTH) * (unit ~ /^ms/ ? 1e3 : unit ~ /^us/ ? 1 : unit ~ /^m/ ? 6e7 : unit ~ /^h/ ? 3.6e9 : 1e6)
        sub(/^[0-9.]+[a-z]*/, "", text)
    }
    return sum ? sum : 1e4
}

function learn(text,    plain, n, i, key, after, value, file, class, test, time) {
    plain = text
    if (index(plain, "\n")) gsub(/[\t\r\n]/, " ", plain) # some awk splits at line ends, whatever the separator
    if (index(plain, "\\")) { gsub(/\\\\/, "\001", plain); gsub(/\\"/, "\002", plain) }
    if (plain != $0) $0 = plain
    n = NF # fields, not an array: that is three times as fast in busybox
    if (n % 2 == 0 && n) { held = text "}"; return }
    file = class = test = ""; time = 0
    for (i = 2; i < n; i += 2) {
        key = $i
        after = $(i + 1)
        if (after != ":" && index(after, " ")) gsub(/ +/, "", after)
        if (after == ":") { i += 2; value = $i }
        else if (substr(after, 1, 1) == ":") value = substr(after, 2)
        else continue
        if (key == "file") file = after == ":" ? decoded(value) : ""
        else if (key == "classname") class = after == ":" ? decoded(value) : ""
        else if (key == "name") test = after == ":" ? (by_name ? decoded(value) : value) : ""
        else if (key == "run_time" || key == "time") time = value + 0
    }
    if (time < 0) time = 0
    time = int(time * 1e6)
    if (file != "") by_file[place(file)] += time
    if (class != "") by_class[class] += time
    if (by_name && test != "") by_test[test] += time
    learned += (file class test) != ""
}

function decoded(text,    out, at, c, code) {
    if (!index(text, "\\") && !index(text, "\001") && !index(text, "\002")) return text
    gsub(/\002/, "\"", text)
    out = ""
    while ((at = index(text, "\\"))) {
        out = out substr(text, 1, at - 1)
        c = substr(text, at + 1, 1)
        text = substr(text, at + 2)
        if (c == "u") { out = out character(substr(text, 1, 4)); text = substr(text, 5) }
        else out = out (c == "n" ? "\n" : c == "t" ? "\t" : c == "r" ? "\r" : c)
    }
    out = out text
    gsub(/\001/, "\\", out)
    return out
}

function character(hex,    code, i) {
    code = 0
    for (i = 1; i <= 4; i++) code = code * 16 + index("0123456789abcdef", tolower(substr(hex, i, 1))) - 1
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
}

function place(file) {
    if (substr(file, 1, length(here)) == here) file = substr(file, length(here) + 1)
    while (substr(file, 1, 2) == "./") file = substr(file, 3)
    return file
}

function weigh_all(    i, files, classes, missing) {
    if (kind == "autodetect") {
        files = classes = 0
        for (i = 1; i <= count; i++) { files += place(names[i]) in by_file; classes += names[i] in by_class }
        kind = !files && !classes ? "none" : files >= classes ? "file" : "class"
    }
    if (kind == "none" || !learned) {
        print "Error auto-detecting timing type, falling back to weighting by name." | "cat 1>&2"
        for (i = 1; i <= count; i++) print "1\t" names[i]
        return
    }
    missing = 0
    for (i = 1; i <= count; i++) {
        if (kind ~ /^file/ && place(names[i]) in by_file) weight = by_file[place(names[i])]
        else if (kind ~ /^class/ && names[i] in by_class) weight = by_class[names[i]]
        else if (by_name && names[i] in by_test) weight = by_test[names[i]]
        else {
            weight = unknown
            if (++missing <= 20) print "No timing found for \"" names[i] "\"" | "cat 1>&2"
        }
        printf "%.0f\t%s\n", weight, names[i]
    }
    if (missing > 20) print "No timing found for " missing - 20 " more" | "cat 1>&2"
}
'

# A heap of the nodes, the lightest on top; of equals the one with fewer tests, then the first.
deal='
BEGIN { for (i = 0; i < total; i++) { heap[i + 1] = i; load[i] = tests[i] = 0 } }
{
    at = index($0, "\t")
    node = heap[1]
    if (node == mine) print substr($0, at + 1)
    load[node] += substr($0, 1, at - 1)
    tests[node]++
    for (i = 1; (next_one = 2 * i) <= total; i = next_one) {
        if (next_one < total && is_lighter(heap[next_one + 1], heap[next_one])) next_one++
        if (!is_lighter(heap[next_one], node)) break
        heap[i] = heap[next_one]
    }
    heap[i] = node
}
function is_lighter(a, b) {
    if (load[a] != load[b]) return load[a] < load[b]
    if (tests[a] != tests[b]) return tests[a] < tests[b]
    return a < b
}
'

# --- env subst -------------------------------------------------------------------------------------------------------

env_subst() {
    if [ $# -gt 0 ]; then printf '%s\n' "$*"; else cat; fi | { cat; printf x; } |
        rondo_lc_all=${LC_ALL-} LC_ALL=C awk "$substitute"
}

# The x behind the end keeps a last line without its newline apart from one with it.
substitute='
NR > 1 { print filled(line) }
{ line = $0 }
END { printf "%s", filled(substr(line, 1, length(line) - 1)) }
function filled(text,    out, at) {
    out = ""
    while ((at = index(text, "$"))) {
        out = out substr(text, 1, at - 1)
        text = substr(text, at + 1)
        if (match(text, /^[{][A-Za-z_][A-Za-z0-9_]*[}]/)) out = out value(substr(text, 2, RLENGTH - 2))
        else if (match(text, /^[A-Za-z_][A-Za-z0-9_]*/)) out = out value(substr(text, 1, RLENGTH))
        else { out = out "$"; continue }
        text = substr(text, RLENGTH + 1)
    }
    return out text
}
function value(name) { return name == "LC_ALL" ? ENVIRON["rondo_lc_all"] : ENVIRON[name] }
'

main "$@"
