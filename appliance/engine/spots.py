"""Which machines of the pool take which jobs (spec 1.6, 8.1): by operating system, architecture and resource class. No I/O.

A machine that lists classes takes just those. One that lists none takes the classes of its system and architecture that
fit its size; never those with a GPU, nor an organization's own (`acme/big`): what such a name means its owner has to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from appliance.engine.classes import Classes, Size
from appliance.language import plan as plans
from appliance.store.machines import Machine

_ENOUGH = 0.9  # of a class's memory: of its 16 GB a machine shows a little less
_SHOWN = 3

DEFAULTS: Mapping[str, str] = {"macos": "m4pro.medium", "windows": "windows.medium"}
"""The class of a job that names none, where it is not the setting's."""

SYSTEMS: Mapping[str, str] = {"macos": "macOS", "windows": "Windows"}


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A machine of the pool as it is now. `trouble` says why it takes nothing new; "" when it does."""

    name: str
    os: str
    arch: str
    classes: tuple[str, ...] = ()
    slots: int = 1
    cpus: float = 0.0  # 0: not known yet
    memory_bytes: int = 0  # 0: not known yet
    forks: bool = False  # it takes jobs that strangers wrote
    trouble: str = field(default="", compare=False)  # two that differ in nothing else take the same jobs


def spot_of(machine: Machine, trouble: str = "") -> Spot:
    return Spot(
        name=machine.name,
        os=machine.os,
        arch=machine.arch,
        classes=machine.classes,
        slots=machine.slots,
        cpus=machine.cpus,
        memory_bytes=machine.memory_bytes,
        forks=machine.forks,
        trouble=trouble,
    )


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a job asks of a machine. Empty texts ask for nothing."""

    os: str
    arch: str
    class_name: str
    is_named: bool  # by the job; else it is the usual one, and any machine will do
    size: Size | None  # None: the class has no line in the settings


def ask(job: plans.Job, classes: Classes, default_class: str) -> Ask | None:
    """None for a job that runs in containers."""
    name, image = job.resource_class or "", ""
    match job.executor:
        case plans.Macos():
            os, arch = "macos", ""
        case plans.Machine() as machine:
            image = machine.image or ""
            if name.startswith("windows.") or (image.startswith("windows") and "/" not in name):
                os, arch = "windows", ""
            elif "/" in name:
                os, arch = "", ""
            else:
                os, arch = "linux", "arm64" if name.startswith("arm.") or image.startswith("arm-") else "amd64"
        case _:
            return None
    name = name or DEFAULTS.get(os, default_class)
    return Ask(
        os=os, arch=arch, class_name=name, is_named=job.resource_class is not None, size=classes.find(name, is_machine=True)
    )


def takes(spot: Spot, wanted: Ask) -> bool:
    """Whether this machine is one for such jobs, be it there or not."""
    if wanted.os and spot.os != wanted.os:
        return False
    if spot.classes:
        return wanted.class_name in spot.classes
    if "/" in wanted.class_name or "gpu." in wanted.class_name or (wanted.arch and spot.arch != wanted.arch):
        return False
    return not wanted.is_named or (wanted.size is not None and _fits(wanted.size, spot))


def _fits(size: Size, spot: Spot) -> bool:
    has_cpus = not spot.cpus or size.cpus <= spot.cpus
    return has_cpus and (not spot.memory_bytes or size.memory_bytes * _ENOUGH <= spot.memory_bytes)


def why_none(wanted: Ask) -> str:
    """What to say of a job that no machine ever takes."""
    kind = f"{SYSTEMS[wanted.os]} machine" if wanted.os in SYSTEMS else "machine"
    lacks = f"has the resource class {wanted.class_name}" if wanted.is_named else "here takes jobs without a resource class"
    return f"no {kind} {lacks}: `rondo machine list` shows which there are, `rondo machine add` brings another"


def why_waiting(candidates: Sequence[Spot]) -> str:
    """What to say of a job while none of its machines takes anything."""
    said = [f"machine {spot.name} {spot.trouble}" for spot in candidates[:_SHOWN]]
    more = len(candidates) - _SHOWN
    return "; ".join(said) + (f"; and {more} more" if more > 0 else "")
