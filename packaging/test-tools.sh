#!/bin/sh
# What the tests drive beside Docker: a browser, an ssh client, shells, zstd. As root on Debian it is installed; elsewhere
# the tests that lack something are skipped loudly, and with CI=true fail.
set -eu
lacking=
# Where there is an init system the package would open a door to this machine; nearly all that have one have sshd.
[ -d /run/systemd/system ] || [ -x /usr/sbin/sshd ] || lacking=' openssh-server'
for pair in \
    chromium:chromium ssh:openssh-client git:git busybox:busybox-static zstd:zstd dash:dash \
    mksh:mksh zsh:zsh ksh93:ksh93u+m yash:yash toybox:toybox \
    mawk:mawk gawk:gawk original-awk:original-awk debootstrap:debootstrap; do
    command -v "${pair%%:*}" >/dev/null || lacking="$lacking ${pair#*:}"
done
[ -n "$lacking" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "for all tests install:$lacking" >&2
    exit 0
fi
echo "installing for the tests:$lacking"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of packages
apt-get install -y -qq --no-install-recommends $lacking >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $lacking >/dev/null
}
