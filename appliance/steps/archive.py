"""Trees on their way between a sandbox and the blobs: tar and the compressor run inside, we only carry the bytes.

So nothing is ever unpacked on the host. zstd is used where the image has it, else gzip, else plain tar; what a stored
archive is, its first bytes tell.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader

import zstandard

from appliance.errors import ImageError
from appliance.executors.base import Process, Sandbox, TakesFiles
from appliance.steps import tar
from appliance.steps.inside import PRELUDE, ask

_CHUNK = 1 << 20

_LOOK = r"""
root="~"
for path; do
    file=$(full "$path")
    if [ -e "$file" ] || [ -L "$file" ]; then
        echo "found $path"
        case $file in "$HOME"/?*) ;; *) root=/ ;; esac
    fi
done
echo "root $root"
"""

# Level 2: an eighth faster than the usual 3 for archives a few per cent larger, and most are read once or never.
# Standard error joins the output of a process, and the output is the archive: so tar's words go to a file.
_PACK = r"""
root=$(full "$1"); shift
command -v tar >/dev/null || exit 97
said=${TMPDIR:-/tmp}/rondo-tar.$$
exec 2>"$said"
left=$#
while [ "$left" -gt 0 ]; do
    file=$(full "$1"); shift; left=$((left - 1))
    file=${file#"${root%/}/"}
    set -- "$@" "./$file"
done
code=${TMPDIR:-/tmp}/rondo-code.$$
if command -v zstd >/dev/null; then press="zstd -q -2 -T0 -c"
elif command -v gzip >/dev/null; then press="gzip -1 -c"
else press=cat; fi
{ tar -C "$root" -cf - "$@"; echo $? >"$code"; } | $press
ended=$(cat "$code")
rm -f "$said" "$code"
[ "$ended" -le 1 ] || exit "$ended"
"""

# GNU tar ends with 1 when a file changed while it was read: that is what caches of busy folders do.

# Says first what it wants: the archive as it is, or plain, where the image cannot open it.
_UNPACK = r"""
how=$1; root=$(full "$2")
case $how in
    zstd) command -v zstd >/dev/null && open="zstd -q -d -c" || how=plain ;;
    gzip) command -v gzip >/dev/null && open="gzip -d -c" || how=plain ;;
esac
[ "$how" != plain ] || open=cat
echo "$how"
mkdir -p "$root"
code=${TMPDIR:-/tmp}/rondo-code.$$
{ $open || echo broken >"$code"; } | tar -C "$root" -xf -
ended=$?
[ ! -e "$code" ] || { rm -f "$code"; echo "the archive is broken"; exit 1; }
exit $ended
"""

_NO_TAR = 97
_MAGIC = ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x1f\x8b", "gzip"))


@dataclass(frozen=True)
class Look:
    """Which paths are there, and what they can be stored relative to: `~` when all lie in the home, else `/`.

    Homes differ between images, users and machines; what is relative to one is found again in another.
    """

    found: list[str]
    root: str


async def look(sandbox: Sandbox, working_directory: str, paths: Sequence[str]) -> Look:
    _, answer = await ask(sandbox, _LOOK, working_directory, paths)
    lines = answer.splitlines()
    found = {line.removeprefix("found ") for line in lines if line.startswith("found ")}
    return Look([path for path in paths if path in found], "~" if lines[-1:] == ["root ~"] else "/")


async def pack(sandbox: Sandbox, working_directory: str, root: str, paths: Sequence[str]) -> AsyncIterator[bytes]:
    """A compressed archive of `paths`, relative to `root`. Raises ImageError without a good tar, SandboxError if it dies."""
    process = await sandbox.process(["sh", "-c", PRELUDE + _PACK, "rondo", working_directory, root, *paths])
    try:
        await process.write_eof()
        while chunk := await process.read():
            yield chunk
        code = await process.wait()
    finally:
        await process.kill()
    if code == _NO_TAR:
        raise ImageError("there is no tar in this image, and nothing can be packed without")
    if code:
        raise tar.failure(code)


class TooLarge(Exception):
    """There is more of it than is allowed."""


async def at_most(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[bytes]:
    """The same chunks. Raises TooLarge as soon as there are more bytes."""
    try:
        async for chunk in chunks:
            most_bytes -= len(chunk)
            if most_bytes < 0:
                raise TooLarge
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()  # the tar inside ends now, not when somebody collects it


async def unpack(sandbox: Sandbox, working_directory: str, blob: BufferedReader, root: str) -> tuple[int, str]:
    """Unpack a stored archive below `root` in the sandbox; tar's exit code and words.

    It is read to its end even if it is thrown out meanwhile: an open file stays what it is.
    """
    head = await asyncio.to_thread(blob.read, 4)
    blob.seek(0)
    stored = next((name for magic, name in _MAGIC if head.startswith(magic)), "plain")
    process = await sandbox.process(["sh", "-c", PRELUDE + _UNPACK, "rondo", working_directory, stored, root])
    try:
        wanted = (await process.read()).decode("utf-8", "replace").partition("\n")[0]
        async with asyncio.TaskGroup() as group:
            words = group.create_task(_listen(process))
            await _send(blob, stored if wanted != stored else "plain", process)
        return await process.wait(), words.result()
    finally:
        await process.kill()


async def _send(blob: BufferedReader, opened_here: str, process: Process) -> None:
    """The blob's bytes, opened here when `opened_here` says how, since the image has nothing that could."""
    if opened_here == "plain" and isinstance(process, TakesFiles):
        await process.write_file(blob.fileno())
    else:
        file = _opened(blob, opened_here)
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            await process.write(chunk)
    await process.write_eof()


def _opened(blob: BufferedReader, how: str) -> BufferedIOBase:
    if how == "zstd":
        stream: BufferedIOBase = zstandard.open(blob, "rb")
        return stream
    return gzip.GzipFile(fileobj=blob) if how == "gzip" else blob


async def _listen(process: Process) -> str:
    """The last of what it says."""
    kept = b""
    while chunk := await process.read():
        kept = (kept + chunk)[-8192:]
    return kept.decode("utf-8", "replace")
