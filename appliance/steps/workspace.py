"""`persist_to_workspace` and `attach_workspace` (spec 2.2): layers of files, handed down the workflow's graph."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from appliance.blobs import Blobs
from appliance.errors import DiskFull
from appliance.language import plan as plans
from appliance.model import JobId, StepStatus
from appliance.quantities import counted
from appliance.steps import archive, glob
from appliance.steps.base import SUCCESS, DataLimits, NodeView, Outcome
from appliance.steps.inside import ask
from appliance.store import jobs, requirements, workspaces
from appliance.store.database import Tx

_LIST = r"""
root=$(full "$1"); depth=$2
cd "$root" 2>/dev/null || exit 0
find . -mindepth 1 -maxdepth "$depth" | sed 's,^\./,,'
"""

# `find` does not follow links: a link that leads out of the root is stored as the link it is.
_FILES = r"""
root=$(full "$1"); shift
cd "$root" 2>/dev/null || { echo "missing itself"; exit 0; }
for path; do
    if [ -e "./$path" ] || [ -L "./$path" ]; then find "./$path" ! -type d | sed 's,^\./,file ,'
    else echo "missing $path"; fi
done
"""


async def persist(step: plans.PersistToWorkspace, node: NodeView) -> Outcome:
    """Add a layer with the paths that match below the root. A path that matches nothing fails the step."""
    paths, unmatched = await _expanded(step, node)
    if unmatched:
        return await _failed(node, f"nothing below {step.root} matches {', '.join(unmatched)}")
    _, answer = await ask(node.sandbox, _FILES, node.job.working_directory, [step.root, *paths])
    lines = answer.splitlines()
    if missing := [line.removeprefix("missing ") for line in lines if line.startswith("missing ")]:
        return await _failed(node, f"{step.root}: there is no {', '.join(missing)}")
    names = frozenset(posixpath.normpath(line.removeprefix("file ")) for line in lines if line.startswith("file "))
    with node.data.blobs.hand() as new_id:
        return await _store(new_id(), step, node, paths, names)


async def _store(
    layer_id: str, step: plans.PersistToWorkspace, node: NodeView, paths: Sequence[str], names: frozenset[str]
) -> Outcome:
    data, below = node.data, [posixpath.join(step.root, path) for path in paths]
    held = await data.db.read(lambda tx: workspaces.size(tx, data.workspace_id))
    most = min(data.limits.layer_bytes, data.limits.workspace_bytes - held)
    try:
        packed = archive.pack(node.sandbox, node.job.working_directory, step.root, below)
        size = await data.blobs.store(Blobs.LAYERS, layer_id, archive.at_most(packed, most))
    except DiskFull as error:
        return await _failed(node, str(error))
    except archive.TooLarge:
        return await _failed(node, _too_large(data.limits, held))
    layer = workspaces.Layer(
        id=layer_id,
        workspace_id=data.workspace_id,
        job_id=data.job_id,
        index=node.index,
        step=node.command_id,
        names=names,
        size_bytes=size,
        created_at_ms=data.clock.now_ms(),
    )
    if not await data.db.write(lambda tx: workspaces.add(tx, layer)):
        data.blobs.drop(Blobs.LAYERS, layer_id)
    await node.say(f"Persisted {counted(len(names), 'file')}, {size / 1e6:.1f} MB\n")
    return SUCCESS


def _too_large(limits: DataLimits, held: int) -> str:
    return (
        f"too much for the workspace: one step may persist {limits.layer_bytes / 1e9:g} GB compressed, a workflow"
        f" {limits.workspace_bytes / 1e9:g} GB in all, of which {held / 1e9:.2f} are taken;"
        " see workspaces.layer and workspaces.all in the settings"
    )


async def _expanded(step: plans.PersistToWorkspace, node: NodeView) -> tuple[list[str], list[str]]:
    """The paths below the root with patterns filled in, and the patterns that match nothing."""
    patterns = [path for path in step.paths if glob.is_pattern(path)]
    names: list[str] = []
    if patterns:
        deepest = str(max(glob.depth(pattern) for pattern in patterns))
        _, answer = await ask(node.sandbox, _LIST, node.job.working_directory, [step.root, deepest])
        names = answer.splitlines()
    paths, unmatched = [], []
    for path in step.paths:
        plain = posixpath.normpath(path)
        found = [name for name in names if glob.matches(plain, name)] if glob.is_pattern(path) else [plain]
        paths += found
        unmatched += [] if found else [path]
    return list(dict.fromkeys(paths)), unmatched


async def attach(step: plans.AttachWorkspace, node: NodeView) -> Outcome:
    """Unpack the layers of all jobs upstream, in the order of the graph."""
    data = node.data
    edges, layers, rows = await data.db.read(lambda tx: _facts(tx, data.job_id, data.workspace_id))
    order = upstream(edges, data.job_id)
    places = {job_id: place for place, job_id in enumerate(order)}
    mine = sorted((layer for layer in layers if layer.job_id in places), key=lambda layer: places[layer.job_id])
    if clash := _clash(mine, order):
        return await _failed(node, f"Concurrent upstream jobs persisted the same file(s): {', '.join(clash[:5])}")
    gone = await data.db.read(lambda tx: _gone(tx, [row for row in rows if row.id in places], mine, data.clock.now_ms()))
    for name in gone:
        await node.say(f"What job {name} persisted is gone: it ran long ago, and workspaces are kept for 15 days\n")
    if not mine and not gone:
        await node.say("No job upstream has persisted anything\n")
    for layer in mine:
        try:
            blob = await asyncio.to_thread(data.blobs.open, Blobs.LAYERS, layer.id)
        except FileNotFoundError:
            return await _failed(node, "a layer of this workspace is gone: workspaces are kept for 15 days")
        with contextlib.closing(blob):
            code, words = await archive.unpack(node.sandbox, node.job.working_directory, blob, step.at)
        if code:
            await node.say(words)
            return await _failed(node, f"a layer could not be unpacked (tar ended with code {code})")
        await node.say(f"Attached {counted(len(layer.names), 'file')}, {layer.size_bytes / 1e6:.1f} MB\n")
    return SUCCESS


def _facts(
    tx: Tx, job_id: JobId, workspace_id: str
) -> tuple[list[tuple[JobId, JobId]], list[workspaces.Layer], list[jobs.Job]]:
    """The workflow's edges, the layers under the ids that their jobs have in it (a rerun carries jobs over), its jobs."""
    workflow_id = jobs.by_id(tx, job_id).workflow_id
    rows = jobs.of_workflow(tx, workflow_id)
    here = {row.origin_id or row.id: row.id for row in rows}
    layers = [
        replace(layer, job_id=here[layer.job_id])
        for layer in workspaces.layers_of(tx, workspace_id)
        if layer.job_id in here  # not of a run before this one, whose job is run again here
    ]
    return requirements.edges(tx, workflow_id), layers, rows


