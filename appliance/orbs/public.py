"""Orbs from a public registry, over its GraphQL API; off unless it is switched on.

What is asked: `orbVersion(orbVersionRef: "circleci/node@5")`, which resolves open versions as well, and for a better
answer than "no" which versions there are. No token is ever sent, so private orbs stay where they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from appliance.language.orbs import OrbDocument
from appliance.orbs.cache import Cache
from appliance.orbs.fetch import Fetcher
from appliance.orbs.names import Reference, Unreachable, fits, is_exact, listed, parse

PATH = "/graphql-unstable"
_ONE = "query ($ref: String!) { orbVersion(orbVersionRef: $ref) { version source } }"
_ALL = "query ($name: String!) { orb(name: $name) { versions(count: 20) { version } } }"


class Public:
    """An `OrbSource` over the registry at `base_url`. Exact versions are asked for once in a lifetime."""

    def __init__(self, fetcher: Fetcher, base_url: str, cache: Cache, refresh_s: float) -> None:
        self._fetcher = fetcher
        self._url = base_url.rstrip("/") + PATH
        self._cache = cache
        self._refresh_s = refresh_s

    def resolve(self, reference: str) -> OrbDocument:
        """The orb named so. Raises LookupError with the reason."""
        wanted = parse(reference)
        if wanted is None:
            raise LookupError("a registry has orbs by namespace/name@version only.")
        fresh_s = math.inf if wanted.is_exact else self._refresh_s
        return self._cache.answer(self._question(reference), fresh_s, lambda: self._ask(wanted, reference))

    def _question(self, reference: str) -> str:
        return f"{self._url} {reference}"

    def _ask(self, wanted: Reference, reference: str) -> OrbDocument:
        found = self._query(_ONE, {"ref": reference}).get("orbVersion")
        if found is None:
            raise LookupError(self._absence(wanted))
        version, source = (found.get("version"), found.get("source")) if isinstance(found, dict) else (None, None)
        if not isinstance(version, str) or not isinstance(source, str) or not fits(wanted.version, version):
            raise LookupError("the public registry gave an answer that does not fit the question.")
        document = OrbDocument(source, f"{wanted.orb}@{version}")
        if is_exact(version) and version != wanted.version:
            self._cache.keep(self._question(document.name), document)
        return document

    def _absence(self, wanted: Reference) -> str:
        orb = self._query(_ALL, {"name": wanted.orb}).get("orb")
        if not isinstance(orb, dict):
            return f"the public registry has no {wanted.orb}."
        rows = orb.get("versions")
        versions = [row.get("version") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        shown = listed([version for version in versions if isinstance(version, str) and len(version) < 64])
        return f"the public registry has other versions of it only: {shown}."

    def _query(self, query: str, variables: Mapping[str, str]) -> Mapping[str, object]:
        """The `data` of an answer. Raises LookupError with what the registry complains of."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        try:
            answer = json.loads(self._fetcher.post(self._url, body, "application/json"))
        except (ValueError, RecursionError):
            raise Unreachable("the public registry's answer is not JSON.") from None
        data = answer.get("data") if isinstance(answer, dict) else None
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors:
            raise Unreachable(f"the public registry complains: {_first(errors)}.")
        if not isinstance(data, dict):
            raise Unreachable("the public registry's answer has no data.")
        return data


def _first(errors: object) -> str:
    first = errors[0] if isinstance(errors, list) else errors
    message = first.get("message") if isinstance(first, dict) else None
    return ascii(str(message or "no reason given")[:300])[1:-1].rstrip(".")
