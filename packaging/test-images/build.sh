#!/bin/sh
# Makes the root file system of one test image out of Debian packages, as a tar on standard output.
#
#   build.sh busybox        one static binary and its links: no bash, no setsid of util-linux, no python
#   build.sh debian         a small Debian with the packages of debian.packages and a user circleci (3434)
#
# For root on Debian. Images are made, not pulled, so that the tests need no registry: only the package mirror
# this machine uses already. tests/engine_fixture.py caches what comes out of here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT

need() {
    for package; do
        dpkg -s "$package" >/dev/null 2>&1 && continue
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package" >&2
    done
}

busybox_root() {
    need busybox-static
    mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp" "$root/var/tmp" "$root/home/circleci"
    chmod 1777 "$root/tmp" "$root/var/tmp"
    cp /bin/busybox "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'circleci:x:3434:3434::/home/circleci:/bin/sh' >>"$root/etc/passwd"
    printf 'root:x:0:\ncircleci:x:3434:\n' >"$root/etc/group"
    chown 3434:3434 "$root/home/circleci"
}

debian_root() {
    need debootstrap
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(SITE)' 'Identifier: Packages' 'Origin: Debian' "Codename: $codename" | head -n 1)
    packages=$(paste -sd, "$here/debian.packages")
    debootstrap --variant=minbase --include="$packages" "$codename" "$root" "$mirror" >&2
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
    chroot "$root" useradd --create-home --uid 3434 --shell /bin/bash circleci
}

case "${1:-}" in
busybox | debian) "${1}_root" ;;
*) echo "usage: build.sh busybox|debian" >&2; exit 2 ;;
esac
tar -C "$root" --numeric-owner -cf - .
