"""References to orbs, `namespace/name@version`, and the ways in which looking one up can fail."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.language.problems import closest

_REFERENCE = re.compile(r"([A-Za-z0-9_-]+)/([A-Za-z0-9_-]+)@([A-Za-z0-9._:/-]+)\Z")
_EXACT = re.compile(r"\d+\.\d+\.\d+\Z")


class Final(LookupError):
    """There is none, and nobody else is to be asked: the name belongs to us."""


class Unreachable(LookupError):
    """Nobody said that there is none; whoever knows could not be asked. An older answer will do."""


@dataclass(frozen=True)
class Reference:
    namespace: str
    name: str
    version: str

    @property
    def orb(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def is_exact(self) -> bool:
        return is_exact(self.version)


def parse(reference: str) -> Reference | None:
    """The parts of a reference into a registry; None for what is none, such as a URL."""
    found = _REFERENCE.match(reference)
    return Reference(*found.groups()) if found is not None else None


def is_exact(version: str) -> bool:
    """Whether a version is one text for ever: three numbers."""
    return _EXACT.match(version) is not None


def is_exact_name(name: str) -> bool:
    """The same of a whole name, `circleci/node@5.2.0`."""
    found = parse(name)
    return found is not None and found.is_exact


def fits(wanted: str, version: str) -> bool:
    """Whether `version` may answer a reference to `wanted`."""
    if wanted == "volatile":
        return is_exact(version)
    return version == wanted or (is_exact(version) and version.startswith(wanted + "."))


def did_you_mean(word: str, choices: list[str]) -> str:
    """` Did you mean "x"?`, or nothing."""
    near = closest(word, choices)
    return f' Did you mean "{near}"?' if near is not None else ""


def listed(versions: list[str], limit: int = 10) -> str:
    """Versions for a sentence, not more than a person reads."""
    more = f" and {len(versions) - limit} more" if len(versions) > limit else ""
    return (", ".join(versions[:limit]) or "none") + more
