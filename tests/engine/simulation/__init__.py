"""Seeded worlds around the engine's transactions: whoever acts, in whatever order, crashes included, the rows stay right.

A world is two projects with a few pipelines of random graphs in a real SQLite database, and actors that are drawn by a
seed: the forge (events late, lost and doubled), intake (setup configs and what continues them, in and out of order), the
scheduler with its claims on machines that come and go, runners (ends reported twice, or after a cancel), people who
approve, cancel, rerun and change settings, the clock with schedules and patience, and a crash, between transactions or
inside one. After every move the invariants are looked at; at its end a world is left alone until nothing is left to do.

The transactions are handed in, so that a test can plant a bug and see it caught. `python -m tests.engine.simulation`
runs as many worlds as one likes.
"""

from __future__ import annotations

import random
import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from tests.engine.simulation.acts import Act, settle, step, weights
from tests.engine.simulation.pool import Wrong as Wrong
from tests.engine.simulation.world import MOVES as MOVES
from tests.engine.simulation.world import World
from tests.engine.simulation.world import template as template

STEPS = 70


def run_world(seed: int, empty: sqlite3.Connection, moves: Any = MOVES, much: Sequence[Act] = ()) -> World:
    """A world from its seed to its end, with `much` of something. Raises Wrong with the seed and the last moves."""
    ids = random.Random(seed)
    random.seed(seed)
    # Ids of rows are drawn from the seed too: they decide on orders here and there, and a world is to come again.
    with patch("uuid.uuid4", lambda: uuid.UUID(int=ids.getrandbits(128), version=4)):
        world = World(seed, empty, moves)
        try:
            likely = weights(world, much)
            for _ in range(STEPS):
                step(world, likely)
            settle(world)
        except Wrong as wrong:
            raise Wrong(f"world {seed}: {wrong}\n  " + "\n  ".join(world.told[-15:])) from None
        except Exception as error:
            error.add_note(f"in world {seed}, after " + ", ".join(world.told[-3:]))
            raise
        finally:
            world.tx.close()
    return world
