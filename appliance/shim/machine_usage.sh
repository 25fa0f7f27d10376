# What the supervisor and all that it started take, from /proc. Needs machine.sh.
#
#   r_base r_instance r_node    answers: ok CPU_TICKS PAGES WRITTEN_BYTES PROCESSES TICKS_PER_SECOND BYTES_PER_PAGE

r_add_up() {
    while [ -n "$r_todo" ] && [ "$r_count" -lt 5000 ]; do
        r_next=
        for r_each in $r_todo; do
            read -r r_line <"/proc/$r_each/stat" || continue
            set -- ${r_line##*') '}
            r_cpu=$((r_cpu + ${12} + ${13} + ${14} + ${15}))
            r_pages=$((r_pages + ${22}))
            r_count=$((r_count + 1))
            while read -r r_key r_value; do
                case $r_key in write_bytes:) r_written=$((r_written + r_value)) ;; esac
            done <"/proc/$r_each/io"
            for r_task in "/proc/$r_each"/task/*/children; do
                r_line=
                read -r r_line <"$r_task"
                r_next="$r_next $r_line"
            done
        done
        set -- $r_next
        r_todo=$*
    done
} 2>/dev/null

cd -P -- "$r_base/$r_instance/$r_node" 2>/dev/null && r_is_supervised || { r_tell gone; exit 0; }
[ -r /proc/self/stat ] || { r_tell unknown; exit 0; }
r_cpu=0 r_pages=0 r_written=0 r_count=0
r_todo=${r_noted%%.*}
r_add_up
r_tell ok "$r_cpu $r_pages $r_written $r_count $(getconf CLK_TCK 2>/dev/null || echo 100) $(getconf PAGESIZE 2>/dev/null || echo 4096)"
