"""`checkout` (spec 1.8.3): the server streams the commit's history into the sandbox; git in the image makes the tree.

So a job needs neither network nor credentials for its code. The project's checkout key comes along before the code, so
that later steps can fetch, and with a user key push, by themselves. An image without git gets the tree alone, from a
tar. The helper's environment is built from scratch: nothing of the user's (GIT_*, BASH_ENV, PATH) reaches it. Names of
branches and tags travel as variables, never inside the script.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator

from appliance.executors.base import Command, Process
from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps import keys
from appliance.steps.base import NodeView, Outcome
from appliance.steps.inside import QUIET_S, waiting

_NO_KEY = "the checkout key could not be written"

# Written to a new name and moved: a checkout that already reads the file (we were restarted) keeps its own.
_RECEIVE = (
    keys.WORDS
    + r"""
file=${TMPDIR:-/tmp}/$1
if command -v git >/dev/null 2>&1; then echo git; else echo tar; fi
umask 077
known=$(block)
key=$(block)
if [ -n "$key" ] && command -v git >/dev/null 2>&1 && command -v ssh >/dev/null 2>&1; then
    prepare "$known" && keep id_rsa "$key" || echo "NO_KEY"
fi
cat > "$file.new" && mv "$file.new" "$file" && echo received
""".replace("NO_KEY", _NO_KEY)
)

_CHECKOUT = r"""
set -e
RONDO_FILE=${TMPDIR:-/tmp}/$RONDO_FILE
dir=$RONDO_DIR
case $dir in "~") dir=$HOME ;; "~/"*) dir=$HOME/${dir#"~/"} ;; esac
mkdir -p "$dir"
cd "$dir"
trap 'rm -f "$RONDO_FILE"' EXIT
if ! command -v git >/dev/null 2>&1; then
    echo "There is no git in this image: unpacking the tree of $RONDO_REVISION without its history"
    tar -xf "$RONDO_FILE"
    exit 0
fi
git --version
if [ -e .git ]; then
    echo "Fetching into the repository that is there"
elif [ -n "$(ls -A .)" ]; then
    echo "The directory $dir is not empty and not a git repository: cannot check out into it" >&2
    exit 1
else
    echo "Cloning $RONDO_URL"
    git init -q .
fi
git config gc.auto 0
git remote add origin "$RONDO_URL" 2>/dev/null || git remote set-url origin "$RONDO_URL"
git fetch -q --force --prune "$RONDO_FILE" "+refs/heads/*:refs/remotes/origin/*" "+refs/tags/*:refs/tags/*"
if [ -n "$RONDO_TAG" ]; then
    git fetch -q --force --no-tags "$RONDO_FILE" "+refs/rondo/checkout:refs/tags/$RONDO_TAG"
    git checkout -q --force --detach "$RONDO_REVISION"
elif git check-ref-format --branch "$RONDO_BRANCH" >/dev/null 2>&1; then # not so: none, or one like "-x"
    git fetch -q --force --no-tags "$RONDO_FILE" "+refs/rondo/checkout:refs/remotes/origin/$RONDO_BRANCH"
    git checkout -q --force -B "$RONDO_BRANCH" "$RONDO_REVISION"
    git branch -q --set-upstream-to "origin/$RONDO_BRANCH" 2>/dev/null || true
else
    git fetch -q --force --no-tags "$RONDO_FILE" refs/rondo/checkout
    git checkout -q --force --detach "$RONDO_REVISION"
fi
git --no-pager log --no-color -n 1 --format='HEAD is now at %h %s'
if [ -z "$RONDO_HAS_KEY" ]; then
    :
elif ! command -v ssh >/dev/null 2>&1; then
    echo "There is no ssh in this image: git cannot fetch or push in later steps"
elif [ -n "$RONDO_OUT_OF_REACH" ]; then
    echo "git cannot fetch or push in later steps: $RONDO_URL is an address of the server's own machine;"
    echo "set ssh.host and ssh.name to one that containers can reach"
fi
"""


async def perform(step: plans.Checkout, node: NodeView) -> Outcome:
    file = f"rondo-checkout.{node.name}.{node.command_id}"
    error = await _send(node, file)
    if error:
        await node.say(error + "\n")
        return Outcome(StepStatus.FAILED, message=error)
    environment = {
        "RONDO_DIR": posixpath.join(node.job.working_directory, step.path),
        "RONDO_FILE": file,
        "RONDO_URL": node.source.url,
        "RONDO_REVISION": node.source.revision,
        "RONDO_BRANCH": node.source.branch or "",
        "RONDO_TAG": node.source.tag or "",
        "RONDO_HAS_KEY": "yes" if node.keys.checkout is not None else "",
        "RONDO_OUT_OF_REACH": "yes" if node.source.is_out_of_reach else "",
        "GIT_TERMINAL_PROMPT": "0",
    }
    command = Command(id=node.command_id, script=_CHECKOUT, shell="/bin/sh", environment=environment, working_directory="/")
    return await node.execute(command, 600)


async def _send(node: NodeView, file: str) -> str:
    """Stream the code into `file` in the sandbox; a sentence when that did not work."""
    process = await node.sandbox.process(["sh", "-c", _RECEIVE, "rondo", file])
    try:
        async with waiting(QUIET_S):
            await process.write(keys.checkout_input(node.keys))
            answer = (await process.read()).decode("utf-8", "replace")
        source = node.source.bundle() if answer.startswith("git") else node.source.archive()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_read_all(process))
            await _pump(source, process)
            async with waiting(QUIET_S):
                answer += await reading
                code = await process.wait()
    except ExceptionGroup as group:  # a TaskGroup wraps even what its own block raises
        raise group.exceptions[0] from None
    finally:
        await process.kill()
    if code or "received" not in answer:
        return f"could not send the code into the sandbox: {answer.strip()[-500:] or 'no answer'}"
    if _NO_KEY in answer:
        trouble = answer.removeprefix("git").replace("received", "").strip()
        await node.say(f"{trouble[-500:]}\ngit cannot fetch or push in later steps\n")
    return ""


async def _pump(source: AsyncIterator[bytes], process: Process) -> None:
    async for chunk in source:  # git has its own bounds
        async with waiting(QUIET_S):
            await process.write(chunk)
    await process.write_eof()


async def _read_all(process: Process) -> str:
    """The rest of a short answer."""
    kept = b""
    while chunk := await process.read():
        kept = (kept + chunk)[-4096:]
    return kept.decode("utf-8", "replace")
