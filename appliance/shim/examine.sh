# What a machine is and has, in lines "WORD VALUE" (executors/machine_check.py reads them). POSIX sh, on stdin of a plain sh.
# Leaves nothing behind. $1: the folder for our files there.

say() { printf '%s %s\n' "$1" "$2"; }
first() { # WORD COMMAND ARGS...: what the first line of a command's output says; nothing when there is no such command
    word=$1
    shift
    value=$("$@" 2>/dev/null </dev/null | head -n 1) || :
    [ -z "$value" ] || say "$word" "$value"
}

say begin 1
first os uname -s
first arch uname -m
first kernel uname -r
first user id -un
first uid id -u
if [ -r /etc/os-release ]; then
    (. /etc/os-release && say system "${PRETTY_NAME:-$NAME}") 2>/dev/null
elif command -v sw_vers >/dev/null; then
    say system "macOS $(sw_vers -productVersion)"
fi

cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null)
[ -z "$cpus" ] || say cpus "$cpus"
if [ -r /proc/meminfo ]; then
    while read -r name value _; do
        case $name in
        MemTotal:) say memory_kib "$value" ;;
        MemAvailable:) say available_kib "$value" ;;
        esac
    done </proc/meminfo
else
    bytes=$(sysctl -n hw.memsize 2>/dev/null || sysctl -n hw.physmem 2>/dev/null)
    [ -z "$bytes" ] || say memory_kib "$((bytes / 1024))"
fi
if [ -r /proc/loadavg ]; then
    read -r load _ </proc/loadavg
    say load "$load"
else
    load=$(sysctl -n vm.loadavg 2>/dev/null) && { set -f; set -- "$1" $load; say load "$3"; set +f; }
fi
first time date +%s

folder=$1
case $folder in '~/'*) folder=$HOME/${folder#'~/'} ;; esac
if mkdir -p "$folder" 2>/dev/null && (umask 077 && mkdir "$folder/.check.$$") 2>/dev/null; then
    say folder "$folder"
    df -Pk "$folder" 2>/dev/null | { read -r _; read -r _ _ _ free _ && say free_kib "$free"; }
    mkfifo "$folder/.check.$$/fifo" 2>/dev/null && say fifo yes
    printf '#!/bin/sh\necho yes\n' >"$folder/.check.$$/run" && chmod 700 "$folder/.check.$$/run"
    first runs "$folder/.check.$$/run"
    rm -rf "$folder/.check.$$"
else
    say unwritable "$folder"
fi

for tool in bash busybox cat chmod curl cut dd df docker find git grep gzip head kill mkdir mkfifo mv ps python3 rm sed setsid \
    sleep sort ssh stat sudo tail tar tr uname wc xcodebuild zstd; do
    command -v "$tool" >/dev/null 2>&1 && say tool "$tool"
done
for tool in apt-get dnf yum apk pacman zypper brew pkg; do
    command -v "$tool" >/dev/null 2>&1 && { say packages "$tool"; break; }
done
first bash bash -c 'echo "$BASH_VERSION"'
first git git --version
command -v docker >/dev/null && first docker docker version --format '{{.Server.Version}}'
command -v sudo >/dev/null && sudo -n true 2>/dev/null && say sudo yes
[ -r /proc/self/stat ] && say proc yes
say end 1
