"""Where a job goes, and what it may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from appliance.engine import placement
from appliance.engine.classes import GIB, Classes
from appliance.engine.placement import Placement, Places, aliased, out_of_memory, spec
from appliance.engine.spots import Spot, why_waiting
from appliance.errors import ImageError
from appliance.language import plan as plans
from appliance.settings import RESOURCE_CLASSES

CLASSES = Classes(RESOURCE_CLASSES)
PLACES = Places(
    has_docker=True, has_local=False, local_takes_all=False, machine_image="", default_class="medium", classes=CLASSES
)
DOCKER = plans.Docker(images=(plans.DockerImage(image="x", auth=plans.RegistryAuth(username="$WHO", password="${PW}!")),))


def place(wanted: plans.Job, places: Places, pool: Sequence[Spot] = ()) -> Placement | str:
    return placement.place(wanted, places, pool, is_trusted=True)


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
        (job(plans.Macos(xcode="16")), PLACES, "no macOS machine here takes jobs without a resource class: `rondo machine"),
        (job(plans.Machine()), PLACES, "docker.machine_image"),
        (job(plans.Machine(), "acme/big"), PLACES, "no machine has the resource class acme/big: `rondo machine list` shows"),
        (job(plans.Machine(), "windows.large"), PLACES, "no Windows machine has the resource class windows.large"),
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
    places = replace(places, aliases={"vm:*": "mirror/vm:1"})
    assert [one.image for one in spec("1.0", job(plans.Machine()), stand_in, places, {}).containers] == ["mirror/vm:1"]


BOX = Spot(name="box", os="linux", arch="amd64", cpus=4, memory_bytes=int(15.3 * GIB))
ARM = Spot(name="arm", os="linux", arch="arm64", cpus=8, memory_bytes=32 * GIB)
BIG = Spot(name="big", os="linux", arch="amd64", classes=("acme/big", "2xlarge"), cpus=2, memory_bytes=4 * GIB)
MAC = Spot(name="mac", os="macos", arch="arm64", cpus=8, memory_bytes=16 * GIB)
PRO = Spot(name="pro", os="macos", arch="arm64", classes=("m4pro.medium", "acme/mac"), cpus=8, memory_bytes=16 * GIB)
WIN = Spot(name="win", os="windows", arch="amd64")
POOL = (BOX, ARM, BIG, MAC, PRO, WIN)
XCODE = plans.Macos(xcode="16")
WINDOWS = plans.Machine(image="windows-server-2022-gui:current")


@pytest.mark.parametrize(
    ("executor", "name", "machines"),
    [
        (plans.Machine(), None, ("box",)),
        (plans.Machine(), "large", ("box",)),  # its 15.3 GiB are sold as 16
        (plans.Machine(), "xlarge", ()),
        (plans.Machine(), "2xlarge", ("big",)),  # it says so, whatever its size
        (plans.Machine(), "arm.large", ("arm",)),
        (plans.Machine(image="arm-default"), None, ("arm",)),
        (plans.Machine(), "acme/big", ("big",)),
        (plans.Machine(), "acme/mac", ("pro",)),
        (plans.Machine(), "acme/other", ()),
        (plans.Machine(), "gpu.nvidia.small", ()),
        (XCODE, None, ("mac", "pro")),
        (XCODE, "m4pro.medium", ("pro",)),
        (XCODE, "m4pro.large", ()),
        (XCODE, "acme/mac", ("pro",)),
        (XCODE, "acme/big", ()),
        (WINDOWS, None, ("win",)),
        (WINDOWS, "windows.2xlarge", ("win",)),  # nobody has measured it yet
        (plans.Machine(), "windows.medium", ("win",)),
        (plans.Machine(), "windows.gpu.nvidia.medium", ()),
        (DOCKER, None, ()),
        (DOCKER, "acme/big", ()),
    ],
)
def test_which_machines_take_which_jobs(executor: plans.Executor, name: str | None, machines: tuple[str, ...]) -> None:
    placed = place(job(executor, name), PLACES, POOL)
    assert (placed.machines if isinstance(placed, Placement) else ()) == machines
    if machines:
        assert isinstance(placed, Placement) and not placed.executor


def test_a_machine_goes_before_what_stands_in_for_one_also_while_it_takes_nothing() -> None:
    places = replace(PLACES, has_local=True, machine_image="vm")
    drained = replace(BOX, trouble="is drained")
    placed = place(job(plans.Machine()), places, (drained,))
    assert isinstance(placed, Placement) and placed.machines == ("box",)
    stand_in = place(job(plans.Machine(), "acme/other"), places, (drained,))
    assert isinstance(stand_in, Placement) and stand_in.executor == "local"


def test_a_class_without_a_line_is_an_equal_share_of_the_machine() -> None:
    placed = place(job(plans.Machine(), "acme/big"), PLACES, POOL)
    assert placed == Placement(machines=("big",), cpus=0, memory_bytes=0)
    sized = replace(PLACES, classes=Classes({**RESOURCE_CLASSES, "acme/big": "1/2"}))
    placed = place(job(plans.Machine(), "acme/big"), sized, POOL)
    assert placed == Placement(machines=("big",), cpus=1, memory_bytes=2 * GIB)


def test_a_wait_for_machines_says_what_each_of_them_has() -> None:
    spots = [replace(BOX, name=f"b{number}", trouble="is drained") for number in range(5)]
    assert why_waiting(spots) == "machine b0 is drained; machine b1 is drained; machine b2 is drained; and 2 more"


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
