"""Small scripts of ours inside a sandbox: questions with short answers, and the words for paths that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from appliance.errors import SandboxError
from appliance.executors.base import Sandbox

_LONGEST_ANSWER = 16 << 20
QUIET_S = 900.0  # as long as a helper may take for its next bytes: it may have to sum up gigabytes first

# `full PATH`: absolute, with ~ and the job's working directory ($1 of every script of ours) filled in.
PRELUDE = r"""
wd=$1; shift
case $wd in "~") wd=$HOME ;; "~/"*) wd=$HOME/${wd#"~/"} ;; esac
full() {
    case $1 in
        "~") printf '%s\n' "$HOME" ;;
        "~/"*) printf '%s\n' "$HOME/${1#"~/"}" ;;
        /*) printf '%s\n' "$1" ;;
        .) printf '%s\n' "$wd" ;;
        *) printf '%s\n' "$wd/${1#./}" ;;
    esac
}
"""


async def ask(
    sandbox: Sandbox,
    script: str,
    working_directory: str,
    arguments: Sequence[str],
    *,
    stdin: bytes = b"",
    quiet_s: float = QUIET_S,
) -> tuple[int, str]:
    """Run a script of ours and give its exit code and output. It has PRELUDE's words, and `arguments` as $1, $2, ...

    It sees nothing of the user's environment but what the image has. `stdin` should be small: it is written before
    anything is read. Raises SandboxError when it says too much, or nothing for `quiet_s`.
    """
    process = await sandbox.process(["sh", "-c", PRELUDE + script, "rondo", working_directory, *arguments])
    answer = bytearray()
    try:
        async with waiting(quiet_s) as patience:
            if stdin:
                await process.write(stdin)
            await process.write_eof()
            while chunk := await process.read():
                patience.reschedule(asyncio.get_running_loop().time() + quiet_s)
                answer += chunk
                if len(answer) > _LONGEST_ANSWER:
                    raise SandboxError("a helper in the sandbox said more than anybody can hear")
            return await process.wait(), answer.decode("utf-8", "replace")
    finally:
        await process.kill()


@asynccontextmanager
async def waiting(quiet_s: float) -> AsyncIterator[asyncio.Timeout]:
    """Waits on a helper in the sandbox: raises SandboxError when they take longer; whoever hears of it reschedules."""
    try:
        async with asyncio.timeout(quiet_s) as patience:
            yield patience
    except TimeoutError:
        raise SandboxError(f"a helper in the sandbox did nothing for {quiet_s:g} s") from None
