"""One run: the tree is photographed, its config compiled, a pipeline made of it, and followed to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from appliance import core as cores
from appliance.blobs import Blobs
from appliance.clock import SystemClock
from appliance.core import Core, Reach
from appliance.engine import cancels, intake, moves
from appliance.engine.drafting import Drafter
from appliance.engine.recovery import sweep
from appliance.errors import BadRequest, InvalidConfig, NotFound
from appliance.executors.docker_plan import Begun
from appliance.language import Untyped, read_head
from appliance.language import plan as plans
from appliance.laptop import outcome
from appliance.laptop.approvals import YOU, Approvals
from appliance.laptop.harmless import plain_lines
from appliance.laptop.keeper import Keeper
from appliance.laptop.keys import Keys
from appliance.laptop.place import Left, Place
from appliance.laptop.shell import Shells
from appliance.laptop.watch import Display, Seen, Watch
from appliance.laptop.wishes import Wishes, check_any, chosen
from appliance.model import PipelineId, Project, Trigger, TriggerKind, Vcs
from appliance.settings import Settings
from appliance.store import contexts, local_runs, pipelines, projects
from appliance.store.database import Tx
from appliance.store.retention import Gone
from appliance.vcs.base import Provider
from appliance.vcs.client import Git
from appliance.vcs.mirror import Identity
from appliance.vcs.photographed import Photographed
from appliance.vcs.working_tree import Snapshot

_WEB_URL = "http://localhost"  # there are no pages; jobs take such addresses to pieces
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ONE_PRESS_S = 0.3  # the one-file executable hands a Ctrl-C on that has reached us already
_LOOK_S = 0.2
_KEPT = 5  # pipelines whose rows stay: their timings split later tests


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run is made of."""

    wishes: Wishes
    place: Place
    settings: Settings
    snapshot: Snapshot
    source: str
    display: Display
    at_end: Callable[[Keeper, Seen], Iterator[str]]  # what is printed then
    keys: Keys | None  # None: nobody sits there
    begun: Begun | None = None
    left: Left

    async def to_the_end(self) -> int:
        """The exit code: 0, 1 failed, 3 on hold, 130 canceled. Raises RondoError when it cannot be begun."""
        async with self._core() as core:
            await self._check_engine(core)
            await self._leave_behind(core)
            drafter = cores.drafter_of(core, lambda plan: self._choose(core, plan), self._file)
            pipeline_id = await self._begin(core, drafter)
            keeper = Keeper(core, self.place.logs, self.wishes.artifacts or self.place.artifacts)
            approvals = Approvals(core, self.display, self.wishes.approved, self.keys)
            work = cores.trade(core, self._reach(core, approvals), drafter, [])
            async with cores.at_work(work), self._cancelling(core, pipeline_id) as canceled:
                with contextlib.closing(approvals):
                    seen = await self._follow(core, pipeline_id, keeper, approvals)
            await self._tidy(core)
            self.display.close()
            if seen.on_hold and not canceled():
                names = " and ".join(row.label for row in seen.on_hold)
                self.display.note(
                    f"waits for {names}, and nobody is here to ask; --approve {seen.on_hold[0].job.name} gives it"
                )
            for line in self.at_end(keeper, seen):
                print(line)
            return outcome.code_of(seen, is_canceled=canceled())

    async def _follow(self, core: Core, pipeline_id: PipelineId, keeper: Keeper, approvals: Approvals) -> Seen:
        watch = Watch(
            db=core.db,
            bell=core.bell,
            blobs=core.blobs,
            pipeline_id=pipeline_id,
            display=self.display,
            may_stop=approvals.settle,
            is_idle=lambda: core.hands.are_empty,
            on_job_end=keeper.keep,
        )
        return await watch.run()

    # Before the pipeline

    @property
    def _file(self) -> str:
        """The config as it is called from where the person stands."""
        return os.path.relpath(self.place.config)

    def _core(self) -> AbstractAsyncContextManager[Core]:
        return cores.made(
            self.settings,
            SystemClock(),
            self.place.state,
            forges=self._forges,
            web_url=_WEB_URL,
            begun=self.begun,
            has_machines=bool(self.settings.tables("machines")),
        )

    def _forges(self, settings: Settings, data: Path, identity: Identity) -> Mapping[Vcs, Provider]:
        git = Git(timeout_s=settings.number("git.timeout"))
        tree = Photographed(git, self.place.repository, data / "scratch")
        return {Vcs.GIT: tree, Vcs.GITHUB: tree}

    def _reach(self, core: Core, approvals: Approvals) -> Reach:
        async def carry_on(raw: bytes, name: str) -> tuple[int, bytes]:
            from appliance.api.continuations import for_jobs  # loads a web server, for setup workflows only

            return await for_jobs(core.commands, core.settings)(raw, name)

        shells = None
        if self.wishes.shell_on_failure and self.keys is not None:
            shells = Shells(self.display, self.keys, approvals.paused)
        return Reach(
            on_failure=None if shells is None else shells.open,
            has_identity=False,
            git_url=lambda project: project.public_git_url or "",
            ssh_command=lambda number, index: "",
            known_hosts=core.known_hosts.lines,
            carry_on=carry_on,
        )

    async def plan(self) -> plans.Plan:
        """What would run, and nothing does. Raises like `to_the_end`."""
        found: list[plans.Plan] = []

        async def choose(plan: plans.Plan) -> plans.Plan:
            found.append(chosen(plan, self.wishes))
            return found[0]

        async with self._core() as core:
            await self._draft(core, cores.drafter_of(core, choose, self._file))
        check_any(found[0])
        return found[0]

    async def _check_engine(self, core: Core) -> None:
        executor = core.executors[self.wishes.executor]
        trouble = await executor.check()
        if trouble:
            hint = " --executor local runs the steps without containers" if self.wishes.executor == "docker" else ""
            raise BadRequest(f"{trouble}{hint}")

    async def _leave_behind(self, core: Core) -> None:
        """What earlier runs did not end is over: a killed one's jobs and sandboxes, approvals that nobody gave."""
        now_ms = core.clock.now_ms()

        def end(tx: Tx) -> list[str]:
            for project in projects.all_of(tx):
                cancels.cancel_open(tx, project.id, "a later run", now_ms)
            return [] if self.wishes.keeps_caches else local_runs.forget_caches(tx)

        _drop(core, Blobs.CACHES, await core.db.write(end))
        for name in self.left.by & core.executors.keys():
            if await sweep(core.executors[name], set()):
                self.left.by.discard(name)
        if self.wishes.executor in self.left.by:
            self.display.note(f"what an earlier run left cannot be removed: {self.place.state / 'rondo.log'} says why")
        for name in self.left.by - core.executors.keys():
            self.display.note(f"jobs of an earlier run may go on: the next one with --executor {name} ends them")

    async def _begin(self, core: Core, drafter: Drafter) -> PipelineId:
        """Make the pipeline. Raises InvalidConfig, and BadRequest for what is not there, or when nothing runs."""
        trigger, draft, now_ms = await self._draft(core, drafter)
        for problem in draft.problems:
            if problem.kind == "warning":
                self.display.note(problem.message)
        assert draft.plan is not None
        check_any(draft.plan)

        def create(tx: Tx) -> None:
            accepted = moves.accept(tx, trigger, now_ms, honour_skip_ci=False)
            assert accepted is not None
            moves.create_pipeline(tx, accepted.trigger_id, trigger, draft, now_ms)

        await core.db.write(create)
        return draft.pipeline_id

    async def _draft(self, core: Core, drafter: Drafter) -> tuple[Trigger, moves.Draft, int]:
        now_ms = core.clock.now_ms()
        project, number = await core.db.write(lambda tx: self._furnish(tx, core, now_ms))
        trigger = self._trigger(project)
        pipeline_id = PipelineId(str(uuid.uuid4()))
        git_url = project.public_git_url or ""
        draft = await drafter.draft(
            project,
            pipeline_id,
            number,
            self.source,
            values=intake.pipeline_values(project, trigger, pipeline_id, number, git_url, now_ms),
            parameters={name: Untyped(value) for name, value in self.wishes.parameters.items()},
            lock=self._lock(),
        )
        if draft.plan is None:
            raise InvalidConfig(
                "\n\n".join(plain_lines(problem.text) for problem in draft.problems if problem.kind == "error")
            )
        return trigger, draft, now_ms

    async def _choose(self, core: Core, plan: plans.Plan) -> plans.Plan:
        """What was asked for. Every context that it names is there: who runs it has all rights, and no others' secrets."""
        if not plan.is_setup:  # the setup phase is always whole: the choice is among what it leads to
            plan = chosen(plan, self.wishes)
        await core.db.write(lambda tx: _add_contexts(tx, plan, core.clock.now_ms()))
        return replace(plan, scheduled=())

    def _furnish(self, tx: Tx, core: Core, now_ms: int) -> tuple[Project, int]:
        """The project as the tree's origin names it, with the secrets of this run and no others."""
        org, repo = _names(self.snapshot.origin_url, self.place.root)
        try:
            project = projects.find(tx, f"{org}/{repo}")
        except NotFound:
            url = self.snapshot.origin_url or self.place.root.as_uri()
            vcs = _forge_of(self.snapshot.origin_url)
            branch = self.snapshot.default_branch
            project = projects.add(tx, org=org, repo=repo, vcs=vcs, git_url=url, default_branch=branch, now_ms=now_ms)
        local_runs.forget_secrets(tx)
        for name, value in self.wishes.secrets.items():
            projects.set_secret(tx, core.box, project.id, name, value, now_ms)
        for context, variables in self.wishes.contexts.items():
            made = contexts.add(tx, context, now_ms)
            for name, value in variables.items():
                contexts.set_variable(tx, core.box, made.id, name, value, now_ms)
        return project, pipelines.next_number(tx, project.id)

    def _trigger(self, project: Project) -> Trigger:
        tag = self.wishes.tag
        branch = self.wishes.branch or self.snapshot.branch or project.default_branch
        return Trigger(
            project_id=project.id,
            kind=TriggerKind.WEBHOOK,
            semantic_key=f"run {uuid.uuid4()}",
            branch=None if tag is not None else branch,
            tag=tag,
            revision=self.snapshot.revision,
            actor=os.environ.get("USER", ""),
            commit=self.snapshot.commit,
            parameters=_typed(self.source, self.wishes.parameters),
        )

    def _lock(self) -> str | None:
        lock = self.place.config.parent / "orbs.lock"
        return lock.read_text("utf-8") if lock.is_file() else None

    @asynccontextmanager
    async def _cancelling(self, core: Core, pipeline_id: PipelineId) -> AsyncIterator[Callable[[], bool]]:
        """Ctrl-C and the like cancel every workflow; a second one ends the process at once. Says whether that happened."""
        wanted = asyncio.Event()
        wanted_at = 0.0
        loop = asyncio.get_running_loop()

        def want() -> None:
            nonlocal wanted_at
            if not wanted.is_set():
                wanted_at = loop.time()
                wanted.set()
                self.display.note("canceling; a second Ctrl-C leaves at once")
            elif loop.time() - wanted_at > _ONE_PRESS_S:
                same = f" with --executor {self.wishes.executor}" if self.wishes.executor != "docker" else ""
                self.display.note(f"jobs may go on: the next run{same} here ends them")
                self.display.close()
                if self.keys is not None:
                    self.keys.restore()
                os._exit(outcome.CANCELED)  # what is left is swept by the next run

        async def cancel() -> None:
            await wanted.wait()
            while True:  # a continuation may add workflows
                for workflow in await core.db.read(lambda tx: pipelines.workflows_of(tx, pipeline_id)):
                    if not workflow.status.is_done:
                        await core.commands.cancel_workflow(workflow.id, YOU)
                await asyncio.sleep(_LOOK_S)

        for number in _STOPPING:
            loop.add_signal_handler(number, want)
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(cancel())
                yield wanted.is_set
                task.cancel()
        finally:
            for number in _STOPPING:
                loop.remove_signal_handler(number)

    async def _tidy(self, core: Core) -> None:
        """Secrets do not stay, nor what nobody looks at any more."""
        quota, now_ms = core.settings.integer("caches.quota"), core.clock.now_ms()

        def tidy(tx: Tx) -> tuple[Gone, list[str]]:
            local_runs.forget_secrets(tx)
            return local_runs.remove_older(tx, _KEPT), local_runs.forget_old_caches(tx, quota, now_ms)

        gone, caches = await core.db.write(tidy)
        core.blobs.drop_logs(gone.jobs)
        for kind, ids in ((Blobs.ARTIFACTS, gone.artifacts), (Blobs.LAYERS, gone.layers), (Blobs.CACHES, caches)):
            _drop(core, kind, ids)


