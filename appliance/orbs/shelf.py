"""All sources of orbs in their order, as one compilation sees them: our registry, the mirror, the public registry, URLs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.clock import Clock
from appliance.language.orbs import OrbSource
from appliance.orbs.chain import Chain
from appliance.orbs.lock import Locked
from appliance.orbs.mirror import Mirror
from appliance.orbs.registry import Registry
from appliance.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """What an appliance, or a command, has at hand. `database` None: no registry of its own."""

    clock: Clock
    database: Path | None = None
    mirrors: Sequence[OrbSource] = ()

    def source(self, org: str | None, lock: str | None = None) -> OrbSource:
        """The `OrbSource` of one compilation for a project of `org`; with the text of a lock file, bound by it."""
        chain = Chain(self._registries(org))
        return chain if lock is None else Locked(chain, lock)

    def _registries(self, org: str | None) -> Sequence[OrbSource]:
        own = [Registry(self.database, self.clock, org)] if self.database is not None else []
        return (*own, *self.mirrors)


def from_settings(settings: Settings, data: Path, clock: Clock, first: Sequence[OrbSource] = ()) -> Shelf:
    """The sources that the settings switch on; `first` are asked before the settings' mirror."""
    database = data / "rondo.db"
    mirror = settings.text("orbs.mirror")
    return Shelf(
        clock=clock,
        database=database if database.exists() else None,
        mirrors=[*first, *([Mirror(Path(mirror))] if mirror else [])],
    )
