#!/bin/sh
# The root of a small Debian without Python, with what a server of Rondo needs beside it, as a tar on standard output.
# For root on Debian.
set -eu
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(SITE)' 'Identifier: Packages' 'Origin: Debian' "Codename: $codename" | head -n 1)
debootstrap --variant=minbase --include=git,openssh-client,ca-certificates "$codename" "$root" "$mirror" >&2
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
tar -C "$root" --numeric-owner -cf - .