def _drop(core: Core, kind: str, ids: list[str]) -> None:
    for blob_id in ids:
        core.blobs.drop(kind, blob_id)


def _add_contexts(tx: Tx, plan: plans.Plan, now_ms: int) -> None:
    named = dict.fromkeys(context for workflow in plan.workflows for job in workflow.jobs for context in job.contexts)
    for context in contexts.missing(tx, named):
        contexts.add(tx, context, now_ms)


def _names(url: str | None, root: Path) -> tuple[str, str]:
    """ORG and REPO as the URL of origin names them; without one, as the folder is called."""
    path = ""
    if url is not None:
        path = urlsplit(url).path if "://" in url else url.partition(":")[2] or url
    parts = [part for part in path.removesuffix("/").removesuffix(".git").split("/") if part]
    if len(parts) >= 2:
        return parts[-2], parts[-1]
    return "local", parts[-1] if parts else root.name or "project"


def _forge_of(url: str | None) -> Vcs:
    """Where no origin says otherwise it is GitHub: that is what configs are written for."""
    is_github = url is None or urlsplit(url).hostname == "github.com" or url.startswith("git@github.com:")
    return Vcs.GITHUB if is_github else Vcs.GIT


def _typed(source: str, given: Mapping[str, str]) -> dict[str, str | int | bool]:
    """Parameters as a door hands them on: a continuation takes no text for a number."""
    if not given:
        return {}
    declared = read_head(source).parameters
    found: dict[str, str | int | bool] = {}
    for name, text in given.items():
        kind = declared[name].type if name in declared else "string"
        if kind == "boolean" and text.lower() in ("true", "false"):
            found[name] = text.lower() == "true"
        elif kind == "integer" and text.removeprefix("-").isdecimal():
            found[name] = int(text)
        else:
            found[name] = text
    return found
