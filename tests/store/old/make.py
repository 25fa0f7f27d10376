"""python -m tests.store.old.make COMMIT: writes NNNN.sql beside this file, the database of an old appliance with a history.

In it: a pipeline that has ended but for an approval, one that is errored, and one whose job runs. The old code makes it
all by itself; run this only for another old version.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.store.old.appliance import CONFIG, ENDED, LONG, Old, source_of
from tests.whole import end_jobs_of_this_host


async def _history(old: Old, go: Path) -> None:
    await old.process.start()
    try:
        old.furnish()
        await old.push(CONFIG, "Make things")
        await old.until(1, ENDED)
        await old.push("version: 2.1\njobs: 3\n", "Break the config")
        await old.push(LONG.replace("GO", str(go)), "Take long")
        await old.until(3, {"w/long": "running"})
    finally:
        await old.process.kill()
        await end_jobs_of_this_host(old.place)


def main(commit: str) -> None:
    with tempfile.TemporaryDirectory(prefix="rondo-old-") as name, source_of(commit, Path(name) / "source") as source:
        old = Old(source, Path(name))
        asyncio.run(_history(old, Path("/nowhere/go")))
        with closing(sqlite3.connect(old.place.data / "rondo.db")) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            text = "\n".join(database.iterdump())
        port = (old.place.data / "web_url").read_text().rsplit(":", 1)[1]
        assert name not in text, "the dump names a folder of this machine"
        text = re.sub(rf"127\.0\.0\.1:({port}|\d{{4,5}})", "127.0.0.1:8000", text)
        out = Path(__file__).with_name(f"{version:04}.sql")
        out.write_text(f"{text}\nPRAGMA user_version = {version};\n")
        print(out)


if __name__ == "__main__":
    main(sys.argv[1])
