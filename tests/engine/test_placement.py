"""Where a job goes, and what it may take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.engine.placement import GIB, Placement, Places, aliased, place, spec
from appliance.language import plan as plans

PLACES = Places(has_docker=True, has_local=False, local_takes_all=False, machine_image="", default_class="medium")
DOCKER = plans.Docker(images=(plans.DockerImage(image="x", auth=plans.RegistryAuth(username="$WHO", password="${PW}!")),))


def job(executor: plans.Executor | None = DOCKER, resource_class: str | None = None) -> plans.Job:
    return plans.Job(name="j", executor=executor, resource_class=resource_class)


@pytest.mark.parametrize(
    ("name", "cpus", "gib"), [(None, 2, 4), ("small", 1, 2), ("large.gen2", 4, 8), ("arm.medium", 2, 8), ("org/own", 2, 4)]
)
def test_classes(name: str | None, cpus: float, gib: int) -> None:
    assert place(job(resource_class=name), PLACES) == Placement(executor="docker", cpus=cpus, memory_bytes=gib * GIB)


@pytest.mark.parametrize(
    ("wanted", "places", "said"),
    [
        (job(resource_class="huge"), PLACES, "there is no resource class huge"),
        (job(plans.Macos(xcode="16")), PLACES, "macOS machine"),
        (job(plans.Machine()), PLACES, "docker.machine_image"),
        (job(plans.Machine(), "windows.medium"), PLACES, "Windows machine"),
        (job(), replace(PLACES, has_docker=False), "docker.enabled is off"),
    ],
)
def test_what_can_never_run_here_says_why(wanted: plans.Job, places: Places, said: str) -> None:
    answer = place(wanted, places)
    assert isinstance(answer, str) and said in answer


def test_machine_jobs_go_to_this_host_or_to_the_image_that_stands_in() -> None:
    local = place(job(plans.Machine()), replace(PLACES, has_local=True))
    assert isinstance(local, Placement) and local.executor == "local"
    places = replace(PLACES, machine_image="vm")
    stand_in = place(job(plans.Machine()), places)
    assert isinstance(stand_in, Placement) and stand_in.executor == "docker"
    assert [one.image for one in spec("1.0", job(plans.Machine()), stand_in, places, {}).containers] == ["vm"]


def test_registry_logins_are_filled_in_and_nothing_else_is() -> None:
    placed = place(job(), PLACES)
    assert isinstance(placed, Placement)
    container = spec("1.0", job(), placed, PLACES, {"WHO": "me", "PW": "secret"}).containers[0]
    assert container.credentials is not None
    assert (container.credentials.username, container.credentials.password) == ("me", "secret!")
    assert "secret" not in repr(container)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("cimg/python:3.12", "local:1"),
        ("cimg/node:20", "cimg/node:20"),
        ("redis", "local:2"),
        ("redis:7", "local:2"),
    ],
)
def test_aliases(image: str, found: str) -> None:
    assert aliased(image, {"cimg/python:*": "local:1", "redis:*": "local:2"}) == found
