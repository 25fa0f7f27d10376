"""Small scripts of ours inside a sandbox: questions with short answers, and the words for paths that they share."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import SandboxError
from appliance.executors.base import Sandbox

_LONGEST_ANSWER = 16 << 20

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


async def ask(sandbox: Sandbox, script: str, working_directory: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a script of ours and give its exit code and output. It has PRELUDE's words, and `arguments` as $1, $2, ...

    It sees nothing of the user's environment but what the image has. Raises SandboxError when it says too much.
    """
    process = await sandbox.process(["sh", "-c", PRELUDE + script, "rondo", working_directory, *arguments])
    answer = bytearray()
    try:
        await process.write_eof()
        while chunk := await process.read():
            answer += chunk
            if len(answer) > _LONGEST_ANSWER:
                raise SandboxError("a helper in the sandbox said more than anybody can hear")
        return await process.wait(), answer.decode("utf-8", "replace")
    finally:
        await process.kill()
