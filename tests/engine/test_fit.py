"""Who starts where, as tables; and that nobody is starved, over seeded days of work."""

from __future__ import annotations

import random

import pytest

from appliance.engine.classes import GIB
from appliance.engine.fit import Bounds, Decision, Held, Machine, Wish, fit
from appliance.model import JobId, ProjectId

HERE = Machine(name="here", cpus=8, memory_bytes=16 * GIB, nodes=100)
SMALL = Machine(name="small", cpus=2, memory_bytes=4 * GIB, nodes=100)
BOUNDS = Bounds(patience_ms=120_000)
NOW = 10_000_000


def wish(
    name: str,
    cpus: float = 2,
    gib: float = 4,
    *,
    project: str = "p",
    waited_s: float = 1,
    priority: int = 0,
    lasts_s: float | None = None,
    machines: tuple[str, ...] = ("here",),
) -> Wish:
    return Wish(
        job_id=JobId(name),
        index=0,
        project_id=ProjectId(project),
        machines=machines,
        cpus=cpus,
        memory_bytes=int(gib * GIB),
        since_ms=NOW - int(waited_s * 1000),
        priority=priority,
        lasts_ms=None if lasts_s is None else int(lasts_s * 1000),
    )


def held(
    cpus: float = 2,
    gib: float = 4,
    *,
    project: str = "p",
    number: int = 812,
    ends_in_s: float | None = None,
    began_s: float | None = None,
    at: str = "here",
) -> Held:
    ends_at_ms = None if ends_in_s is None else NOW + int(ends_in_s * 1000)
    return Held(
        project_id=ProjectId(project),
        machine=at,
        cpus=cpus,
        memory_bytes=int(gib * GIB),
        job_number=number,
        ends_at_ms=ends_at_ms,
        since_ms=None if began_s is None else NOW - int(began_s * 1000),
    )


def started(decision: Decision) -> list[str]:
    return [start.wish.job_id for start in decision.starts]


def reasons(decision: Decision) -> dict[str, str]:
    return {one.job_id: why for one, why in decision.waits}


def test_the_oldest_start_while_there_is_room() -> None:
    wishes = [wish(str(number), waited_s=10 - number) for number in range(6)]
    decision = fit(wishes, [], [HERE], BOUNDS, NOW)
    assert started(decision) == ["0", "1", "2", "3"]
    assert reasons(decision)["4"] == "waits: needs 4.0 GiB of memory, 0.0 GiB free"


def test_a_wait_says_what_is_missing_and_whose_end_will_bring_it() -> None:
    running = [held(6, 1, number=811, ends_in_s=30), held(1, 13.9, number=812, ends_in_s=118)]
    assert reasons(fit([wish("a", 2, 4)], running, [HERE], BOUNDS, NOW)) == {
        "a": "waits: needs 4.0 GiB of memory, 1.1 GiB free; job 812 ends in about 2 min"
    }
    assert reasons(fit([wish("a", 4, 1)], running, [HERE], BOUNDS, NOW)) == {
        "a": "waits: needs 4 CPUs, 1 free; job 811 ends in about 30 s"
    }


def test_no_estimate_is_said_where_there_is_none() -> None:
    assert reasons(fit([wish("a", 4, 4)], [held(6, 4)], [HERE], BOUNDS, NOW)) == {"a": "waits: needs 4 CPUs, 2 free"}


def test_projects_take_turns_by_what_they_hold() -> None:
    many = [wish(f"a{number}", 1, 1, project="a", waited_s=50) for number in range(20)]
    few = [wish(f"b{number}", 1, 1, project="b", waited_s=5) for number in range(2)]
    decision = fit([*many, *few], [held(1, 1, project="a")], [HERE], BOUNDS, NOW)
    assert started(decision)[:3] == ["b0", "a0", "b1"]
    assert len(decision.starts) == 7


def test_priority_goes_before_turns_and_age_before_priority() -> None:
    wishes = [
        wish("low", waited_s=60),
        wish("high", waited_s=1, priority=5),
        wish("ancient", waited_s=600, priority=-5),
    ]
    assert started(fit(wishes, [], [HERE], BOUNDS, NOW)) == ["ancient", "high", "low"]


def test_a_node_goes_where_it_leaves_the_least() -> None:
    both = ("here", "small")
    decision = fit([wish("a", machines=both), wish("b", 8, 16, machines=both)], [], [HERE, SMALL], BOUNDS, NOW)
    assert {start.wish.job_id: start.machine for start in decision.starts} == {"a": "small", "b": "here"}


def test_smaller_ones_pass_a_large_one_for_a_while() -> None:
    running = [held(4, 8)]
    wishes = [wish("large", 8, 16, waited_s=60), wish("little", 1, 1)]
    assert started(fit(wishes, running, [HERE], BOUNDS, NOW)) == ["little"]


