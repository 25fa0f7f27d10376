"""A door in a process of its own, to be killed: `python doorman.py FOLDER`. Says its port once it is open."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.sshd.pipelines import intake
from tests.sshd.world import world


async def main(folder: Path) -> None:
    async with world(folder) as here, intake(here):
        print(here.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
