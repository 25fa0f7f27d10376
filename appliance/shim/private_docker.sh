# The private Docker engine of one job: the main process of a container beside the job's, on the same engine.
#
# A Docker client is root wherever its engine runs: `-v /:/host` and `--privileged` are one flag away. So the engine
# given to a job lives in a user namespace: its root is a user id without any rights outside, its file system holds
# the host's programs (read-only), a minimal /etc and its own data, its processes and network are its own. What a job
# mounts, sees or kills as "the host" is that and nothing more, and the first engine's bridges and rules are out of
# its reach. As with every container the kernel is shared.
#
# Two stages, each the whole of this text with another first argument:
#   outer   the container's root: makes the user namespace, gives it a slice of the control groups and a network cable.
#           Holds the rights that the jail lacks; nothing of the job ever runs here.
#   jail    root of the user namespace: builds its file system, moves into it, forgets the way back, runs dockerd.
# Arguments: stage, first user id of the jail, folder of the socket, KiB that may be kept; then options of dockerd.
# The container has its host's root at /host, read-only, and what the engine keeps at /data. "ready" alone on a line of
# standard output: the engine answers. Everything else there is for people.
set -u
p_stage=$1 p_uid=$2 p_socket=$3 p_most=$4
shift 4
p_cable=169.254.77  # of the wire between container and jail; link-local addresses are nobody's outside

p_fail() { echo "$*"; exit 1; }

p_until() { # p_until COMMAND...: as long as ten seconds
  p_n=0
  until "$@" 2>/dev/null; do
    p_n=$((p_n + 1)); [ $p_n -lt 500 ] || return 1
    sleep 0.02
  done
}

p_left() { # p_left PROCESS KIND: it has another namespace than we. While it changes its user it may not be looked at
  p_found=$(readlink "/proc/$1/ns/$2") && [ "$p_found" != "$(readlink "/proc/self/ns/$2")" ]
}

# --- outer ---

