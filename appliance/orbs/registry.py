"""Orbs from the appliance's own registry, for the projects of one organisation.

The database is opened anew for each question: a compiler asks a few times, from a thread of its own, and a connection
belongs to the thread that made it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from appliance.clock import Clock
from appliance.language.orbs import OrbDocument
from appliance.orbs.names import Final, Reference, did_you_mean, listed, parse
from appliance.store import orbs
from appliance.store.database import Tx, open_to_read


class Registry:
    """An `OrbSource` over the store. `org` is whose project asks; None: nobody's, so private orbs are not there.

    A namespace that was made here answers for all its orbs: what it lacks is not looked for elsewhere, where anybody
    might own a namespace of the same name. One that was only imported lets others answer for the rest.
    """

    def __init__(self, database: Path, clock: Clock, org: str | None) -> None:
        self._database = database
        self._clock = clock
        self._org = org

    def resolve(self, reference: str) -> OrbDocument:
        """The orb named so. Raises LookupError with the reason; Final when the namespace is ours."""
        found = parse(reference)
        if found is None:
            raise LookupError("the registry of this Rondo holds orbs by namespace/name@version only.")
        try:
            with closing(open_to_read(self._database)) as tx:
                return self._look_up(tx, found)
        except sqlite3.Error as error:
            raise Final(f"the registry of this Rondo cannot be read: {error}.") from error

    def _look_up(self, tx: Tx, wanted: Reference) -> OrbDocument:
        namespace = orbs.namespace(tx, wanted.namespace)
        if namespace is None:
            near = did_you_mean(wanted.namespace, [one.name for one in orbs.namespaces(tx) if one.is_open_to(self._org)])
            raise LookupError(f"the registry of this Rondo has no namespace {wanted.namespace}.{near}")
        if not namespace.is_open_to(self._org):
            raise Final(f"the namespace {wanted.namespace} has no orbs for this project.")
        version = orbs.resolve(tx, wanted.namespace, wanted.name, wanted.version, self._clock.now_ms())
        if version is not None:
            return OrbDocument(version.source, version.full_name)
        problem = self._absence(tx, wanted)
        raise LookupError(problem) if namespace.is_imported else Final(problem)

    def _absence(self, tx: Tx, wanted: Reference) -> str:
        versions = orbs.versions(tx, wanted.namespace, wanted.name, self._clock.now_ms())
        if versions:
            return f"the registry of this Rondo has other versions of it only: {listed(versions)}."
        names = orbs.names(tx, wanted.namespace)
        return f"the registry of this Rondo has no {wanted.orb}.{did_you_mean(wanted.name, names)}"
