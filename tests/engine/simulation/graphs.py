"""Random plans: graphs of jobs of several sizes, with approvals and serial groups, setup phases and schedules."""

from __future__ import annotations

import random
from dataclasses import replace

from appliance.language import plan as plans
from tests.engine.simulation.pool import SIZES

TERMINAL = ("success", "failed", "canceled", "unauthorized", "not_run")
CRONS = ("0,20,40 * * * *", "0 * * * *", "30 1 * * *", "11,12 * * * *")


def random_plan(chance: random.Random, *, setups: float) -> plans.Plan:
    """One or two workflows of up to eight jobs, each needing some of those before it in some way.

    Some are setup configs (`setups`: how many of one), which have one small workflow; and some workflows the clock starts.
    """
    scheduled = tuple(_scheduled(chance, name) for name in ("nightly", "hourly") if chance.random() < 0.15)
    if chance.random() < setups:
        first = plans.Workflow(name="setup", jobs=tuple(_jobs(chance, most=2)))
        return plans.Plan(version="2.1", is_setup=True, workflows=(first,), scheduled=scheduled)
    workflows = tuple(_workflow(chance, f"w{number}") for number in range(chance.randint(1, 2)))
    return plans.Plan(version="2.1", workflows=workflows, scheduled=scheduled)


def _workflow(chance: random.Random, name: str) -> plans.Workflow:
    return plans.Workflow(name=name, jobs=tuple(_jobs(chance)), max_auto_reruns=chance.choice((0, 0, 2)))


def _scheduled(chance: random.Random, name: str) -> plans.Workflow:
    only = chance.choice((("main",), ("topic", "main")))
    schedule = plans.Schedule(cron=chance.choice(CRONS), branches_only=only, branches_ignore=None)
    return replace(_workflow(chance, name), schedules=(schedule,))


def _jobs(chance: random.Random, most: int = 8) -> list[plans.Job]:
    made: list[plans.Job] = []
    for number in range(chance.randint(1, most)):
        needed = chance.sample(made, min(len(made), chance.choice((0, 1, 1, 2, 3))))
        kind = chance.choices([plans.JobType.BUILD, plans.JobType.APPROVAL, plans.JobType.NO_OP], [8, 1, 1])[0]
        is_build = kind is plans.JobType.BUILD
        made.append(
            plans.Job(
                name=f"j{number}",
                type=kind,
                requires=tuple(_require(chance, one.name) for one in needed),
                executor=plans.Docker(images=(plans.DockerImage(image="x"),)) if is_build else None,
                resource_class=chance.choice(tuple(SIZES)) if is_build else None,
                parallelism=chance.choice((1, 1, 1, 2, 3)),
                steps=(plans.Run(command="true", name="true"),) if is_build else (),
            )
        )
    return [part for job in made for part in (_in_group(chance, job) if job.type is plans.JobType.BUILD else [job])]


def _in_group(chance: random.Random, job: plans.Job) -> list[plans.Job]:
    """Some jobs stand in one of two serial groups, as the language would have it; others keep to their names."""
    if chance.random() < 0.75:
        return [job]
    key = chance.choice(("g1", "g2"))
    lock = plans.Job(name=f"{job.name}/lock", type=plans.JobType.LOCK, key=key, requires=job.requires)
    held = replace(job, requires=(plans.Require(job=lock.name),))
    after = (plans.Require(job=job.name, statuses=TERMINAL),)
    return [lock, held, plans.Job(name=f"{job.name}/unlock", type=plans.JobType.UNLOCK, key=key, requires=after)]


def _require(chance: random.Random, name: str) -> plans.Require:
    if chance.random() < 0.7:
        return plans.Require(job=name)
    return plans.Require(job=name, statuses=tuple(chance.sample(TERMINAL, chance.randint(1, 5))))
