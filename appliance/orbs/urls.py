"""Orbs by URL, `https://…/orb.yml`: only below prefixes that were allowed, so many per config, so deep."""

from __future__ import annotations

import re

from appliance.errors import SettingsError
from appliance.language.orb_document import references_of
from appliance.language.orbs import OrbDocument
from appliance.orbs.cache import Cache
from appliance.orbs.fetch import Fetcher, place_of

MOST_PREFIXES = 5
MOST_PER_CONFIG = 50
DEEPEST = 5
FRESH_S = 300.0
_CLIMBS = re.compile(r"(?:^|/|%2f|%5c)(?:\.|%2e){1,2}(?:$|[/?;]|%2f|%5c|%3b)|%2f|%5c|%00", re.IGNORECASE)


def checked_prefixes(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The prefixes of the settings, in their usual form. Raises SettingsError."""
    problems = []
    if len(texts) > MOST_PREFIXES:
        problems.append(f"orbs.urls: {len(texts)} prefixes; at most {MOST_PREFIXES} may be allowed")
    for text in texts:
        if not (text.startswith("https://") and text.endswith("/") and _is_plain(text) and "?" not in text):
            problems.append(f"orbs.urls: {text!r} must be an https URL that ends with /")
    if problems:
        raise SettingsError(problems)
    return tuple(_usual(text) for text in texts)


def _is_plain(url: str) -> bool:
    try:
        place = place_of(url)
    except LookupError:
        return False
    return not _CLIMBS.search(place.path)


def _usual(url: str) -> str:
    """A URL that is the same text for the same place: host in small letters, the usual port left out."""
    place = place_of(url)
    host = f"[{place.host}]" if ":" in place.host else place.host.rstrip(".")
    port = "" if place.port == 443 else f":{place.port}"
    return f"{place.scheme}://{host}{port}{place.path}"


class Urls:
    """URL orbs for all configs; `for_config` counts for one."""

    def __init__(self, fetcher: Fetcher, prefixes: tuple[str, ...], cache: Cache) -> None:
        self._fetcher = fetcher
        self._prefixes = prefixes
        self._cache = cache

    def for_config(self) -> UrlsOfConfig:
        return UrlsOfConfig(self)

    def is_allowed(self, url: str) -> bool:
        if not url.startswith("https://") or not _is_plain(url):
            return False
        return any(_usual(url).startswith(prefix) for prefix in self._prefixes)

    def fetch(self, url: str) -> OrbDocument:
        """The orb there, at most five minutes old. Raises LookupError."""
        if not self.is_allowed(url):
            allowed = ", ".join(self._prefixes) or "none"
            raise LookupError(f"URLs of orbs must begin with what the administrator allowed: {allowed}.")
        return self._cache.answer(f"url {url}", FRESH_S, lambda: self._get(url))

    def _get(self, url: str) -> OrbDocument:
        body = self._fetcher.get(url, self.is_allowed)
        try:
            return OrbDocument(body.decode("utf-8"), url)
        except UnicodeDecodeError:
            raise LookupError("it is not UTF-8 text.") from None


class UrlsOfConfig:
    """An `OrbSource` for one compilation. It is asked once for each URL, so it counts what it is asked.

    How deep a URL stands is not asked, but known: an orb that came from here says which ones it imports.
    """

    def __init__(self, urls: Urls) -> None:
        self._urls = urls
        self._count = 0
        self._depth: dict[str, int] = {}

    def resolve(self, reference: str) -> OrbDocument:
        self._count += 1
        if self._count > MOST_PER_CONFIG:
            raise LookupError(f"a config may import {MOST_PER_CONFIG} orbs by URL at most.")
        depth = self._depth.get(reference, 1)
        if depth > DEEPEST:
            raise LookupError(f"orbs by URL may import each other {DEEPEST} deep at most.")
        document = self._urls.fetch(reference)
        for nested in references_of(document.text):
            self._depth.setdefault(nested.text, depth + 1)
        return document
