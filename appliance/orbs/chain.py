"""Several sources of orbs as one: the first that has an orb gives it."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.language.orbs import OrbDocument, OrbSource
from appliance.orbs.names import Final


class Chain:
    """An `OrbSource` over others, asked in their order. When none has it, all say why."""

    def __init__(self, sources: Sequence[OrbSource]) -> None:
        self._sources = sources

    def resolve(self, reference: str) -> OrbDocument:
        reasons: list[str] = []
        for source in self._sources:
            try:
                return source.resolve(reference)
            except Final:
                raise
            except LookupError as error:
                reasons.append(str(error).removesuffix("."))
        raise LookupError("; ".join(reasons) + "." if reasons else "no source of orbs is set up.")
