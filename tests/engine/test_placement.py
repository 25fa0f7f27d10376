"""Where a job goes, and what it may take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.engine.classes import GIB, Classes
from appliance.engine.placement import Placement, Places, aliased, out_of_memory, place, spec
from appliance.errors import ImageError
from appliance.language import plan as plans
from appliance.settings import RESOURCE_CLASSES

CLASSES = Classes(RESOURCE_CLASSES)
PLACES = Places(
    has_docker=True, has_local=False, local_takes_all=False, machine_image="", default_class="medium", classes=CLASSES
)
DOCKER = plans.Docker(images=(plans.DockerImage(image="x", auth=plans.RegistryAuth(username="$WHO", password="${PW}!")),))


def job(executor: plans.Executor | None = DOCKER, resource_class: str | None = None) -> plans.Job:
    return plans.Job(name="j", executor=executor, resource_class=resource_class)


@pytest.mark.parametrize(
    ("name", "cpus", "gib"), [(None, 2, 4), ("small", 1, 2), ("large.gen2", 4, 8), ("arm.medium", 2, 8), ("org/own", 2, 4)]
)
def test_classes(name: str | None, cpus: float, gib: int) -> None:
    assert place(job(resource_class=name), PLACES) == Placement(executor="docker", cpus=cpus, memory_bytes=gib * GIB)


@pytest.mark.parametrize(
    ("name", "cpus", "gib"),
    [("medium", 2, 7.5), ("medium.gen3", 2, 8), ("xlarge.gen2", 8, 32), ("2xlarge+", 32, 64), ("own", 3, 5), (None, 2, 7.5)],
)
def test_machines_have_classes_of_their_own(name: str | None, cpus: float, gib: float) -> None:
    places = replace(PLACES, machine_image="vm", classes=Classes({**RESOURCE_CLASSES, "own": "3/5"}))
    placed = place(job(plans.Machine(), name), places)
    assert placed == Placement(executor="docker", cpus=cpus, memory_bytes=int(gib * GIB))


@pytest.mark.parametrize("text", ["4", "4/", "0/4", "2/0", "two/4", "2/4/8", ""])
def test_a_class_that_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="resource_classes: odd must be"):
        Classes({"odd": text})


@pytest.mark.parametrize(
    ("executor", "name", "gib", "said"),
    [
        (DOCKER, "medium", 4, "killed: out of memory, 4 GiB; try resource_class: large"),
        (DOCKER, None, 4, "killed: out of memory, 4 GiB; try resource_class: large"),
        (DOCKER, "medium.gen2", 4, "killed: out of memory, 4 GiB; try resource_class: large"),
        (DOCKER, "arm.medium", 8, "killed: out of memory, 8 GiB; try resource_class: arm.large"),
        (plans.Machine(), "medium", 7.5, "killed: out of memory, 7.5 GiB; try resource_class: large"),
        (DOCKER, "2xlarge", 32, "killed: out of memory, 32 GiB; try resource_class: 2xlarge+"),
        (DOCKER, "2xlarge+", 40, "killed: out of memory, 40 GiB; there is no larger resource class here"),
        (
            DOCKER,
            "xlarge",
            12,
            "killed: out of memory, 12 GiB; that is all that this appliance has for one job (jobs.memory)",
        ),
    ],
)
def test_out_of_memory_names_what_helps(executor: plans.Executor, name: str | None, gib: float, said: str) -> None:
    assert out_of_memory(job(executor, name), PLACES, int(gib * GIB)) == said


def test_the_smallest_class_that_would_do_is_of_the_same_family() -> None:
    assert CLASSES.smaller("xlarge", 1.5, 3 * GIB, is_machine=False) == "medium"
    assert CLASSES.smaller("arm.xlarge", 1.5, 3 * GIB, is_machine=False) == "arm.medium"
    assert CLASSES.smaller("medium", 1.5, 3 * GIB, is_machine=False) is None
    assert CLASSES.smaller("large", 0.1, GIB, is_machine=True) == "medium"


@pytest.mark.parametrize(
    ("wanted", "places", "said"),
    [
        (job(resource_class="huge"), PLACES, "there is no resource class huge"),
        (job(plans.Machine(), "small"), replace(PLACES, has_local=True), "no resource class small for machine jobs"),
        (job(plans.Machine(), "gpu.nvidia.small"), replace(PLACES, machine_image="vm"), "GPU"),
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


async def test_registry_logins_are_filled_in_and_nothing_else_is() -> None:
    placed = place(job(), PLACES)
    assert isinstance(placed, Placement)
    container = spec("1.0", job(), placed, PLACES, {"WHO": "me", "PW": "secret"}).containers[0]
    assert container.log_in is not None
    login = await container.log_in()
    assert (login.username, login.password) == ("me", "secret!")
    assert "secret" not in repr(container) + repr(login)


async def test_a_login_with_a_variable_that_is_not_there_says_which() -> None:
    placed = place(job(), PLACES)
    assert isinstance(placed, Placement)
    container = spec("1.0", job(), placed, PLACES, {"WHO": "me"}).containers[0]
    assert container.log_in is not None
    with pytest.raises(ImageError, match=r"needs \$PW, and there is no such variable in the project"):
        await container.log_in()


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