p_outer() {
  [ -x /usr/bin/dockerd ] || [ -x /usr/sbin/dockerd ] || [ -x /usr/local/bin/dockerd ] ||
    p_fail "no dockerd in /usr/bin, /usr/sbin or /usr/local/bin of the machine that runs the Docker engine"
  for p_tool in unshare nsenter ip iptables; do
    command -v $p_tool >/dev/null || p_fail "the machine that runs the Docker engine lacks $p_tool"
  done
  mkdir -p "$p_socket" /jail /ports
  mkfifo -m 666 /ports/asked
  p_let_go
  [ "$(stat -c %u /data)" = "$p_uid" ] || rm -rf /data/*  # kept under other user ids than the settings have now
  chown "$p_uid:$p_uid" /data "$p_socket"
  mount -o remount,rw /sys || p_fail "cannot write to /sys: no right to mount here"
  p_own_cgroups
  unshare --user sleep 60 & p_holder=$!
  p_until p_left $p_holder user || p_fail "cannot make a user namespace; is user.max_user_namespaces 0?"
  echo "0 $p_uid 65536" >/proc/$p_holder/uid_map && echo "0 $p_uid 65536" >/proc/$p_holder/gid_map ||
    p_fail "cannot map user ids"
  p_join_cgroups
  nsenter --user=/proc/$p_holder/ns/user -S 0 -G 0 \
    unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child \
    sh -c "$P_TEXT" jail jail "$p_uid" "$p_socket" "$p_most" "$@" & p_jail=$!
  trap p_stop TERM
  p_until p_left $p_jail net || p_fail "the jail did not begin"
  kill $p_holder
  p_leave_cgroups
  p_wire
  p_publish <>/ports/asked &
  wait $p_jail  # the trap breaks this off
  [ -z "${p_stopping:-}" ] || wait $p_jail
}

p_stop() { # the jail's first process hears of it, not `unshare`, with which the jail would die at once
  p_stopping=1
  read -r p_first </proc/$p_jail/task/$p_jail/children  # false, as always without an end of line
  kill -TERM "$p_first"
}

p_wire() { # a cable to the jail, and the way out through this container's own address
  p_mtu=$(cat /sys/class/net/eth0/mtu)
  ip link add jail0 mtu "$p_mtu" type veth peer name eth0 mtu "$p_mtu" netns $p_jail &&
    ip addr add $p_cable.1/30 dev jail0 && ip link set jail0 up &&
    echo 1 >/proc/sys/net/ipv4/ip_forward &&
    echo 1 >/proc/sys/net/ipv4/conf/jail0/route_localnet &&
    iptables -w -t nat -A POSTROUTING -s $p_cable.0/30 -o eth0 -j MASQUERADE &&
    iptables -w -t nat -A POSTROUTING -s 127.0.0.0/8 -o jail0 -j MASQUERADE &&
    iptables -w -A FORWARD -i jail0 ! -s $p_cable.2 -j DROP ||
    p_fail "cannot connect the private engine to the network"
}

p_publish() { # what the jail publishes is on the job's localhost too. It may ask for anything: only ports are heard
  while read -r p_what p_protocol p_port p_rest; do
    case $p_protocol in tcp | udp) ;; *) continue ;; esac
    case $p_port in '' | *[!0-9]* | ??????*) continue ;; esac
    set -- OUTPUT -o lo -p "$p_protocol" --dport "$p_port" -j DNAT --to-destination "$p_cable.2:$p_port"
    case $p_what in
      +) iptables -w -t nat -C "$@" || iptables -w -t nat -A "$@" ;;
      -) iptables -w -t nat -D "$@" ;;
    esac 2>/dev/null
  done
}

p_let_go() { # of the host's other file systems: as long as we see them they cannot be unmounted
  p_seen=$(while read -r _ _ _ _ p_at _; do
    case $p_at in
      /host/usr* | /host/bin* | /host/sbin* | /host/lib* | /host/etc*) ;;
      /host/*) echo "$p_at" ;;
    esac
  done </proc/self/mountinfo)
  # The container's resolver is one of the first engine at 127.0.0.11, which the jail cannot reach: it asks the host's.
  cat /host/run/systemd/resolve/resolv.conf /host/etc/resolv.conf 2>/dev/null |
    grep -v -e '^nameserver 127\.' -e '^nameserver ::1' -e '^#' >/ports/resolv.conf
  # shellcheck disable=SC2086
  umount -l $p_seen 2>/dev/null
}

p_own_cgroups() {
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mount -o remount,bind,rw /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/outer /sys/fs/cgroup/jail
    p_pass_on /sys/fs/cgroup outer
    chown -R "$p_uid:$p_uid" /sys/fs/cgroup/jail
    return
  fi
  for p_group in /sys/fs/cgroup/*; do
    [ -L "$p_group" ] && continue
    mount -o remount,bind,rw "$p_group" 2>/dev/null && mkdir -p "$p_group/jail" 2>/dev/null || continue
    if [ -f "$p_group/cpuset.cpus" ]; then # empty at first, and nothing may join then
      cat "$p_group/cpuset.cpus" >"$p_group/jail/cpuset.cpus"
      cat "$p_group/cpuset.mems" >"$p_group/jail/cpuset.mems"
      echo 1 >"$p_group/jail/cgroup.clone_children"
    fi
    chown -R "$p_uid:$p_uid" "$p_group/jail"
  done
}

p_pass_on() { # p_pass_on GROUP CHILD: version 2 has processes in leaves only; they move before the children get limits
  xargs -rn1 <"$1/cgroup.procs" >"$1/$2/cgroup.procs" 2>/dev/null
  sed -e 's/ / +/g' -e 's/^/+/' <"$1/cgroup.controllers" >"$1/cgroup.subtree_control"
}

p_join_cgroups() { # before the jail begins: the root of its view is where it is at that moment
  for p_group in /sys/fs/cgroup/*/jail /sys/fs/cgroup/jail; do
    [ ! -d "$p_group" ] || echo $$ >"$p_group/cgroup.procs"
  done
}

p_leave_cgroups() { # the jail cannot see us there, and could pass nothing on
  [ ! -d /sys/fs/cgroup/outer ] || for p_process in $$ $p_jail; do
    echo "$p_process" >/sys/fs/cgroup/outer/cgroup.procs
  done
}

# --- jail ---

