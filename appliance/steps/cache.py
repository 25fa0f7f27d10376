"""`save_cache` and `restore_cache` (spec 2.1)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Mapping, Sequence
from io import BufferedReader

from appliance.blobs import Blobs
from appliance.errors import DiskFull
from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps import archive, cache_key
from appliance.steps.base import SUCCESS, Data, NodeView, Outcome
from appliance.steps.inside import ask
from appliance.store import caches

_DAY_MS = 86_400_000
_LASTS_DAYS = 15

# A FIFO or a device would hold us for ever: only plain files have a checksum.
_CHECKSUMS = r"""
for path; do
    file=$(full "$path")
    [ -f "$file" ] || { echo "none"; continue; }
    sum=$(sha256sum <"$file" 2>/dev/null) || sum=$(openssl dgst -sha256 -r <"$file" 2>/dev/null) || sum=none
    echo "${sum%% *}"
done
"""

_ARCH = r"""
os=$(uname -s | tr A-Z a-z); machine=$(uname -m)
case $machine in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; esac
family=$(sed -n 's/^cpu family[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
model=$(sed -n 's/^model[^a-z:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
echo "arch1-$os-$machine-${family:-0}_${model:-0}"
"""


async def save(step: plans.SaveCache, node: NodeView) -> Outcome:
    """Save once under an exact key. That there is no room, or another was first, fails no job."""
    try:
        key = await cache_key.fill(step.key, _facts(node))
    except cache_key.WrongKey as error:
        return await _failed(node, str(error))
    data = node.data
    if await data.db.read(lambda tx: caches.exists(tx, data.project_id, data.scope, key, data.clock.now_ms())):
        await node.say(f"Skipping cache generation, cache already exists for key: {key}\n")
        return SUCCESS
    look = await archive.look(node.sandbox, node.job.working_directory, step.paths)
    for path in step.paths:
        if path not in look.found:
            await node.say(f"{path} is not there: left out of the cache\n")
    if not look.found:
        await node.say("None of the paths is there: nothing to save\n")
        return SUCCESS
    return await _store(node, key, look)


async def _store(node: NodeView, key: str, look: archive.Look) -> Outcome:
    with node.data.blobs.hand() as new_id:
        return await _store_as(new_id(), node, key, look)


async def _store_as(cache_id: str, node: NodeView, key: str, look: archive.Look) -> Outcome:
    data = node.data
    await node.say(f"Creating cache archive for key: {key}\n")
    began = time.monotonic()
    try:
        packed = archive.pack(node.sandbox, node.job.working_directory, look.root, look.found)
        size = await data.blobs.store(Blobs.CACHES, cache_id, packed)
    except DiskFull as error:
        await node.say(f"{error}\nThe cache was not saved\n")
        return SUCCESS
    now_ms = data.clock.now_ms()
    lasts_ms = (node.job.cache_retention_days or _LASTS_DAYS) * _DAY_MS
    cache = caches.Cache(
        id=cache_id,
        project_id=data.project_id,
        scope=data.scope,
        key=key,
        root=look.root,
        size_bytes=size,
        created_at_ms=now_ms,
        used_at_ms=now_ms,
        expires_at_ms=now_ms + lasts_ms,
        shown=data.mask(key),
    )
    if not await data.db.write(lambda tx: caches.add(tx, cache)):
        data.blobs.drop(Blobs.CACHES, cache_id)
        await node.say("Another job saved this key first: its cache stays\n")
        return SUCCESS
    await node.say(f"Stored {size / 1e6:.1f} MB in {time.monotonic() - began:.1f} s\n")
    return SUCCESS


async def restore(step: plans.RestoreCache, node: NodeView) -> Outcome:
    """The newest cache of the first key that is a prefix of any. To find none is no failure."""
    facts = _facts(node)
    for template in step.keys:
        try:
            key = await cache_key.fill(template, facts)
        except cache_key.WrongKey as error:
            return await _failed(node, str(error))
        opened = await _open(node.data, key)
        if opened is None:
            await node.say(f"No cache is found for key: {key}\n")
            continue
        cache, blob = opened
        with contextlib.closing(blob):
            return await _fetch(node, cache, blob)
    return SUCCESS


async def _open(data: Data, key: str) -> tuple[caches.Cache, BufferedReader] | None:
    """The newest cache with a prefix whose file is there, opened: then it can be thrown out without harm.

    A row without a file is one that was just thrown out, or the file was lost: no promise is to be kept for it.
    """
    while True:
        now_ms = data.clock.now_ms()
        found = await data.db.read(lambda tx: caches.newest(tx, data.project_id, data.scope, key, now_ms))  # noqa: B023
        if found is None:
            return None
        try:
            return found, await asyncio.to_thread(data.blobs.open, Blobs.CACHES, found.id)
        except FileNotFoundError:
            await data.db.write(lambda tx: caches.remove(tx, data.project_id, found.id))  # noqa: B023 - awaited at once


async def _fetch(node: NodeView, cache: caches.Cache, blob: BufferedReader) -> Outcome:
    data, began = node.data, time.monotonic()
    await node.say(f"Found a cache with key: {cache.key} ({cache.size_bytes / 1e6:.1f} MB)\n")
    code, words = await archive.unpack(node.sandbox, node.job.working_directory, blob, cache.root)
    if code:
        await node.say(words)
        return await _failed(node, f"the cache could not be unpacked (tar ended with code {code})")
    now_ms = data.clock.now_ms()
    await data.db.write(lambda tx: caches.used(tx, cache.id, now_ms))
    await node.say(f"Restored in {time.monotonic() - began:.1f} s\n")
    return SUCCESS


async def _failed(node: NodeView, message: str) -> Outcome:
    await node.say(message + "\n")
    return Outcome(StepStatus.FAILED, message=message)


def _facts(node: NodeView) -> cache_key.Facts:
    async def checksums(files: Sequence[str]) -> Mapping[str, str]:
        _, answer = await ask(node.sandbox, _CHECKSUMS, node.job.working_directory, files)
        lines = answer.splitlines()
        return {
            file: base64.b64encode(bytes.fromhex(line)).decode()
            for file, line in zip(files, lines, strict=False)
            if len(line) == 64
        }

    async def arch() -> str:
        _, answer = await ask(node.sandbox, _ARCH, node.job.working_directory, ())
        return answer.strip()

    return cache_key.Facts(
        branch=node.source.branch or "",
        checkout_key=node.keys.checkout.public if node.keys.checkout else "",
        build_number=node.data.job_number,
        revision=node.source.revision,
        environment=node.environment,
        epoch_s=node.data.clock.now_ms() // 1000,
        arch=arch,
        checksums=checksums,
    )
