"""`rondo project caches`: what a project has cached, and throwing it out."""

from __future__ import annotations

import argparse

from appliance.cli.place import add_options, project_of, store_of
from appliance.errors import BadRequest
from appliance.quantities import counted


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser("caches", help="list what a project has cached, or delete some of it")
    parser.add_argument("name", metavar="ORG/REPO")
    parser.add_argument("--delete", metavar="PREFIX", help="delete every cache whose key begins with PREFIX")
    add_options(parser)
    parser.set_defaults(run=_caches)


def _caches(args: argparse.Namespace) -> int:
    from appliance.api.wire import time_of
    from appliance.blobs import Blobs
    from appliance.store import caches

    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        if args.delete is not None:
            if not args.delete:
                raise BadRequest("--delete wants the beginning of a key")
            gone = store.write(lambda tx: caches.remove_prefix(tx, project.id, args.delete))
            blobs = Blobs(store.data / "blobs")
            for cache_id in gone:
                blobs.drop(Blobs.CACHES, cache_id)
            print(f"deleted {counted(len(gone), 'cache')} of {project.name}")
            return 0
        for cache in caches.of_project(store.tx, project.id):
            print(f"{time_of(cache.used_at_ms)}  {cache.size_bytes / 1e6:10.1f} MB  {cache.shown}")
    return 0