def test_one_of_its_size_does_not_pass() -> None:
    wishes = [wish("older", 6, 12, waited_s=60), wish("younger", 6, 12, project="q")]
    decision = fit(wishes, [held(4, 8)], [HERE], BOUNDS, NOW)
    assert started(decision) == []
    assert "needs" in reasons(decision)["older"]


def test_after_its_patience_only_what_does_not_delay_it_passes() -> None:
    running = [held(4, 8, ends_in_s=60)]
    large = wish("large", 7, 8, waited_s=600)
    short = wish("short", 1, 1, lasts_s=50)
    beside = wish("beside", 1, 5, lasts_s=5000)
    another = wish("another", 1, 0.5, lasts_s=5000)
    long = wish("long", 2, 1, lasts_s=5000)
    unknown = wish("unknown", 2, 1)
    decision = fit([large, short, beside, another, long, unknown], running, [HERE], BOUNDS, NOW)
    assert sorted(started(decision)) in (["another", "short"], ["beside", "short"]), "one CPU is left beside it, not two"
    assert reasons(decision)["long"] == "waits: an older job comes first"


def test_another_machine_is_not_held_up_by_the_reservation() -> None:
    wishes = [wish("large", 8, 16, waited_s=600), wish("little", 2, 4, machines=("here", "small"))]
    decision = fit(wishes, [held(4, 8)], [HERE, SMALL], BOUNDS, NOW)
    assert {start.wish.job_id: start.machine for start in decision.starts} == {"little": "small"}


def test_each_machine_is_kept_for_the_oldest_that_waits_for_it() -> None:
    """Were only one of them kept, small jobs would take the other for ever."""
    wishes = [
        wish("mac", 2, 4, waited_s=900, machines=("small",)),
        wish("large", 8, 16, waited_s=600),
        wish("little", 2, 4, waited_s=1, lasts_s=5000, machines=("here", "small")),
    ]
    decision = fit(wishes, [held(4, 8), held(2, 4, at="small")], [HERE, SMALL], BOUNDS, NOW)
    assert started(decision) == []
    assert reasons(decision)["little"] == "waits: an older job comes first"


TWIN = Machine(name="twin", cpus=8, memory_bytes=16 * GIB, nodes=100)
LITTLE = wish("little", 1, 1, lasts_s=5000, machines=("here", "twin"))


@pytest.mark.parametrize(
    ("on_here", "on_twin"),
    [
        pytest.param({"began_s": 7200}, {"began_s": 20}, id="neither has an estimate"),
        pytest.param({"ends_in_s": -7200}, {"ends_in_s": 300}, id="one has outlived its estimate by hours"),
        pytest.param({"ends_in_s": 7200}, {"began_s": 20}, id="one has hours to go"),
    ],
)
def test_the_machine_that_is_likely_free_first_is_kept(on_here: dict[str, float], on_twin: dict[str, float]) -> None:
    """Else it waits for the long job, and small ones fill the other machine for ever."""
    large = wish("large", 8, 16, waited_s=600, machines=("here", "twin"))
    running = [held(4, 8, at="here", **on_here), held(4, 8, at="twin", **on_twin)]  # type: ignore[arg-type]
    decision = fit([large, LITTLE], running, [HERE, TWIN], BOUNDS, NOW)
    assert "twin" not in [start.machine for start in decision.starts]


def test_two_large_ones_keep_a_machine_each() -> None:
    large = [wish(name, 8, 16, waited_s=600, machines=("here", "twin")) for name in ("one", "two")]
    running = [held(4, 8, ends_in_s=60), held(4, 8, ends_in_s=90, at="twin", number=813)]
    decision = fit([*large, LITTLE], running, [HERE, TWIN], BOUNDS, NOW)
    assert started(decision) == []
    assert [why.partition("; ")[2] for why in reasons(decision).values()] == [
        "job 812 ends in about 60 s",
        "job 813 ends in about 2 min",
        "",
    ]


def test_a_job_that_outlives_its_estimate_is_not_said_to_end_at_once() -> None:
    said = reasons(fit([wish("a", 8, 4)], [held(4, 4, ends_in_s=-60)], [HERE], BOUNDS, NOW))
    assert said == {"a": "waits: needs 8 CPUs, 4 free; job 812 takes longer than it usually does"}


def test_a_wait_names_the_machine_where_there_are_several() -> None:
    running = [held(2, 3, at="small", ends_in_s=300)]
    said = reasons(fit([wish("a", 1, 2, machines=("small",))], running, [HERE, SMALL], BOUNDS, NOW))
    assert said == {"a": "waits: needs 2.0 GiB of memory, 1.0 GiB free on small; job 812 ends in about 5 min"}


