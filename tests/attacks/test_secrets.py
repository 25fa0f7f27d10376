"""Ways by which a secret could get into a log, a message or somebody's process list; and what masking it may cost."""

from __future__ import annotations

import secrets
import tracemalloc
from pathlib import Path

from appliance.crypto import SecretBox, load_or_make_key
from appliance.engine.logs import LogWriter, Masker, needles
from appliance.store import projects
from appliance.store.database import Tx
from tests.whole import ON_THIS_HOST, house, served

LONG = "".join(f"{number:08x}" for number in range(1 << 13))  # 64 KiB, the largest that the API takes


def test_the_longest_secret_costs_little_memory_and_is_masked_whole() -> None:
    tracemalloc.start()
    try:
        masker = Masker(needles([LONG]))
        cut = len(LONG) // 2
        out = masker.feed(b"before " + LONG[:cut].encode()) + masker.feed(LONG[cut:].encode() + b" after") + masker.end()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert out.startswith(b"before ****") and out.endswith(b"**** after")
    assert not out.removeprefix(b"before ").removesuffix(b" after").strip(b"*")
    assert peak < 20 << 20


def test_a_secret_beside_the_longest_one_is_held_back_and_masked() -> None:
    masker = Masker(needles([LONG, "hunter2secret"]))
    out = b"".join(masker.feed(bytes([byte])) for byte in b"x hunter2secret y") + masker.end()
    assert out == b"x **** y"


def test_words_of_ours_are_masked_too(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "a.log", needles(["hunter2secret"])) as writer:
        writer.say("No cache is found for key: v1-hunter2secret\n")
    assert (tmp_path / "a.log").read_text() == "No cache is found for key: v1-****\n"


async def test_a_cache_key_or_a_file_name_gives_no_secret_away(tmp_path: Path) -> None:
    """What a step of ours says is in the log, its message in the database and on the page."""
    secret = secrets.token_urlsafe(24)
    config = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: mkdir out && echo x > "out/$TOKEN" && echo y > "out/other"
      - restore_cache: {key: "v1-{{ .Environment.TOKEN }}"}
      - save_cache: {key: "v1-{{ .Environment.TOKEN }}", paths: [out]}
      - store_artifacts: {path: out}
      - persist_to_workspace: {root: out, paths: [other]}
      - save_cache: {key: "v2-{{ checksum \\"none\\" }}-{{ .Environment.TOKEN }}", paths: [out]}
"""
    async with house(tmp_path, ON_THIS_HOST, {"TOKEN": secret}) as (place, _):
        await place.commit({".circleci/config.yml": config})
        await place.push()
        seen = await place.ended()
        assert "No cache is found for key: v1-****" in seen.logs["build"]
        assert secret not in seen.logs["build"]
        assert not [step.message for step in seen.steps["build"] if secret in step.message]


def test_megabytes_of_secrets_are_masked() -> None:
    """Contexts hold up to 100 values of 32 KiB each: as one pattern they were refused, and no job could run."""
    values = [secrets.token_urlsafe(24_000) for _ in range(100)]
    masker = Masker(needles(values))
    out = masker.feed(b"before " + values[50].encode() + b" after") + masker.end()
    assert out.startswith(b"before ****") and out.endswith(b"**** after") and len(out) < 200


async def test_a_secret_that_was_changed_while_its_job_ran_stays_masked_after_a_crash(tmp_path: Path) -> None:
    """The job still knows the old one; the rows know only the new one."""
    config = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: |
          echo "early $TOKEN"
          until [ -e "$HOME/go" ]; do sleep 0.1; done
          echo "late $TOKEN"
      - run: echo "new $TOKEN"
"""
    async with served(tmp_path, ON_THIS_HOST, {"TOKEN": "the-old-secret"}) as (place, process):
        await place.commit({".circleci/config.yml": config})
        await place.push()

        await place.said("early ****")
        (kept,) = place.read(_kept)
        assert b"the-old-secret" not in kept
        await process.kill()
        box = SecretBox(load_or_make_key(place.data / "secret_key"))
        project = place.read(lambda tx: projects.find(tx, "acme/app"))
        place.read(lambda tx: projects.set_secret(tx, box, project.id, "TOKEN", "the-new-secret", 2))
        await process.start()
        next((place.data / "sandboxes").glob("*/home")).joinpath("go").touch()
        log = (await place.ended()).logs["build"]
        assert "late ****" in log and "new ****" in log
        assert "the-old-secret" not in log and "the-new-secret" not in log
        assert place.read(_kept) == []


def _kept(tx: Tx) -> list[bytes]:
    """Of nodes that run: what their logs must not show."""
    return [row["secrets"] for row in tx.execute("SELECT secrets FROM nodes WHERE secrets IS NOT NULL")]
