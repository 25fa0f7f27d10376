"""The container that a local run begins before its engine is there, when something is wrong with it."""

from __future__ import annotations

import json
import socketserver
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from appliance import where
from appliance.engine import placement
from appliance.language import plan as plans
from appliance.laptop.ahead import Ahead
from appliance.settings import Settings

JOB = plans.Job(name="one", executor=plans.Docker(images=(plans.DockerImage(image="debian:12"),)))
PLAN = plans.Plan(version="2.1", workflows=(plans.Workflow(name="w", jobs=(JOB,)),))


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


def spec(settings: Settings) -> object:
    places = where.places(settings)
    placed = placement.place(JOB, places, is_trusted=True)
    assert isinstance(placed, placement.Placement)
    return placement.spec("1.0", JOB, placed, places, {})


def test_settings_that_are_wrong_hold_up_nobody(tmp_path: Path) -> None:
    settings = Settings({"jobs.mounts": ("nowhere",), "docker.url": f"unix://{tmp_path}/none"})
    begun = Ahead(settings, state(tmp_path), PLAN)
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(begun.version()), daemon=True)
    asking.start()
    asking.join(20)
    assert found == [None]
    begun.discard()


def test_a_container_is_taken_when_it_runs_and_only_then(tmp_path: Path) -> None:
    for status, name in ((204, "good"), (500, "bad")):
        asked: list[str] = []
        folder = tmp_path / name
        folder.mkdir()
        with engine(folder / "engine.sock", status, asked) as url:
            settings = Settings({"docker.url": url, "jobs.cpus": 64.0, "jobs.memory": 64 << 30})
            begun = Ahead(settings, state(folder), PLAN)
            assert begun.version() == "v1.41"
            taken = begun.take(spec(settings))  # type: ignore[arg-type]
            begun.discard()
        assert any(each.endswith("/start") for each in asked)
        assert (taken, "DELETE /containers/c1" in asked) == (("c1", False) if status == 204 else (None, True))
