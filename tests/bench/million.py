"""What the loops and the pages ask of a database of one million jobs in 30,000 projects: each question by itself."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.language import plan as plans
from appliance.model import Commit, JobId, PipelineId, ProjectId, Trigger, TriggerKind, User, UserId, Vcs, WorkflowId
from appliance.store import (
    artifacts,
    caches,
    coverage,
    jobs,
    lately,
    locks,
    machine_work,
    machines,
    outbox,
    overview,
    people,
    pipelines,
    projects,
    queue,
    redundancy,
    requirements,
    results,
    retention,
    room,
    schedules,
    usage,
    visits,
    workspaces,
)
from appliance.store.database import Tx, open_plain
from tests.bench.report import Aim, Figure
from tests.bench.world import Bench

JOBS, QUICK_JOBS = 1_000_000, 100_000
EACH = 4  # jobs of a workflow
AT_MOST_MS = 20.0
NOW_MS = 1_800_000_000_000
_DAY_MS = 86_400_000
_LAST_DAYS = 15  # of all of them, one pipeline after the other
_ROOM = Path("/dev/shm")  # a disk that others write to would be measured too

ADMIN = User(id=UserId("admin"), name="admin", is_admin=True, sees_all_projects=True)
MEMBER = User(id=UserId("member"), name="member", is_admin=False, sees_all_projects=False)


# The rows


@dataclass(frozen=True)
class Size:
    """How many pipelines there are, each with one workflow, and how many projects."""

    pipelines: int
    projects: int

    @classmethod
    def of(cls, job_count: int) -> Size:
        return cls(job_count // EACH, max(10, job_count * 30_000 // 1_000_000))


def _id(kind: str, number: str) -> str:
    """SQL for an id with its bits spread as those of a UUID, from a number."""
    return f"printf('%08x-{kind}-4000-8000-%012x', ({number} * 2654435761) & 4294967295, {number})"


# A tenth of all is of one project, the rest of all others in turn.
_PROJECT_OF = "CASE WHEN p.n % 10 = 0 THEN 0 ELSE p.n % :projects END"
_COUNT = "WITH RECURSIVE p (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM p WHERE n + 1 < {most}) "
_JOBS = _COUNT.format(most=":pipelines") + ", j (k) AS (VALUES (0), (1), (2), (3)) "
_JOB = "(p.n * 4 + j.k)"
# The newest pipelines go on: a job that ended well, one that runs, one that waits and one that is blocked.
_IS_OPEN = "p.n >= :pipelines - :open"
_STATUS = f"CASE WHEN {_IS_OPEN} THEN CASE j.k WHEN 0 THEN 'success' WHEN 1 THEN 'running' WHEN 2 THEN 'not_running' ELSE" \
    " 'blocked' END WHEN (p.n + j.k) % 11 = 0 THEN 'failed' ELSE 'success' END"  # fmt: skip
_IS_DONE = f"({_STATUS} IN ('success', 'failed'))"
_AT = f"(:now - (:pipelines - p.n) * {_LAST_DAYS * _DAY_MS} / :pipelines)"


def _statements() -> Iterator[str]:
    yield (
        _COUNT.format(most=":projects") + "INSERT INTO projects (id, slug, vcs, org, repo, git_url, default_branch,"
        f" last_pipeline_number, created_at_ms) SELECT {_id('aaaa', 'n')}, 'circleci/org' || (n % 300) || '/repo' || n,"
        " 'git', 'org' || (n % 300), 'repo' || n, 'https://forge.test/' || n, 'main', :pipelines, 1 FROM p"
    )
    yield (
        "INSERT INTO users (id, name, is_admin, sees_all_projects, created_at_ms)"
        " VALUES ('admin', 'admin', 1, 1, 1), ('member', 'member', 0, 0, 1)"
    )
    yield "INSERT INTO members (project_id, user_id) SELECT id, 'member' FROM projects WHERE rowid % 101 = 1"
    yield (
        _COUNT.format(most=":pipelines") + "INSERT INTO triggers (project_id, delivery_id, semantic_key, event, state,"
        f" pipeline_id, accepted_at_ms) SELECT {_id('aaaa', f'({_PROJECT_OF})')}, 'd' || n, 'k' || n, :event, 'done',"
        f" {_id('bbbb', 'p.n')}, {_AT} FROM p"
    )
    yield (
        _COUNT.format(most=":pipelines") + "INSERT INTO pipelines (id, project_id, number, state, event, branch, is_trusted,"
        " may_have_secrets, source, compiled, pipeline_values, problems, created_at_ms, updated_at_ms)"
        f" SELECT {_id('bbbb', 'p.n')}, {_id('aaaa', f'({_PROJECT_OF})')}, p.n + 1, 'created', :event,"
        " CASE p.n % 3 WHEN 0 THEN 'main' ELSE 'topic' || (p.n % 997) END, 1, 1, 'version: 2.1', 'version: 2.1', '{}', '[]',"
        f" {_AT}, {_AT} FROM p"
    )
    yield (
        _COUNT.format(most=":pipelines") + "INSERT INTO workflows (id, pipeline_id, name, status, workspace_id, started_by,"
        f" created_at_ms, stopped_at_ms, may_be_redundant) SELECT {_id('cccc', 'p.n')}, {_id('bbbb', 'p.n')}, 'w',"
        f" CASE WHEN {_IS_OPEN} THEN 'running' ELSE 'success' END, {_id('dddd', 'p.n')}, 'somebody', {_AT},"
        f" CASE WHEN {_IS_OPEN} THEN NULL ELSE {_AT} + 60000 END, 1 FROM p"
    )
    yield (
        _JOBS + "INSERT INTO jobs (id, workflow_id, project_id, number, position, name, type, status, plan, created_at_ms,"
        f" queued_at_ms, started_at_ms, stopped_at_ms, unmet, log_bytes) SELECT {_id('eeee', _JOB)}, {_id('cccc', 'p.n')},"
        f" {_id('aaaa', f'({_PROJECT_OF})')}, {_JOB} + 1, j.k, 'job' || j.k, 'build', {_STATUS}, :plan, {_AT},"
        f" CASE {_STATUS} WHEN 'blocked' THEN NULL ELSE {_AT} END,"
        f" CASE WHEN {_STATUS} IN ('blocked', 'not_running') THEN NULL ELSE {_AT} + 100 END,"
        f" CASE WHEN {_IS_DONE} THEN {_AT} + 30000 + p.n % 1000 END, {_STATUS} = 'blocked',"
        f" CASE WHEN {_IS_DONE} THEN 5000 END FROM p, j"
    )
    yield (
        _JOBS
        + "INSERT INTO nodes (job_id, idx, status, executor, sandbox, cpus, memory_bytes, started_at_ms, stopped_at_ms)"
        f" SELECT {_id('eeee', _JOB)}, 0, CASE WHEN {_STATUS} IN ('blocked', 'not_running')"
        f" THEN 'waiting' ELSE {_STATUS} END, 'docker', 'container', 2, 4294967296,"
        f" {_AT} + 100, CASE WHEN {_IS_DONE} THEN {_AT} + 30000 END FROM p, j"
    )
    yield (
        _JOBS + "INSERT INTO steps (job_id, idx, position, kind, name, status, started_at_ms, stopped_at_ms)"
        f" SELECT {_id('eeee', _JOB)}, 0, s.value, 'run', 'step', 'success', 1, 2 FROM p, j, json_each('[0]') AS s"
    )
    yield (
        _JOBS + "INSERT INTO requirements (job_id, position, required_id, statuses)"
        f" SELECT {_id('eeee', _JOB)}, 0, {_id('eeee', f'({_JOB} - 1)')}, '[\"success\"]' FROM p, j WHERE j.k > 0"
    )
    yield (
        _JOBS + "INSERT INTO artifacts (id, job_id, idx, path, size_bytes, created_at_ms, project_id)"
        f" SELECT {_id('ffff', _JOB)}, {_id('eeee', _JOB)}, 0, 'out/report.html', 10000, {_AT},"
        f" {_id('aaaa', f'({_PROJECT_OF})')} FROM p, j WHERE j.k < 2 AND NOT {_IS_OPEN}"
    )
    yield (
        _JOBS + "INSERT INTO test_uploads (job_id, idx, step, project_id, job_name, scope, tests, created_at_ms)"
        f" SELECT {_id('eeee', _JOB)}, 0, 'step1', {_id('aaaa', f'({_PROJECT_OF})')}, 'job1', 'trusted', 5, {_AT}"
        f" FROM p, j WHERE j.k = 1 AND NOT {_IS_OPEN}"
    )
    yield (
        "INSERT INTO test_results (job_id, idx, step, result, name, classname, file, source, run_time_s, message)"
        " SELECT job_id, 0, 'step1', 'success', 'test ' || value, 'c', 'f.py', 'pytest', 0.1, ''"
        " FROM test_uploads, json_each('[1]')"
    )
    yield (
        _COUNT.format(most=":pipelines") + "INSERT INTO caches (id, project_id, scope, key, root, size_bytes, created_at_ms,"
        f" used_at_ms, expires_at_ms, shown) SELECT {_id('9999', 'p.n')}, {_id('aaaa', f'({_PROJECT_OF})')}, 'trusted',"
        f" 'deps-' || p.n, '/', 1000, {_AT}, {_AT}, :now + 1000, 'deps-' || p.n FROM p WHERE p.n % 4 = 1 OR p.n % 400 = 0"
    )
    yield (
        _COUNT.format(most=":pipelines") + "INSERT INTO layers (id, workspace_id, job_id, idx, step, names, size_bytes,"
        f" created_at_ms) SELECT {_id('8888', 'p.n')}, {_id('dddd', 'p.n')}, {_id('eeee', '(p.n * 4)')}, 0, 'step1',"
        f" '[]', 1000, {_AT} FROM p"
    )
    yield (
        _COUNT.format(most=":pipelines") + "INSERT INTO outbox (kind, body, attempts, due_at_ms, state, created_at_ms)"
        f" SELECT 'commit_status', json_object('project', {_id('aaaa', f'({_PROJECT_OF})')}, 'revision',"
        " printf('%040x', p.n), 'context', 'ci/circleci: job1'), 1,"
        f" {_AT}, CASE WHEN p.n % 9973 = 0 THEN 'due' ELSE 'sent' END, {_AT} FROM p"
    )
    yield (
        _JOBS + "INSERT INTO coverage (job_id, project_id, job_name, branch, scope, files, lines, lines_ran, branches,"
        f" branches_ran, created_at_ms, has_files) SELECT {_id('eeee', _JOB)}, {_id('aaaa', f'({_PROJECT_OF})')}, 'job1',"
        f" 'main', 'trusted', 1, 10, 5, 0, 0, {_AT}, 0 FROM p, j WHERE j.k = 1 AND p.n % 3 = 0 AND NOT {_IS_OPEN}"
    )
    yield "UPDATE facts SET value = (SELECT count(*) FROM jobs) WHERE name = 'last_job_number'"
    yield "UPDATE room SET bytes = (SELECT sum(log_bytes) FROM jobs) WHERE kind = 'logs'"


def fill(tx: Tx, job_count: int) -> None:
    """An appliance that has run so many jobs, of which some hundred have not ended. Quick, and not crash-safe."""
    trigger = Trigger(
        project_id=ProjectId("p"),
        kind=TriggerKind.WEBHOOK,
        semantic_key="k",
        branch="main",
        revision="1" * 40,
        commit=Commit(subject="Change something", author_name="Somebody"),
    )
    job = plans.Job(
        name="job",
        executor=plans.Docker(images=(plans.DockerImage(image="x"),)),
        steps=(plans.Run(command="make", name="make"),),
    )
    size = Size.of(job_count)
    values = {
        "pipelines": size.pipelines,
        "projects": size.projects,
        "open": min(200, size.pipelines // 5),
        "now": NOW_MS,
        "event": pipelines.dump_trigger(trigger),
        "plan": json.dumps(plans.dump_job(job)),
    }
    for pragma in ("foreign_keys = OFF", "synchronous = OFF", "cache_size = -400000"):
        tx.execute(f"PRAGMA {pragma}")
    tx.execute("BEGIN")
    for sql in _statements():
        tx.execute(sql, values)
    tx.execute("COMMIT")
    tx.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for pragma in ("foreign_keys = ON", "synchronous = FULL", "cache_size = -2000"):
        tx.execute(f"PRAGMA {pragma}")


# The questions


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows to ask about: of the project that has a tenth of all, one that ended, and what goes on."""

    project: ProjectId
    pipeline: PipelineId
    workflow: WorkflowId
    workspace: str
    job: JobId
    number: int
    waiting: JobId
    some_pipelines: list[PipelineId]
    some_workflows: list[WorkflowId]


