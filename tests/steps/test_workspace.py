"""Which jobs' layers a workspace is made of."""

from __future__ import annotations

from appliance.model import JobId
from appliance.steps.workspace import upstream


def upstream_of(name: str, needs: dict[str, str]) -> dict[str, set[str]]:
    edges = [(JobId(one), JobId(other)) for one, others in needs.items() for other in others.split()]
    return {str(one): set(map(str, others)) for one, others in upstream(edges, JobId(name)).items()}


def test_each_comes_after_what_it_needs_and_nothing_else_does() -> None:
    found = upstream_of("e", {"e": "d b", "d": "b c", "c": "a", "b": "a", "a": "", "other": "a", "after": "e"})
    assert found == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"a", "b", "c"}}
    order = list(found)
    assert all(order.index(needed) < order.index(one) for one, needs in found.items() for needed in needs)


def test_a_long_chain_of_jobs_is_no_trouble() -> None:
    chain = {str(number): str(number - 1) if number else "" for number in range(2_000)}
    assert len(upstream_of("1999", chain)) == 1_999
