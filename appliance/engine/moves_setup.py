"""The transactions of a pipeline's second config: it is accepted with the key, later compiled and given its workflows.

Two transactions with a row in state `pending` between them, as CircleCI has it: the asking job hears at once, however
long the orbs of the config take, and a crash in between loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.engine import moves
from appliance.errors import Conflict
from appliance.model import PipelineId, PipelineState
from appliance.store import continuations, pipelines, projects
from appliance.store.continuations import Continuation
from appliance.store.database import Tx


def check_key(tx: Tx, found: Continuation, request: str | None, now_ms: int) -> bool:
    """Whether the pipeline still has to be continued; False when this very request has done so.

    Raises Conflict when the key is too old or was used, or the setup phase was canceled: who has kept the key shall not
    bring back what somebody has stopped.
    """
    if found.is_continued and request is not None and found.request == request:
        return False
    # The texts are CircleCI's.
    if found.is_continued or pipelines.pipeline(tx, found.pipeline_id).state is not PipelineState.SETUP:
        raise Conflict("Pipeline is not in setup state.")
    if found.expires_at_ms <= now_ms:
        raise Conflict("Continuation key has expired. Please run a new pipeline.")
    if continuations.is_given_up(tx, found.pipeline_id):
        raise Conflict("The setup workflow of this pipeline was canceled.")
    return True


def accept_continuation(
    tx: Tx, key: str, configuration: str, parameters: Mapping[str, Any], request: str | None, now_ms: int
) -> moves.Changed:
    """Use up a key: the pipeline is `pending` with its second config. Raises Conflict."""
    found = continuations.by_key(tx, key)
    if found is None:
        raise Conflict("Pipeline is not in setup state.")  # it was deleted since somebody looked
    pipeline = pipelines.pipeline(tx, found.pipeline_id)
    changed = moves.Changed(project=pipeline.project_id, pipeline=pipeline.id)
    if not check_key(tx, found, request, now_ms):
        return changed
    if projects.flags(tx, pipeline.project_id).is_stopped:
        raise Conflict("Building of this project is stopped.")
    continuations.use_key(tx, pipeline.id, parameters, request, now_ms)
    pipelines.set_config(
        tx,
        pipeline.id,
        PipelineState.PENDING,
        source=configuration,
        compiled="",
        problems=pipeline.problems,
        now_ms=now_ms,
    )
    return changed


def finish_continuation(tx: Tx, pipeline_id: PipelineId, draft: moves.Draft, now_ms: int) -> moves.Changed | None:
    """Give a pending pipeline the workflows of its second config; None when that has happened already."""
    pipeline = pipelines.pipeline(tx, pipeline_id)
    if pipeline.state is not PipelineState.PENDING:
        return None
    pipelines.set_config(
        tx,
        pipeline_id,
        PipelineState.ERRORED if draft.plan is None else PipelineState.CREATED,
        source=draft.source,
        compiled=draft.compiled,
        problems=[*pipeline.problems, *draft.problems],
        now_ms=now_ms,
    )
    changed = moves.Changed(project=pipeline.project_id, pipeline=pipeline_id)
    moves.add_workflows(tx, pipeline, draft, changed, now_ms)
    return changed