p_jail() {
  mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /jail && cd /jail || p_fail "cannot mount in the jail"
  mkdir -p dev etc proc root run sys tmp var/lib/docker var/tmp old ".$p_socket"
  chmod 1777 tmp var/tmp
  ln -s ../run var/run
  p_programs && p_devices && p_configuration && p_views || p_fail "cannot build the file system of the private engine"
  mount --bind /data var/lib/docker && mount --bind "$p_socket" ".$p_socket" &&
    mkdir run/ports && mount --bind /ports run/ports || p_fail "cannot mount the data"
  pivot_root . old && cd / && umount -l /old && rmdir /old || p_fail "cannot move into the jail"
  p_until ip link set eth0 up || p_fail "the network cable did not come"
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir /sys/fs/cgroup/init
    p_pass_on /sys/fs/cgroup init
  fi
  ip link set lo up
  ip addr add $p_cable.2/30 dev eth0 && ip route add default via $p_cable.1 || p_fail "no network in the jail"
  trap p_end TERM
  [ ! -e var/lib/docker/spoiled ] || rm -rf var/lib/docker/*
  p_sweep
  p_start "$@" || {
    echo "the kept layers could not be used, and were thrown away"
    rm -rf /var/lib/docker/*
    p_start "$@" || { tail -n 5 /run/dockerd.log; exit 1; }
  }
  echo ready
  wait $p_dockerd
  [ -n "${p_stopping:-}" ] || return 1
  wait $p_dockerd
  p_size=$(timeout 10 du -skx /var/lib/docker 2>/dev/null)
  p_size=${p_size%%[!0-9]*}
  [ "${p_size:-0}" -le "$p_most" ] || { : >/var/lib/docker/spoiled; rm -rf /var/lib/docker/*; }
}

p_end() { # dockerd first, or it would begin again what dies; then at once what runs in it, which it would give ten seconds
  p_stopping=1
  kill $p_dockerd
  p_own=$(readlink /proc/self/ns/pid)
  for p_process in /proc/[0-9]*; do
    [ "$(readlink "$p_process/ns/pid")" = "$p_own" ] || kill -9 "${p_process#/proc/}" 2>/dev/null
  done
}

p_programs() {
  for p_folder in bin sbin lib lib32 lib64 libx32; do
    if [ -L /host/$p_folder ]; then ln -s "$(readlink /host/$p_folder)" $p_folder
    elif [ -d /host/$p_folder ]; then p_show /host/$p_folder $p_folder || return 1
    fi
  done
  p_show /host/usr usr
}

p_show() { # p_show FROM TO: a folder, read-only
  mkdir -p "$2" && mount --rbind "$1" "$2" &&
    { mount -o remount,bind,ro "$2" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$2"; }
}

p_devices() {
  mount -t tmpfs -o mode=755 tmpfs dev && mkdir dev/pts dev/shm || return 1
  for p_device in null zero full random urandom tty; do
    : >dev/$p_device && mount --bind /dev/$p_device dev/$p_device || return 1
  done
  ln -s pts/ptmx dev/ptmx && ln -s /proc/self/fd dev/fd && ln -s fd/0 dev/stdin && ln -s fd/1 dev/stdout &&
    ln -s fd/2 dev/stderr && mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts &&
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
}

p_configuration() {
  echo "root:x:0:0:root:/root:/bin/sh" >etc/passwd && printf 'root:x:0:\ndocker:x:0:\n' >etc/group || return 1
  echo "127.0.0.1 localhost" >etc/hosts
  cp /ports/resolv.conf etc/ && printf '#!/bin/sh\n%s\n' "$P_PROXY" >etc/proxy && chmod 755 etc/proxy || return 1
  cp /host/etc/ld.so.cache etc/ 2>/dev/null
  for p_folder in alternatives ssl/certs pki ca-certificates docker/certs.d; do
    [ ! -d /host/etc/$p_folder ] || p_show /host/etc/$p_folder etc/$p_folder || return 1
  done
}

p_views() { # the kernel's file systems, as they are inside of the namespaces
  mount -t proc proc proc && mount -t sysfs sysfs sys || return 1
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup || return 1
    return
  fi
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup || return 1
  for p_group in /sys/fs/cgroup/*/jail; do
    p_name=${p_group%/jail}; p_name=${p_name##*/}
    case $p_name in systemd) p_option=none,name=systemd ;; *) p_option=$p_name ;; esac
    mkdir "sys/fs/cgroup/$p_name" && mount -t cgroup -o "$p_option" cgroup "sys/fs/cgroup/$p_name" || return 1
  done
}

p_sweep() { # what is kept for the next job are images and what builds left; containers and volumes are a job's own
  cd /var/lib/docker || return
  for p_mount in image/*/layerdb/mounts/*; do
    for p_id in mount-id init-id; do
      [ -s "$p_mount/$p_id" ] && read -r p_layer <"$p_mount/$p_id" || [ -n "${p_layer:-}" ] && rm -rf "overlay2/$p_layer"
    done
    rm -rf "$p_mount"
  done
  rm -rf containers volumes network swarm plugins tmp
  cd /
}

p_start() { # dockerd, until it answers; its first log is what tells when
  rm -f /run/docker.pid "$p_socket/docker.sock"
  : >/run/dockerd.log
  dockerd --host "unix://$p_socket/docker.sock" --exec-root /run/docker --pidfile /run/docker.pid \
    --mtu "$(cat /sys/class/net/eth0/mtu)" --shutdown-timeout 2 --userland-proxy-path /etc/proxy "$@" >/run/dockerd.log 2>&1 & p_dockerd=$!
  p_n=0
  until grep -q 'API listen on' /run/dockerd.log; do
    p_n=$((p_n + 1))
    [ $p_n -lt 1500 ] && kill -0 $p_dockerd 2>/dev/null || { kill -9 $p_dockerd 2>/dev/null; wait $p_dockerd; return 1; }
    sleep 0.02
  done
  chmod 666 "$p_socket/docker.sock"
}

case $p_stage in
  outer) p_outer "$@" ;;
  jail) p_jail "$@" ;;
esac
