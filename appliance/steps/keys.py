"""SSH keys in a job: what `checkout` leaves there, and `add_ssh_keys` (spec 1.8.3, 1.8.5).

Private halves travel on the standard input of a helper: they are in no argv, no environment, no label. As on CircleCI
the checkout key is ~/.ssh/id_rsa and an additional one ~/.ssh/id_rsa_MD5, with an entry for its host in ~/.ssh/config.
ssh asks the user database for its home; where HOME is another folder (jobs of this host, odd images) git is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from appliance import ssh_keys
from appliance.executors.base import Command
from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps.base import SUCCESS, Keys, NodeView, Outcome
from appliance.steps.inside import ask
from appliance.store.keys import AdditionalKey

_HERE = ("localhost", "127.", "0.0.0.0", "::1")
_AGENT_S = 60.0

# Words for scripts. `block` gives standard input up to a line with a dot; a shell reads a pipe byte by byte, so what
# follows is left to whoever reads next.
WORDS = r"""
block() { while IFS= read -r line && [ "$line" != . ]; do printf '%s\n' "$line"; done; }
prepare() { # $1 = lines of known_hosts
    umask 077
    ssh=$HOME/.ssh
    [ -d "$ssh" ] || mkdir -p "$ssh" || return 1
    if [ -e "$ssh/known_hosts" ]; then
        [ -z "$(tail -c 1 "$ssh/known_hosts")" ] || echo >>"$ssh/known_hosts"
        printf '%s\n' "$1" | while IFS= read -r line; do
            grep -qxF -e "$line" "$ssh/known_hosts" || printf '%s\n' "$line" >>"$ssh/known_hosts"
        done
    else
        printf '%s\n' "$1" >"$ssh/known_hosts"
    fi
    real='~'
    name=$(id -un 2>/dev/null) && eval "real=~$name"
    [ "$real" != "$HOME" ] || return 0
    [ -e "$ssh/config" ] && grep -qF "UserKnownHostsFile \"$ssh/known_hosts\"" "$ssh/config" || {
        printf 'Host *\n    UserKnownHostsFile "%s"\n    IdentityFile "%s"\n' "$ssh/known_hosts" "$ssh/id_rsa"
    } >>"$ssh/config"
    if [ ! -e "$HOME/.gitconfig" ]; then
        printf '[core]\n\tsshCommand = ssh -F \\"$HOME/.ssh/config\\"\n' >"$HOME/.gitconfig"
    elif ! git config --global core.sshCommand >/dev/null 2>&1; then
        git config --global core.sshCommand 'ssh -F "$HOME/.ssh/config"' 2>/dev/null || :
    fi
}
keep() { # $1 = name, $2 = private key: there whole or not at all
    printf '%s\n' "$2" >"$ssh/$1.new" && mv -f "$ssh/$1.new" "$ssh/$1"
}
"""

_INSTALL = (
    WORDS
    + r"""
known=$(block)
prepare "$known" || exit 1
while IFS=' ' read -r md5 host; do
    key=$(block)
    keep "id_rsa_$md5" "$key" || exit 1
    mark="# key $md5 ${host:-of every host}"
    [ -e "$ssh/config" ] || : >"$ssh/config"
    grep -qxF -e "$mark" "$ssh/config" && continue
    {
        # ssh offers keys in the order it finds them: a host's own before those of every host.
        [ -n "$host" ] || cat "$ssh/config"
        printf '%s\nHost %s\n    IdentitiesOnly no\n    IdentityFile "%s"\n' "$mark" "${host:-*}" "$ssh/id_rsa_$md5"
        # The checkout key is tried by itself only while no other is named.
        [ -n "$host" ] || [ ! -e "$ssh/id_rsa" ] || printf '    IdentityFile "%s"\n' "$ssh/id_rsa"
        [ -z "$host" ] || cat "$ssh/config"
    } >"$ssh/config.new" && mv -f "$ssh/config.new" "$ssh/config" || exit 1
