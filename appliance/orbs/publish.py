"""Into our own registry: one orb by hand, or a folder of other people's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import BadRequest
from appliance.language.orb_document import CheckedOrb, check_orb
from appliance.language.orbs import OrbSource
from appliance.orbs.chain import Chain
from appliance.orbs.mirror import Mirror
from appliance.orbs.names import is_exact
from appliance.orbs.nested import settle
from appliance.store import orbs
from appliance.store.database import Tx


@dataclass(frozen=True)
class Draft:
    """An orb ready to be put into the registry under `full_name`; `notes` is for the person who does it."""

    full_name: str
    given: str
    source: str
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return orbs.digest_of(self.source)


def draft(full_name: str, text: str, checked: CheckedOrb, source: OrbSource) -> Draft:
    """What is published for `text`, which has been checked. Raises BadRequest with what stands against it.

    A number stands for one thing for ever, so the orbs it imports must be exact by then; `dev:` may import anything.
    """
    assert checked.is_valid
    _, _, version = orbs.split(full_name)
    settled = settle(text, source)
    if settled.open and is_exact(version):
        reasons = [f"{name} cannot be settled: {reason}" for name, reason in sorted(settled.open.items())]
        advice = f"a published version imports exact ones only; publish those first, or this as dev:LABEL, not {version}"
        raise BadRequest("\n".join([*reasons, advice]))
    return Draft(full_name, text, settled.text)


def drafts_of(folder: Path, own: OrbSource) -> Iterator[Draft | str]:
    """Every orb of a mirror folder, or a line saying why it is left out.

    Other people's orbs may import some that are nowhere to be had: those references stay as they are. `HEAD`, which
    has no number, is imported as `dev:HEAD`.
    """
    mirror = Mirror(folder)
    source = Chain((mirror, own))
    for orb, stem, path in mirror.files():
        full_name = f"{orb}@{_version_of(stem)}"
        try:
            orbs.split(full_name)
            text = path.read_text("utf-8")
        except (BadRequest, OSError, UnicodeError) as error:
            yield f"{path}: {error}"
            continue
        checked = check_orb(text, file=str(path), orbs=source)
        errors = [problem for problem in checked.problems if problem.kind == "error" and problem.code != "orb-not-found"]
        if errors:
            yield from (problem.headline() for problem in errors)
            continue
        settled = settle(text, source)
        notes = tuple(f"{full_name} imports {name}: {reason}" for name, reason in sorted(settled.open.items()))
        yield Draft(full_name, text, settled.text, notes)


def _version_of(stem: str) -> str:
    if stem == "HEAD":
        return "dev:HEAD"
    return "dev:" + stem.removeprefix("dev_") if stem.startswith("dev_") else stem


@dataclass(frozen=True)
class Outcome:
    """What became of one draft."""

    line: str
    is_refused: bool = False


def put_all(tx: Tx, drafts: list[Draft], now_ms: int) -> list[Outcome]:
    """Put drafts in, making the namespaces that are missing.

    What is there already with the same text stays; a number that is there with another text is reported, not replaced.
    """
    return [_put(tx, one, now_ms) for one in drafts]


def _put(tx: Tx, one: Draft, now_ms: int) -> Outcome:
    owner, _, version = orbs.split(one.full_name)
    if orbs.namespace(tx, owner) is None:
        orbs.add_namespace(tx, owner, private_to=None, now_ms=now_ms, is_imported=True)
    known = orbs.exactly(tx, one.full_name)
    if known is not None and is_exact(version):
        if known.given_digest == orbs.digest_of(one.given):
            return Outcome(f"{one.full_name} is there already")
        return Outcome(f"{one.full_name} is there with another text, and stays as it is", is_refused=True)
    orbs.put(tx, one.full_name, given=one.given, source=one.source, now_ms=now_ms)
    return Outcome(f"imported {one.full_name}")
