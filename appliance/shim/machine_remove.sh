# Ends all of one job, then removes its folder. Needs machine.sh and machine_end.sh.
#
#   r_base r_instance r_node r_cookie    r_grace  hundredths of a second between SIGTERM and SIGKILL
#
# Links are never followed. What a job of root mounted there is unmounted first: `rm` would go on into it.

r_mounts() { # lines: what is mounted below r_dir, the deepest last
    if [ -r /proc/self/mountinfo ]; then
        while read -r r_1 r_2 r_3 r_4 r_where r_rest; do
            r_where=$(printf '%b' "$r_where")
            case $r_where in "$r_dir"/*) echo "$r_where" ;; esac
        done </proc/self/mountinfo
    else
        mount | sed -n "s|^.* on \($r_dir/[^(]*\) (.*|\1|p"
    fi
} 2>/dev/null

r_unmount() {
    r_tries=100
    while r_last=$(r_mounts | tail -n 1) && [ -n "$r_last" ]; do
        umount "$r_last" 2>/dev/null || umount -l "$r_last" 2>/dev/null || umount -f "$r_last" 2>/dev/null
        r_tries=$((r_tries - 1))
        [ "$r_tries" -gt 0 ] || r_fail "$r_last is mounted in the folder of a job and cannot be unmounted"
    done
}

r_remove() { # Jobs leave folders that even their owner may not enter (Go's module cache)
    rm -rf -- "$r_dir" && return
    find "$r_dir" -type d ! -perm -700 -exec chmod u+rwx {} \;
    rm -rf -- "$r_dir"
} 2>/dev/null

r_remove_cgroups() { # Those who were just killed are in them for a moment longer
    for r_group in $r_cgroups; do
        r_tries=100
        while [ -d "$r_group" ] && [ "$r_tries" -gt 0 ]; do
            find "$r_group" -depth -type d -exec rmdir {} \;
            r_tries=$((r_tries - 1))
            [ ! -d "$r_group" ] || r_pause
        done
        rmdir "${r_group%/*}" "${r_group%/*/*}" # when it was the last one
    done
} 2>/dev/null

cd -P -- "$r_base/$r_instance" 2>/dev/null || { r_tell ok; exit 0; }
r_dir=$PWD/$r_node
[ -e "$r_dir" ] || [ -L "$r_dir" ] || { r_tell ok; exit 0; }
r_list_cgroups
r_folder=$r_dir
r_end "RONDO_SANDBOX=$r_cookie" TERM "$r_grace"
r_remove_cgroups
r_unmount
r_remove || r_fail "$r_dir cannot be removed: $(rm -rf -- "$r_dir" 2>&1 | head -n 1)"
r_tell ok