def sample(tx: Tx) -> Sample:
    project = projects.find(tx, "org0/repo0")
    lines = overview.lines(tx, [project.id], limit=30)
    middle = tx.execute(
        "SELECT id FROM pipelines WHERE project_id = :id ORDER BY number LIMIT 1 OFFSET :half",
        {"id": project.id, "half": tx.execute("SELECT count(*) FROM pipelines").fetchone()[0] // 20},
    ).fetchone()["id"]
    workflow = pipelines.workflows_of(tx, middle)[0]
    job = jobs.of_workflow(tx, workflow.id)[1]
    return Sample(
        project=project.id,
        pipeline=PipelineId(middle),
        workflow=workflow.id,
        workspace=workflow.workspace_id,
        job=job.id,
        number=job.number or 0,
        waiting=queue.waiting(tx, 1, 1)[0].job_id,
        some_pipelines=[line.id for line in lines],
        some_workflows=[chip.id for chips in overview.chips(tx, [line.id for line in lines]).values() for chip in chips],
    )


Question = Callable[[Tx, Sample], object]
_PAST_MS = NOW_MS - 10 * _DAY_MS
_AFTER = overview.Mark(NOW_MS - _DAY_MS, 1 << 40)

# By who asks: a loop, or a page (with the API). What a loop changes is rolled back.
QUESTIONS: Mapping[str, Question] = {
    "scheduler: who waits": lambda tx, one: queue.waiting(tx, 500, 100),
    "scheduler: what is to be known of a job": lambda tx, one: queue.candidate(tx, one.waiting),
    "scheduler: how long such a job takes": lambda tx, one: queue.typical_ms(tx, one.project, "job1"),
    "runner: the number before, on its branch": lambda tx, one: jobs.previous_number(tx, one.project, "main", 1 << 40),
    "intake: the oldest open trigger": lambda tx, one: pipelines.oldest_open_trigger(tx),
    "intake: what a push makes redundant": lambda tx, one: redundancy.older(tx, one.project, "main", 99, is_trusted=True),
    "moves: what depends on a job": lambda tx, one: requirements.dependents(tx, one.job),
    "moves: the statuses of a workflow": lambda tx, one: requirements.statuses(tx, one.workflow),
    "moves: a failure that nobody excuses": lambda tx, one: requirements.has_unconsumed_failure(tx, one.workflow),
    "moves: the next job number": lambda tx, one: jobs.next_number(tx),
    "recovery: what runs": lambda tx, one: jobs.running_nodes(tx),
    "pool: what runs on machines": lambda tx, one: machines.running_on(tx),
    "pool: whether a removed one can go": lambda tx, one: machines.forget(tx, "x"),
    "page of machines: what runs where": lambda tx, one: machine_work.everything(tx),
    "runner API: what waits for a class": lambda tx, one: machine_work.unclaimed(tx, "acme/big"),
    "expiry: workflows": lambda tx, one: redundancy.open_since(tx, _PAST_MS, 100),
    "expiry: approvals": lambda tx, one: redundancy.on_hold_since(tx, _PAST_MS, 100),
    "expiry: serial groups": lambda tx, one: locks.waiting_since(tx, _PAST_MS, 100),
    "serial groups: the queue": lambda tx, one: locks.queue(tx, "org0", "key"),
    "courier: what is due": lambda tx, one: outbox.due(tx, NOW_MS),
    "courier: is there a newer one": lambda tx, one: [outbox.has_newer(tx, letter) for letter in outbox.due(tx, NOW_MS)],
    "schedules: what is due": lambda tx, one: schedules.due(tx, NOW_MS, (), 100),
    "schedules: when the next one is": lambda tx, one: schedules.next_due_at_ms(tx, NOW_MS),
    "janitor: logins that expired": lambda tx, one: people.drop_expired(tx, NOW_MS),
    "janitor: layers that are old": lambda tx, one: workspaces.forget_older(tx, _PAST_MS, 100),
    "janitor: artifacts that are old": lambda tx, one: artifacts.forget_older(tx, _PAST_MS, 100),
    "janitor: results that are old": lambda tx, one: results.forget_older(tx, _PAST_MS),
    "janitor: coverage that is old": lambda tx, one: coverage.forget_files_older(tx, _PAST_MS),
    "janitor: caches that expired": lambda tx, one: caches.forget_expired(tx, _PAST_MS),
    "janitor: the cache least used": lambda tx, one: caches.forget_least_used(tx),
    "janitor: artifacts over their quota": lambda tx, one: artifacts.over(tx, 1_000_000, 100),
    "janitor: caches over their quota": lambda tx, one: caches.over(tx, 5_000, 100),
    "retention: how much room logs take": lambda tx, one: room.of_logs(tx),
    "janitor: artifacts of a part": lambda tx, one: artifacts.ids(tx, "7f"),
    "janitor: layers of a part": lambda tx, one: workspaces.ids(tx, "7f"),
    "janitor: caches of a part": lambda tx, one: caches.ids(tx, "7f"),
    "retention: pipelines that are old": lambda tx, one: retention.remove_old_pipelines(tx, _PAST_MS, _PAST_MS, 4),
    "retention: letters that are old": lambda tx, one: retention.forget_letters(tx, _PAST_MS, 500),
    "retention: logs to measure": lambda tx, one: retention.unmeasured(tx, 500),
    "retention: the oldest logs": lambda tx, one: retention.oldest_logs(tx, NOW_MS, 50),
    "retention: jobs of a part": lambda tx, one: retention.known_jobs(tx, "7f3"),
    "cache: the newest by a prefix": lambda tx, one: caches.newest(tx, one.project, "trusted", "deps-", NOW_MS),
    "cache: by its key": lambda tx, one: caches.exists(tx, one.project, "trusted", "deps-9", NOW_MS),
    "tests: whose timings to split by": lambda tx, one: results.choose_timings(tx, one.waiting, "trusted"),
    "workspace: its layers": lambda tx, one: workspaces.layers_of(tx, one.workspace),
    "page: pipelines of everybody": lambda tx, one: overview.lines_for(tx, ADMIN, limit=31),
    "page: pipelines of everybody, a later page": lambda tx, one: overview.lines_for(tx, ADMIN, after=_AFTER, limit=31),
    "page: pipelines of a member's projects": lambda tx, one: overview.lines_for(tx, MEMBER, limit=31),
    "page: pipelines of an organisation": lambda tx, one: overview.lines_for(tx, ADMIN, org="org0", limit=21),
    "page: pipelines of a project": lambda tx, one: overview.lines(tx, [one.project], limit=31),
    "page: pipelines of a project, a later page": lambda tx, one: overview.lines(tx, [one.project], after=_AFTER, limit=31),
    "page: pipelines of a branch": lambda tx, one: overview.lines(tx, [one.project], branch="main", limit=31),
    "page: workflows of thirty pipelines": lambda tx, one: overview.chips(tx, one.some_pipelines),
    "page: jobs of thirty workflows": lambda tx, one: overview.job_chips(tx, one.some_workflows),
    "page: branches of a project": lambda tx, one: overview.branches(tx, one.project),
    "page: how a branch ended last": lambda tx, one: overview.last_status(tx, one.project, "main"),
    "page: a pipeline with its config": lambda tx, one: pipelines.pipeline(tx, one.pipeline),
    "page: a pipeline by number": lambda tx, one: overview.line_by_number(tx, one.project, 11),
    "page: a job by number": lambda tx, one: jobs.by_number(tx, one.number),
    "page: the nodes of a job": lambda tx, one: jobs.nodes_of(tx, one.job),
    "page: the steps of a node": lambda tx, one: jobs.steps_of(tx, one.job, 0),
    "page: who entered a job": lambda tx, one: visits.of_job(tx, one.job),
    "page: tests of a job": lambda tx, one: results.page(tx, one.job, 0, 1000),
    "page: tests that failed": lambda tx, one: results.failed(tx, one.job, 100),
    "page: how many tests": lambda tx, one: results.counts(tx, one.job),
    "page: artifacts of a job": lambda tx, one: artifacts.of_job(tx, one.job, 1001, 0),
    "page: a folder of artifacts": lambda tx, one: artifacts.entries(tx, one.job, 0, "", 100),
    "page: how many artifacts": lambda tx, one: artifacts.count(tx, one.job),
    "page: what a node took": lambda tx, one: usage.of_node(tx, one.job, 0),
    "page: coverage of a job": lambda tx, one: coverage.of_job(tx, one.job),
    "page: coverage over time": lambda tx, one: coverage.trend(tx, one.project, "job1", "main", NOW_MS, 50),
    "page: the newest coverage": lambda tx, one: coverage.newest(tx, one.project, "main", None, NOW_MS),
    "page: caches of a project": lambda tx, one: caches.page(tx, one.project, "", None, 101),
    "page: schedules of a project": lambda tx, one: schedules.page(tx, one.project, None, 20),
    "page: projects": lambda tx, one: projects.page(tx, ADMIN, "", "", 51),
    "page: projects, a later page": lambda tx, one: projects.page(tx, ADMIN, "", "org50/repo50", 51),
    "page: projects of a member": lambda tx, one: projects.page(tx, MEMBER, "", "", 51),
    "page: projects whose names hold what is nowhere": lambda tx, one: projects.page(tx, ADMIN, "nowhere", "", 51),
    "page: what a member's pages listen for": lambda tx, one: projects.ids_of(tx, MEMBER),
    "api: the organizations": lambda tx, one: projects.organizations(tx),
    "boot: what began lately": lambda tx, one: lately.begun(tx, "docker", NOW_MS - _DAY_MS, 300),
    "boot: hosted projects": lambda tx, one: projects.of_vcs(tx, Vcs.HOSTED),
    "api: a project by its slug": lambda tx, one: projects.find_for(tx, MEMBER, "gh/org0/repo0"),
    "api: whose token this is": lambda tx, one: people.by_token(tx, "rondo_x", ("api",), NOW_MS),
}


@contextmanager
def undone(tx: Tx) -> Iterator[None]:
    """A transaction of which nothing stays."""
    tx.execute("BEGIN")
    try:
        yield
    finally:
        tx.execute("ROLLBACK")


# The figures


async def measure(bench: Bench) -> list[Figure]:
    job_count = QUICK_JOBS if bench.is_quick else JOBS
    room = _ROOM if _ROOM.is_dir() else bench.scratch
    with tempfile.TemporaryDirectory(dir=room, prefix="rondo-bench-") as folder:
        begin_s = time.perf_counter()
        path = Path(folder) / "rondo.db"
        with closing(open_plain(path)) as tx:
            fill(tx, job_count)
        made_s, size_mb = time.perf_counter() - begin_s, path.stat().st_size / 1e6
        bench.say(f"million: {job_count} jobs, {size_mb:.0f} MB, written in {made_s:.0f} s")
        with closing(open_plain(path)) as tx:
            taken = {name: _ms(tx, question) for name, question in QUESTIONS.items()}
    for name, ms in sorted(taken.items(), key=lambda one: -one[1]):
        bench.say(f"{ms:8.2f} ms  {name}")
    worst = max(taken, key=lambda name: taken[name])
    return [
        Figure(
            name=f"{job_count:,} jobs: the slowest of {len(taken)} questions",
            unit="ms",
            samples=[taken[worst]],
            floor="their median",
            floor_samples=[statistics.median(taken.values())],
            aim=Aim(of="value", at_most=AT_MOST_MS),
            note=f"{worst}; the database has {size_mb:.0f} MB",
        )
    ]


def _ms(tx: Tx, question: Question) -> float:
    """The median of five turns; the first one, which finds the pages on the disk, is one of them."""
    samples = []
    one = sample(tx)
    for _ in range(5):
        with undone(tx):
            begin_s = time.perf_counter()
            question(tx, one)
            samples.append((time.perf_counter() - begin_s) * 1000)
    return statistics.median(samples)