done
"""
)

# The supervisor shows later steps, and debug shells, a socket of this name in its folder (executors/payload.py).
_AGENT = r"""
socket=${CIRCLE_INTERNAL_TASK_DATA%/task}/agent
if ! command -v ssh-agent >/dev/null 2>&1 || ! command -v ssh-add >/dev/null 2>&1; then
    echo "There is no ssh-agent in this image: the keys are in ~/.ssh only"
    exit 0
fi
export SSH_AUTH_SOCK="$socket"
ssh-add -l >/dev/null 2>&1
if [ "$?" -gt 1 ]; then
    rm -f "$socket"
    ssh-agent -a "$socket" >/dev/null || { echo "ssh-agent does not start: the keys are in ~/.ssh only"; exit 0; }
fi
for md5 in $RONDO_KEYS; do
    ssh-add "$HOME/.ssh/id_rsa_$md5" || echo "ssh-agent does not take this key: it is in ~/.ssh only"
done
exit 0
"""


def checkout_input(keys: Keys) -> bytes:
    """What `checkout` puts before the code: lines of known_hosts, a dot, the key, a dot."""
    if keys.checkout is None:
        return b".\n.\n"
    return f"{keys.known_hosts.strip()}\n.\n{keys.checkout.private.strip()}\n.\n".encode()


def out_of_reach(url: str) -> bool:
    """Whether a container or another machine would look for this URL inside of itself."""
    return (urlsplit(url).hostname or "").startswith(_HERE)


async def add(step: plans.AddSshKeys, node: NodeView) -> Outcome:
    """Put the project's additional keys, or those with the step's fingerprints, into ~/.ssh and an ssh-agent."""
    chosen, unknown = _chosen(step.fingerprints, node.keys.additional)
    if unknown:
        message = _unknown(unknown, node.keys)
        await node.say(message + "\n")
        return Outcome(StepStatus.FAILED, message=message)
    if not chosen:
        why = "A fork's pipeline gets no keys" if node.keys.are_withheld else "This project has no additional SSH keys"
        await node.say(why + ": nothing to install\n")
        return SUCCESS
    code, words = await ask(node.sandbox, _INSTALL, node.job.working_directory, (), stdin=_input(chosen, node.keys))
    if code:
        message = f"cannot write the keys into ~/.ssh: {words.strip()[-300:]}"
        await node.say(message + "\n")
        return Outcome(StepStatus.FAILED, message=message)
    names = " ".join(dict.fromkeys(_plain(key) for key in chosen))
    command = Command(
        id=node.command_id, script=_AGENT, shell="/bin/sh", environment={"RONDO_KEYS": names}, working_directory="/"
    )
    return await node.execute(command, _AGENT_S)


def _chosen(wanted: Sequence[str], known: Sequence[AdditionalKey]) -> tuple[list[AdditionalKey], list[str]]:
    """The keys to install, and the fingerprints that none of them has. Without fingerprints: all of them."""
    if not wanted:
        return list(known), []
    found, unknown = [], []
    for fingerprint in wanted:
        these = [key for key in known if ssh_keys.same_fingerprint(fingerprint, key.md5, key.fingerprint)]
        found += [key for key in these if key not in found]
        unknown += [] if these else [fingerprint]
    return found, unknown


def _unknown(unknown: Sequence[str], keys: Keys) -> str:
    if keys.are_withheld:
        return "a fork's pipeline gets none of the project's SSH keys"
    known = ", ".join(f"{key.md5} ({key.hostname or 'every host'})" for key in keys.additional) or "none"
    return f"this project has no SSH key {', '.join(unknown)}; its keys are: {known}"


def _plain(key: AdditionalKey) -> str:
    return key.md5.replace(":", "")


def _input(chosen: Sequence[AdditionalKey], keys: Keys) -> bytes:
    # A host's entry is put before what is there, so the first to be written is the last to be read.
    parts = [f"{_plain(key)} {key.hostname}\n{key.private.strip()}\n.\n" for key in reversed(chosen)]
    return f"{keys.known_hosts.strip()}\n.\n{''.join(parts)}".encode()