def _gone(tx: Tx, rows: Iterable[jobs.Job], layers: Iterable[workspaces.Layer], now_ms: int) -> list[str]:
    """The names of jobs that a rerun carried over so late that their layers were forgotten."""
    there = {layer.job_id for layer in layers}
    return [
        row.name
        for row in rows
        if row.origin_id is not None
        and row.id not in there
        and (row.stopped_at_ms or now_ms) < now_ms - workspaces.LAST_MS
        and any(isinstance(step, plans.PersistToWorkspace) for step in jobs.plan_of(tx, row.id).steps)
    ]


def upstream(edges: Iterable[tuple[JobId, JobId]], job_id: JobId) -> Mapping[JobId, frozenset[JobId]]:
    """The jobs that this one needs, at whatever distance, each after those that it needs itself; with these.

    Each edge names a job and one that it requires.
    """
    needs: dict[JobId, list[JobId]] = {}
    for job, required in edges:
        needs.setdefault(job, []).append(required)
    found: dict[JobId, frozenset[JobId]] = {}
    todo = [job_id]
    while todo:  # not by recursion: a workflow may be a chain of thousands
        parents = needs.get(todo[-1], [])
        first = [parent for parent in parents if parent not in found]
        if first:
            todo += first
        else:
            found[todo.pop()] = frozenset(parents).union(*(found[parent] for parent in parents))
    del found[job_id]
    return found


def _clash(layers: Sequence[workspaces.Layer], needs: Mapping[JobId, frozenset[JobId]]) -> list[str]:
    """Files that two jobs persisted of which neither comes after the other; or two nodes of one job."""
    clash: set[str] = set()
    for at, one in enumerate(layers):
        for other in layers[at + 1 :]:
            is_ordered = one.job_id in needs[other.job_id] or other.job_id in needs[one.job_id]
            is_same_node = (one.job_id, one.index) == (other.job_id, other.index)
            if not is_ordered and not is_same_node:
                clash |= one.names & other.names
    return sorted(clash)


async def _failed(node: NodeView, message: str) -> Outcome:
    await node.say(message + "\n")
    return Outcome(StepStatus.FAILED, message=message)
