"""A served appliance without its loops: a real database filled by the store's and the engine's own functions.

The builders play the loops' part: they accept triggers, make pipelines of plans, start and end nodes and write logs.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from appliance.api.parts import Addresses, Parts
from appliance.api.server import listen, serving
from appliance.bell import Bell
from appliance.blobs import Blobs
from appliance.clock import Clock, SystemClock
from appliance.crypto import SecretBox
from appliance.engine import moves
from appliance.engine.commands import Commands, LiveNodes
from appliance.engine.fit import Machine
from appliance.engine.scheduler import HERE
from appliance.language import plan as plans
from appliance.model import (
    Commit,
    JobId,
    NodeStatus,
    PipelineId,
    Project,
    StepStatus,
    Trigger,
    TriggerKind,
    User,
    Vcs,
)
from appliance.pages.site import make_site
from appliance.settings import Settings
from appliance.store import jobs, people, pipelines, projects
from appliance.store.database import Database, Tx, open_database
from appliance.vcs.base import Provider

IMAGE = plans.Docker(images=(plans.DockerImage(image="cimg/python:3.12"),))


def job(name: str, *commands: str, requires: Sequence[str] = (), parallelism: int = 1) -> plans.Job:
    """A docker job; each command is a run step named like it."""
    return plans.Job(
        name=name,
        executor=IMAGE,
        resource_class="medium",
        parallelism=parallelism,
        requires=tuple(plans.Require(job=other) for other in requires),
        steps=(plans.Checkout(), *(plans.Run(command=command, name=command) for command in commands)),
    )


def approval(name: str, *, requires: Sequence[str] = ()) -> plans.Job:
    return plans.Job(name=name, type=plans.JobType.APPROVAL, requires=tuple(plans.Require(job=other) for other in requires))


def workflow(name: str, *members: plans.Job) -> plans.Workflow:
    return plans.Workflow(name=name, jobs=members)


@dataclass
class World:
    """What a test builds on."""

    db: Database
    bell: Bell
    clock: Clock
    blobs: Blobs
    box: SecretBox
    commands: Commands
    parts: Parts
    url: str
    count: int = 0

    async def user(self, name: str, *, sees_all: bool = False, is_admin: bool = False) -> User:
        now_ms = self.clock.now_ms()
        return await self.db.write(
            lambda tx: people.add(tx, name=name, is_admin=is_admin, sees_all_projects=sees_all, now_ms=now_ms)
        )

    async def token(self, user: User, kind: people.TokenKind = "api", lasts_ms: int | None = None) -> str:
        now_ms = self.clock.now_ms()
        return await self.db.write(lambda tx: people.make_token(tx, user.id, kind, now_ms, lasts_ms))

    async def project(
        self, name: str, vcs: Vcs = Vcs.HOSTED, members: Sequence[User] = (), git_url: str | None = None
    ) -> Project:
        org, repo = name.split("/", 1)
        now_ms = self.clock.now_ms()
        url = None if vcs is Vcs.HOSTED else git_url or f"https://github.example/{name}.git"

        def make(tx: Tx) -> Project:
            project = projects.add(tx, org=org, repo=repo, vcs=vcs, git_url=url, default_branch="main", now_ms=now_ms)
            for member in members:
                people.let_into(tx, member.id, project.id)
            return project

        return await self.db.write(make)

    def trigger(self, project: Project, **changes: object) -> Trigger:
        self.count += 1
        values: dict[str, object] = {
            "project_id": project.id,
            "kind": TriggerKind.WEBHOOK,
            "semantic_key": f"push {self.count}",
            "branch": "main",
            "revision": f"{self.count:040x}"[::-1],
            "actor": "ada",
            "commit": Commit(subject=f"Change number {self.count}", author_name="Ada"),
        }
        return Trigger(**(values | changes))  # type: ignore[arg-type]

    async def pipeline(
        self,
        project: Project,
        *workflows: plans.Workflow,
        problems: Sequence[pipelines.Problem] = (),
        source: str = "version: 2.1\n",
        **trigger: object,
    ) -> PipelineId:
        """A pipeline as intake makes it; errored when there are problems of kind error."""
        now_ms, event = self.clock.now_ms(), self.trigger(project, **trigger)
        is_errored = any(problem.kind == "error" for problem in problems)

        def make(tx: Tx) -> moves.Changed:
            trigger_id = pipelines.add_trigger(tx, event, now_ms)
            assert trigger_id is not None
            draft = moves.Draft(
                pipeline_id=PipelineId(f"00000000-0000-4000-8000-{trigger_id:012d}"),
                number=pipelines.next_number(tx, project.id),
                source=source,
                compiled="" if is_errored else source,
                values={},
                problems=problems,
                plan=None if is_errored else plans.Plan(version="2.1", workflows=workflows),
            )
            changed = moves.create_pipeline(tx, trigger_id, event, draft, now_ms)
            assert changed is not None
            return changed

        changed = await self.db.write(make)
        self.ring(changed, "pipelines")
        assert changed.pipeline is not None
        return changed.pipeline

    def ring(self, changed: moves.Changed, *more: str) -> None:
        self.bell.ring(*changed.topics(), *more)

    async def job_of(self, pipeline_id: PipelineId, name: str) -> jobs.Job:
        found = await self.db.read(lambda tx: jobs.of_pipeline(tx, pipeline_id))
        return next(job for job in found if job.name == name)

    async def start(self, job_id: JobId, index: int = 0, cpus: float = 2, executor: str = "docker") -> None:
        """What the scheduler does when it takes a node."""
        now_ms = self.clock.now_ms()

        def claim(tx: Tx) -> moves.Changed:
            found = moves.start_node(
                tx,
                moves.Claim(
                    job_id=job_id,
                    index=index,
                    plan=jobs.plan_of(tx, job_id),
                    executor=executor,
                    cpus=cpus,
                    memory_bytes=4 << 30,
                ),
                now_ms,
            )
            assert found is not None
            return found

        self.ring(await self.db.write(claim))

    async def step(
        self,
        job_id: JobId,
        position: int,
        status: StepStatus = StepStatus.SUCCESS,
        *,
        index: int = 0,
        start_next: bool = True,
        exit_code: int | None = 0,
    ) -> None:
        """End a running step and start the one after it."""
        now_ms = self.clock.now_ms()
        end = moves.StepEnd(position=position, status=status, exit_code=exit_code)
        following = position + 1 if start_next else None
        await self.db.write(lambda tx: moves.advance(tx, job_id, index, [end], following, now_ms))
        self.bell.ring(f"job:{job_id}", f"log:{job_id}/{index}/{position}")

    async def finish(
        self, job_id: JobId, status: NodeStatus = NodeStatus.SUCCESS, *, index: int = 0, message: str = ""
    ) -> None:
        now_ms = self.clock.now_ms()
        self.ring(await self.db.write(lambda tx: moves.finish_node(tx, job_id, index, status, message, (), now_ms)))

    async def run(self, pipeline_id: PipelineId, name: str, status: NodeStatus = NodeStatus.SUCCESS) -> jobs.Job:
        """A whole job, every step of it, its last one ending as the job does."""
        found = await self.job_of(pipeline_id, name)
        plan = await self.db.read(lambda tx: jobs.plan_of(tx, found.id))
        for index in range(plan.parallelism):
            await self.start(found.id, index)
            for position in range(len(plan.steps)):
                await self.step(found.id, position, index=index)
            is_good = status is NodeStatus.SUCCESS
            await self.step(
                found.id,
                len(plan.steps),
                StepStatus(status.value),
                index=index,
                start_next=False,
                exit_code=0 if is_good else 2,
            )
            await self.finish(found.id, status, index=index)
        return await self.job_of(pipeline_id, name)

    async def ask(self, user: User, method: str, path: str, **more: Any) -> tuple[int, str]:
        """A request of `user`: with a token to the API, by a form to the pages. Status and body."""
        if method == "POST" and not path.startswith("/api/"):
            return await self.post_form(user, path)
        token = await self.token(user)
        async with (
            aiohttp.ClientSession(self.url, headers={"Circle-Token": token}) as client,
            client.request(method, path, allow_redirects=False, **more) as response,
        ):
            return response.status, await response.text()

    async def json(self, user: User, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """A request of `user` to the API: status and what it says."""
        status, body = await self.ask(user, method, "/api/v2" + path, **more)
        return status, json.loads(body)

    async def post_form(
        self, user: User, path: str, *, origin: str | None = "", with_token: bool = True, **fields: str
    ) -> tuple[int, str]:
        """A form of a page of ours, as a browser sends it; `origin` "" stands for ours."""
        session = await self.token(user, "session", 60_000)
        if with_token:
            fields["csrf"] = hmac.new(session.encode(), b"form", hashlib.sha256).hexdigest()
        headers = {} if origin is None else {"Origin": origin or self.url}
        async with (
            aiohttp.ClientSession(self.url, cookies={"rondo": session}, headers=headers) as client,
            client.post(path, data=fields, allow_redirects=False) as response,
        ):
            return response.status, await response.text()

    async def everything(self, but: str = "") -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""

        def read(tx: Tx) -> dict[str, list[tuple[Any, ...]]]:
            tables = [row[0] for row in tx.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                name: [tuple(row) for row in tx.execute(f"SELECT * FROM {name}")]
                for name in tables
                if name != but and not name.startswith("sqlite_")
            }

        return await self.db.read(read)

    def write_log(self, job_id: JobId, position: int, data: bytes, index: int = 0) -> None:
        """Append to a log and ring, as the log writer does."""
        with self.blobs.log(job_id, index, position).open("ab") as file:
            file.write(data)
        self.bell.ring(f"log:{job_id}/{index}/{position}")


@asynccontextmanager
async def serving_world(
    folder: Path,
    *,
    providers: Mapping[Vcs, Provider] | None = None,
    clock: Clock | None = None,
    web_url: str = "",
    is_ready: bool = True,
    extra: Callable[[web.Application], object] | None = None,
    **settings: str | int,
) -> AsyncIterator[World]:
    """A site on a free port of loopback with an empty database in `folder`."""
    bell, clock, listener = Bell(), clock or SystemClock(), listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready = asyncio.Event()
    if is_ready:
        ready.set()
    async with open_database(folder / "rondo.db") as db:
        parts = Parts(
            db=db,
            bell=bell,
            clock=clock,
            blobs=Blobs(folder / "blobs"),
            commands=Commands(db, bell, clock, LiveNodes()),
            box=SecretBox(b"k" * 32),
            providers=providers or {},
            settings=Settings().replaced(**settings),
            addresses=Addresses(web_url or url, "127.0.0.1", 2222),
            here=Machine(name=HERE, cpus=4, memory_bytes=16 << 30, nodes=10),
            ready=ready,
        )
        site = make_site(parts)
        if extra is not None:
            extra(site)
        async with serving(site, listener, 1.0):
            yield World(db, bell, clock, parts.blobs, parts.box, parts.commands, parts, url)