def test_a_job_without_a_size_gets_an_equal_share_and_slots_are_kept() -> None:
    thirds = Machine(name="thirds", cpus=1, memory_bytes=GIB, nodes=3)
    wishes = [wish(f"{number}", 0, 0, machines=("thirds",)) for number in range(4)]
    decision = fit(wishes, [], [HERE, thirds], BOUNDS, NOW)
    assert len(decision.starts) == 3
    assert {(start.cpus, start.memory_bytes) for start in decision.starts} == {(1 / 3, GIB // 3)}
    assert reasons(decision)["3"] == "waits: 3 nodes run on thirds, as many as it has slots"


def test_what_runs_on_a_machine_that_was_removed_counts_for_its_project_only() -> None:
    wishes = [wish("a", project="p"), wish("b", project="q")]
    decision = fit(wishes, [held(8, 16, at="gone")], [HERE], Bounds(nodes_of_project=1), NOW)
    assert started(decision) == ["b"]


def test_what_is_larger_than_the_machine_gets_all_of_it_when_nothing_else_runs() -> None:
    (start,) = fit([wish("huge", 64, 128)], [], [HERE], BOUNDS, NOW).starts
    assert (start.cpus, start.memory_bytes) == (8, 16 * GIB)
    said = reasons(fit([wish("huge", 64, 128)], [held(1, 1)], [HERE], BOUNDS, NOW))["huge"]
    assert said.endswith("it is larger than what there is and starts when nothing else runs")


def test_the_bounds_of_a_machine_and_of_a_project() -> None:
    few = Machine(name="this machine", cpus=8, memory_bytes=16 * GIB, nodes=1, bound="jobs.at_once allows")
    said = {"a": "waits: 1 node runs on this machine, as many as jobs.at_once allows; job 812 ends in about 50 s"}
    assert reasons(fit([wish("a", machines=(few.name,))], [held(at=few.name, ends_in_s=50)], [few], BOUNDS, NOW)) == said
    said = {"a": "waits: 1 node of this project runs, as many as jobs.at_once_per_project allows"}
    assert reasons(fit([wish("a")], [held()], [HERE], Bounds(nodes_of_project=1), NOW)) == said


def test_a_project_at_its_bound_holds_up_nobody_else() -> None:
    wishes = [wish("a", waited_s=90), wish("b", project="q")]
    assert started(fit(wishes, [held()], [HERE], Bounds(nodes_of_project=1), NOW)) == ["b"]


def test_without_a_machine_it_says_so() -> None:
    said = reasons(fit([wish("a", machines=())], [], [HERE], BOUNDS, NOW))
    assert said == {"a": "waits: no machine that could run it is there now"}


@pytest.mark.parametrize("seed", range(8))
def test_nobody_starves_and_nothing_is_given_twice(seed: int) -> None:
    """A stream of small jobs that would fill the machine for ever, and large ones among them."""
    chance = random.Random(seed)
    now, running, waiting = NOW, list[tuple[int, Held]](), list[Wish]()
    waits: list[int] = []
    for tick in range(3000):
        now += 1000
        running = [one for one in running if one[0] > now]
        for _ in range(chance.choice((0, 0, 1))):
            cpus, gib, lasts_s = chance.choice(((1, 1, 4), (2, 4, 3), (2, 2, 9), (8, 16, 5))) if tick < 2000 else (1, 1, 1)
            has_history = chance.random() < 0.7
            waiting.append(
                Wish(
                    job_id=JobId(f"{tick}.{len(waiting)}"),
                    index=0,
                    project_id=ProjectId(chance.choice("abc")),
                    machines=("here",),
                    cpus=cpus,
                    memory_bytes=gib * GIB,
                    since_ms=now,
                    lasts_ms=lasts_s * 1000 if has_history else None,
                )
            )
        decision = fit(waiting, [one for _, one in running], [HERE], Bounds(patience_ms=20_000), now)
        assert len(decision.starts) + len(decision.waits) == len(waiting)
        for start in decision.starts:
            waits.append(now - start.wish.since_ms)
            ends = now + chance.randint(1, 9) * 1000
            one = Held(
                project_id=start.wish.project_id,
                machine=start.machine,
                cpus=start.cpus,
                memory_bytes=start.memory_bytes,
                job_number=1,
                ends_at_ms=None if start.wish.lasts_ms is None else now + start.wish.lasts_ms,
            )
            running.append((ends, one))
        waiting = [one for one, _ in decision.waits]
        assert sum(one.cpus for _, one in running) <= HERE.cpus
        assert sum(one.memory_bytes for _, one in running) <= HERE.memory_bytes
    assert len(waiting) < 10 and max(waits) < 300_000, max(waits)
