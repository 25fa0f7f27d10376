"""The orbs that an orb imports: settled when it is published, so that one version is one thing for ever.

An open reference (`circleci/node@5`) is written down as the exact version it means today. The text is changed in
those places only: comments, order and line numbers stay as the author wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.language.nodes import Scalar
from appliance.language.orb_document import references_of
from appliance.language.orbs import OrbSource
from appliance.orbs.names import is_exact_name


@dataclass(frozen=True)
class Settled:
    """`text` with exact references; `open` has the others, with the reason why they stayed as they were."""

    text: str
    open: dict[str, str]


def settle(text: str, source: OrbSource) -> Settled:
    """`text` with each open reference made exact by `source`."""
    open_: dict[str, str] = {}
    changes: dict[tuple[int, int], tuple[str, str]] = {}
    for found in references_of(text):
        name = _exact(found, source, open_)
        if name is not None and name != found.text:
            changes[found.line, found.column] = (found.text, name)
    lines = text.splitlines(keepends=True)
    for (line, column), (old, new) in sorted(changes.items(), reverse=True):
        lines[line - 1] = _with(lines[line - 1], column - 1, old, new)
    settled = "".join(lines)
    left = {found.text for found in references_of(settled)}
    wanted = {new for _, new in changes.values()}
    if not wanted <= left:  # written in a way we cannot replace in place, such as "\x63ircleci/node@5"
        open_.update({old: "it is written in an unusual way" for old, _ in changes.values() if old in left})
        return Settled(text, open_)
    return Settled(settled, open_)


def _exact(found: Scalar, source: OrbSource, open_: dict[str, str]) -> str | None:
    try:
        name = source.resolve(found.text).name
    except LookupError as error:
        if not is_exact_name(found.text):
            open_[found.text] = str(error)
        return None
    if not is_exact_name(name):
        open_[found.text] = f"{name} may change"
        return None
    return name


def _with(line: str, start: int, old: str, new: str) -> str:
    at = line.find(old, start)
    return line[:at] + new + line[at + len(old) :] if at >= 0 else line
