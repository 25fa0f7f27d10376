"""All sources of orbs in their order, as one compilation sees them: our registry, the mirror, the public registry, URLs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.clock import Clock
from appliance.errors import SettingsError
from appliance.language.orbs import OrbDocument, OrbSource
from appliance.orbs.addresses import networks_of
from appliance.orbs.cache import Cache
from appliance.orbs.chain import Chain
from appliance.orbs.fetch import Fetcher, place_of
from appliance.orbs.lock import Locked
from appliance.orbs.mirror import Mirror
from appliance.orbs.public import Public
from appliance.orbs.registry import Registry
from appliance.orbs.urls import Urls, checked_prefixes
from appliance.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """What an appliance, or a command, has at hand; None is what it has not.

    `patience_s`: the world outside is asked no more for a compilation that has waited for it as long.
    """

    clock: Clock
    database: Path | None = None
    mirrors: Sequence[OrbSource] = ()
    public: Public | None = None
    urls: Urls | None = None
    patience_s: float = 60.0

    def source(self, org: str | None, lock: str | None = None) -> OrbSource:
        """The `OrbSource` of one compilation for a project of `org`; with the text of a lock file, bound by it."""
        registries: list[OrbSource] = [*self.mirrors]
        if self.database is not None:
            registries.insert(0, Registry(self.database, self.clock, org))
        patience = _Patience(self.clock, self.patience_s)
        if self.public is not None:
            registries.append(_Patient(self.public, patience))
        urls = _Patient(self.urls.for_config(), patience) if self.urls is not None else None
        both = _ByForm(Chain(registries), urls)
        return both if lock is None else Locked(both, lock)


class _ByForm:
    """A URL is fetched, everything else is looked up."""

    def __init__(self, registries: OrbSource, urls: OrbSource | None) -> None:
        self._registries = registries
        self._urls = urls

    def resolve(self, reference: str) -> OrbDocument:
        if not reference.startswith("https://"):
            return self._registries.resolve(reference)
        if self._urls is None:
            raise LookupError("orbs by URL are not allowed here; the administrator may allow prefixes in orbs.urls.")
        return self._urls.resolve(reference)


class _Patience:
    """The time that one compilation may still wait for the world outside."""

    def __init__(self, clock: Clock, left_s: float) -> None:
        self.clock = clock
        self.whole_s = left_s
        self.left_s = left_s


class _Patient:
    """A source that gives up when the patience is used up; many orbs shared by one slow server must not hold up all."""

    def __init__(self, source: OrbSource, patience: _Patience) -> None:
        self._source = source
        self._patience = patience

    def resolve(self, reference: str) -> OrbDocument:
        patience = self._patience
        if patience.left_s <= 0:
            raise LookupError(f"fetching the orbs of this config took longer than {patience.whole_s:g} s.")
        begun_s = patience.clock.monotonic_s()
        try:
            return self._source.resolve(reference)
        finally:
            patience.left_s -= patience.clock.monotonic_s() - begun_s


def from_settings(settings: Settings, data: Path, clock: Clock, first: Sequence[OrbSource] = ()) -> Shelf:
    """The sources that the settings switch on; `first` are asked before the settings' mirror. Raises SettingsError."""
    database = data / "rondo.db"
    mirror = settings.text("orbs.mirror")
    fetcher = Fetcher(
        networks=networks_of(settings.items("orbs.networks")),
        timeout_s=settings.number("orbs.timeout"),
        largest_bytes=settings.integer("orbs.largest"),
    )
    cache = Cache(data / "orbs", clock)
    prefixes = checked_prefixes(settings.items("orbs.urls"))
    return Shelf(
        clock=clock,
        database=database if os.access(database, os.R_OK) else None,
        mirrors=[*first, *([Mirror(Path(mirror))] if mirror else [])],
        public=_public(settings, fetcher, cache) if settings.is_on("orbs.public") else None,
        urls=Urls(fetcher, prefixes, cache) if prefixes else None,
        patience_s=settings.number("orbs.longest"),
    )


def _public(settings: Settings, fetcher: Fetcher, cache: Cache) -> Public:
    base_url = settings.text("orbs.public_url")
    try:
        place_of(base_url)
    except LookupError as error:
        raise SettingsError([f"orbs.public_url: {error}"]) from None
    return Public(fetcher, base_url, cache, settings.number("orbs.refresh"))
