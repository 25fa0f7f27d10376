"""The second half of a dynamic pipeline (spec 1.12): what a setup job sends is checked at once and compiled soon after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from appliance import language
from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine import moves, moves_setup
from appliance.engine.drafting import LOCK_PATH, Drafter, errored
from appliance.errors import BadRequest, DiskFull, NotFound, StoreError, VcsError
from appliance.model import PipelineId, Project, Trigger, Vcs
from appliance.store import continuations, pipelines, projects
from appliance.store.continuations import Continuation
from appliance.store.database import Database, Tx
from appliance.vcs.base import Provider

log = logging.getLogger(__name__)

TOPIC = "continuations"
_LOOK_S = 5.0


async def checked(
    db: Database, clock: Clock, key: str, configuration: str, given: Mapping[str, Any], request: str | None
) -> Mapping[str, Any]:
    """The parameters that a continuation is compiled with: those given with it, and those the trigger gave.

    Raises NotFound for a key that nobody knows, Conflict for one that is too old or was used, BadRequest for what the
    configuration may not be or be given. Whatever else is wrong with it becomes the pipeline's error.
    """
    now_ms = clock.now_ms()

    def look(tx: Tx) -> tuple[Continuation, Trigger]:
        found = continuations.by_key(tx, key)
        if found is None:
            raise NotFound("Continuation key not found.")
        moves_setup.check_key(tx, found, request, now_ms)
        return found, pipelines.pipeline(tx, found.pipeline_id).trigger

    found, trigger = await db.read(look)
    return await asyncio.to_thread(merged, found.setup_source, configuration, trigger.parameters, given)


def merged(
    setup_source: str, configuration: str, triggered: Mapping[str, Any], given: Mapping[str, Any]
) -> Mapping[str, Any]:
    head = language.read_head(configuration)
    if head.is_setup:
        raise BadRequest("The config that continues a pipeline cannot be a setup config itself.")
    if not head.is_config:
        return {}  # it will not compile, and then says why
    if set(given) & set(triggered):
        setup = language.read_head(setup_source)
        if any(name in triggered and not setup.is_default(name, triggered[name]) for name in given):
            raise BadRequest("Conflicting pipeline parameters.")
    # The empty config by which a setup workflow says that it is done, of version 2, has no parameters to carry over.
    merged = {**(triggered if head.has_parameters else {}), **given}
    refused = head.refused(merged)
    if refused:
        raise BadRequest(" ".join(refused))
    return merged


class Continuer:
    """Gives pipelines that were continued their workflows. The row says what is left: nothing is kept here."""

    def __init__(
        self, *, db: Database, bell: Bell, clock: Clock, providers: Mapping[Vcs, Provider], drafter: Drafter, largest: int
    ) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._providers = providers
        self._drafter = drafter
        self._largest = largest

    async def run(self) -> None:
        """Ends only by being cancelled."""
        with self._bell.listen(TOPIC) as listener:
            while True:
                pipeline_id = await self._db.read(continuations.oldest_pending)
                if pipeline_id is None or not await self._take(pipeline_id):
                    await listener.wait(_LOOK_S)

    async def _take(self, pipeline_id: PipelineId) -> bool:
        """Compile the second config of one pipeline; False when the disk has no room for it now."""
        pipeline, found, project = await self._db.read(lambda tx: _facts(tx, pipeline_id))
        try:
            draft = await self._draft(pipeline, found, project)
            now_ms = self._clock.now_ms()
            changed = await self._db.write(lambda tx: moves_setup.finish_continuation(tx, pipeline_id, draft, now_ms))
        except DiskFull as error:
            log.error("a full disk holds up a pipeline", extra={"error": str(error)})
            return False
        if changed is not None:
            self._bell.ring("pipelines", "work", "outbox", *changed.topics())
        log.info("pipeline continued", extra={"number": pipeline.number, "errored": draft.plan is None})
        return True

    async def _draft(self, pipeline: pipelines.Pipeline, found: Continuation, project: Project) -> moves.Draft:
        """Whatever goes wrong with one config is that pipeline's error, and the loop goes on."""
        try:
            return await self._drafter.draft(
                project,
                pipeline.id,
                pipeline.number,
                pipeline.source,
                values=pipeline.values,
                parameters=found.parameters,
                lock=await self._lock(project, pipeline),
                is_continuation=True,
            )
        except VcsError as error:
            kind, message = "config-fetch", str(error)
        except (DiskFull, StoreError):
            raise
        except Exception:  # the top of one pipeline: a config that breaks the compiler must not stop the others
            log.exception("a continuation broke the compiler", extra={"pipeline": pipeline.id})
            kind, message = "other", "Rondo itself broke on this config; its log says how. Please report it."
        return errored(pipeline.id, pipeline.number, pipeline.values, kind, message, pipeline.source)

    async def _lock(self, project: Project, pipeline: pipelines.Pipeline) -> str | None:
        """The lock file of the commit binds the orbs of the second config too."""
        if "orbs" not in pipeline.source:
            return None
        provider, revision = self._providers[project.vcs], pipeline.trigger.revision
        await provider.fetch(project, revision)
        return await provider.read_file(project, revision, LOCK_PATH, self._largest)


def _facts(tx: Tx, pipeline_id: PipelineId) -> tuple[pipelines.Pipeline, Continuation, Project]:
    pipeline = pipelines.pipeline(tx, pipeline_id)
    found = continuations.of_pipeline(tx, pipeline_id)
    assert found is not None, "only a pipeline with a setup phase is ever pending"
    return pipeline, found, projects.by_id(tx, pipeline.project_id)
