"""The container that a local run begins before its engine is there, when something is wrong with it."""

from __future__ import annotations

import json
import socketserver
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from appliance import where
from appliance.executors.base import Container, SandboxSpec
from appliance.laptop.ahead import Ahead
from appliance.laptop.guess import Guess
from appliance.settings import Settings

CREATE, DELETE = "POST /containers/create", "DELETE /containers/c1"


def state(folder: Path) -> Path:
    with closing(sqlite3.connect(folder / "rondo.db")) as database:
        database.execute("CREATE TABLE facts (name TEXT, value TEXT)")
        database.execute("INSERT INTO facts VALUES ('instance', 'abc'), ('last_job_number', '0')")
        database.commit()
    return folder


@contextmanager
def engine(socket: Path, start_status: int, asked: list[str]) -> Iterator[str]:
    """What a Docker engine answers to the four requests, and to one that removes a container."""

    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(f"{self.command} {self.path.partition('?')[0]}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status = start_status if self.path.endswith("/start") else 200
            said = {"NCPU": 4, "MemTotal": 8 << 30, "Id": "c1", "Config": {}, "Os": "linux", "Architecture": "amd64"}
            self.send_response(status)
            self.send_header("Api-Version", "1.41")
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None: ...

        def address_string(self) -> str:
            return ""

    with socketserver.ThreadingUnixStreamServer(str(socket), Answers) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"unix://{socket}"
        finally:
            server.shutdown()
            serving.join()


def settings_for(url: str) -> Settings:
    return Settings({"docker.url": url, "jobs.cpus": 64.0, "jobs.memory": 64 << 30})


def spec(settings: Settings, node: str = "1.0", image: str = "debian:12", **primary: Any) -> SandboxSpec:
    container = Container(image=image, **primary)
    return SandboxSpec(node=node, containers=(container,), labels={"rondo.job": "one"}, mounts=where.mounts(settings))


def guess(settings: Settings) -> Guess:
    return Guess(spec=spec(settings, ""), before=0)


@contextmanager
def ahead(settings: Settings, folder: Path) -> Iterator[Ahead]:
    begun = Ahead(settings, folder, "all of it")
    try:
        begun.begin()
        yield begun
    finally:
        begun.close()


def remember(settings: Settings, folder: Path, asked: list[str]) -> None:
    """A first run in `folder`, whose container the next one begins with; nothing was `asked` since."""
    with ahead(settings, state(folder)) as begun:
        begun.correct("config", lambda: guess(settings))
        assert begun.take(spec(settings)) == "c1"
    asked.clear()


def test_settings_that_are_wrong_hold_up_nobody(tmp_path: Path) -> None:
    settings = Settings({"jobs.mounts": ("nowhere",), "docker.url": f"unix://{tmp_path}/none"})
    with ahead(settings, state(tmp_path)) as begun:
        begun.correct("config", lambda: guess(settings))
        found: list[str | None] = []
        asking = threading.Thread(target=lambda: found.append(begun.version()), daemon=True)
        asking.start()
        asking.join(20)
        assert found == [None]


def test_a_container_is_taken_when_it_runs_and_only_then(tmp_path: Path) -> None:
    for status, name in ((204, "good"), (500, "bad")):
        asked: list[str] = []
        folder = tmp_path / name
        folder.mkdir()
        with engine(folder / "engine.sock", status, asked) as url:
            settings = settings_for(url)
            with ahead(settings, state(folder)) as begun:
                begun.correct("config", lambda settings=settings: guess(settings))  # type: ignore[misc]
                assert begun.version() == "v1.41"
                taken = begun.take(spec(settings))
        assert any(each.endswith("/start") for each in asked)
        assert (taken, DELETE in asked) == (("c1", False) if status == 204 else (None, True))


def test_the_next_run_begins_before_it_has_looked_at_the_config(tmp_path: Path) -> None:
    asked: list[str] = []
    with engine(tmp_path / "engine.sock", 204, asked) as url:
        settings = settings_for(url)
        remember(settings, tmp_path, asked)
        with ahead(settings, tmp_path) as begun:
            begun.correct("config", never)
            assert begun.take(spec(settings)) == "c1"
        assert DELETE not in asked
        asked.clear()
        with ahead(settings, tmp_path) as begun:  # another config that wants the same container gets it
            begun.correct("another config", lambda: guess(settings))
            assert begun.take(spec(settings)) == "c1"
        assert asked.count(CREATE) == 1 and DELETE not in asked


@pytest.mark.parametrize(
    "wanted",
    [{"image": "debian:13"}, {"environment": {"N": "2"}}, {"entrypoint": ("init",)}, {"node": "2.0"}],
    ids=["image", "variable", "entrypoint", "job"],
)
def test_a_remembered_container_that_does_not_fit_is_removed(tmp_path: Path, wanted: dict[str, Any]) -> None:
    asked: list[str] = []
    with engine(tmp_path / "engine.sock", 204, asked) as url:
        settings = settings_for(url)
        with ahead(settings, state(tmp_path)) as begun:
            begun.correct("config", lambda: guess(settings))
            assert begun.take(spec(settings)) == "c1" and DELETE not in asked
        with ahead(settings, tmp_path) as begun:
            begun.correct("config", never)
            assert begun.take(spec(settings, **wanted)) is None
        assert DELETE in asked
        asked.clear()
        for _ in range(2):  # once bitten; then, where it can, it has learnt
            with ahead(settings, tmp_path) as begun:
                begun.correct("config", lambda: None)
                taken = begun.take(spec(settings, **wanted))
            assert DELETE not in asked
        assert taken == (None if "entrypoint" in wanted else "c1")


def test_the_engine_is_asked_for_its_room_again_only_by_what_was_cut_to_it(tmp_path: Path) -> None:
    asked: list[str] = []
    with engine(tmp_path / "engine.sock", 204, asked) as url:  # of 4 CPUs
        settings = settings_for(url)
        state(tmp_path)
        for cpus, asks in ((2.0, False), (16.0, True)):
            wanted = replace(spec(settings), cpus=cpus)
            with ahead(settings, tmp_path) as begun:
                begun.correct(str(cpus), lambda wanted=wanted: Guess(spec=wanted, before=0))  # type: ignore[misc]
                assert begun.take(wanted) == "c1"
            asked.clear()
            with ahead(settings, tmp_path) as begun:
                begun.correct(str(cpus), never)
                assert begun.take(wanted) == "c1"
            assert ("GET /info" in asked) is asks


def test_what_is_remembered_goes_when_the_config_says_otherwise(tmp_path: Path) -> None:
    asked: list[str] = []
    with engine(tmp_path / "engine.sock", 204, asked) as url:
        settings = settings_for(url)
        remember(settings, tmp_path, asked)
        with ahead(settings, tmp_path) as begun:
            begun.correct("another", lambda: Guess(spec=spec(settings, "", "debian:13"), before=0))
            assert begun.take(spec(settings, image="debian:13")) == "c1"
        assert [each for each in asked if each in (CREATE, DELETE)] == [CREATE, DELETE, CREATE]


def test_nothing_is_begun_for_other_wishes_or_where_it_may_not_be(tmp_path: Path) -> None:
    asked: list[str] = []
    with engine(tmp_path / "engine.sock", 204, asked) as url:
        settings = settings_for(url)
        remember(settings, tmp_path, asked)
        for words, begins in (("only a part", True), ("all of it", False)):
            begun = Ahead(settings, tmp_path, words)
            if begins:
                begun.begin()
            begun.correct("config", lambda: None)
            assert begun.take(spec(settings)) is None
            begun.close()
        assert CREATE not in asked


def never() -> Guess:
    raise AssertionError("nobody had to look")
