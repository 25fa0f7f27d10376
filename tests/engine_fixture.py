"""A working Docker engine for the tests: the one that answers, or a private dockerd of our own.

The private engine is shared by all test runs of one user on this machine: its data root is a cache (images are made
once), each run holds a shared lock while it uses the engine, and the last one out stops it. Nothing of it touches
another engine: own data root, exec root, socket, pid file and bridge. (`--bridge=none` would delete the docker0
of a first engine.)

    python tests/engine_fixture.py serve    keeps the engine up and prints its socket, until Ctrl-C
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

BUSYBOX = "rondo-test/busybox:latest"
DEBIAN = "rondo-test/debian:latest"
NO_SHELL = "rondo-test/noshell:latest"

BUILD_IMAGE = Path(__file__).resolve().parents[1] / "packaging" / "test-images" / "build.sh"
PATH_OF_IMAGES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class EngineUnavailable(Exception):
    """There is no engine here and none can be made; the text says why."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers and has the test images."""

    socket: str  # a path
    is_private: bool

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def host(self) -> str:
        """The address by which containers reach this host."""
        return "172.29.0.1" if self.is_private else "172.17.0.1"


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "rondo-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """An engine with the test images, for as long as the block runs. Raises EngineUnavailable."""
    found = _answering_socket()
    if found is not None:
        add_images(found)
        yield Engine(found, is_private=False)
        return
    require_rights()
    private = PrivateEngine(cache_folder() / "engine", bridge="rondotest0", subnet="172.29.0.1/16")
    with private.shared():
        add_images(private.socket)
        yield Engine(private.socket, is_private=True)


def require_rights() -> None:
    """Raise EngineUnavailable unless a private engine can be started here."""
    if os.geteuid() != 0:
        raise EngineUnavailable("no Docker engine answers, and only root can start a private one")
    with one_at_a_time(cache_folder() / "install.lock"):
        if shutil.which("dockerd") is None or shutil.which("iptables") is None:
            if shutil.which("apt-get") is None:
                raise EngineUnavailable("no Docker engine answers, and there is no apt-get to install one with")
            _install("docker.io", "iptables")


def _answering_socket() -> str | None:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return None
    path = host.removeprefix("unix://")
    return path if answers(path) else None


def _install(*packages: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages]
    update = ["apt-get", "-qq", "update"]
    for argv in (command, update, command):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0 and argv is command:
            return
    raise EngineUnavailable(f"cannot install {', '.join(packages)}: {done.stderr.strip()[-300:]}")


class PrivateEngine:
    """A dockerd of our own under `folder`. Several processes may share it; see `shared`."""

    def __init__(self, folder: Path, *, bridge: str, subnet: str, options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.bridge = bridge
        self.subnet = subnet
        self.options = options
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def socket(self) -> str:
        return str(self.folder / "docker.sock")

    @property
    def _pid_file(self) -> Path:
        return self.folder / "docker.pid"

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Start it unless another process has; the last one out stops it."""
        with (self.folder / "users.lock").open("w") as users:
            with self._alone():
                fcntl.flock(users, fcntl.LOCK_SH)
                if not answers(self.socket):
                    self.start()
            try:
                yield
            finally:
                with self._alone():
                    if _try_lock(users):
                        self.stop()

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """As `shared`, but nobody else has it: it may be restarted, killed and emptied. Waits for who has it now."""
        with one_at_a_time(self.folder / "owner.lock"):
            with self.shared():
                yield
            self._remove_bridge()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Starting and stopping exclude each other, over processes."""
        with one_at_a_time(self.folder / "start.lock"):
            yield

    def start(self) -> None:
        self._add_bridge()
        log = (self.folder / "dockerd.log").open("ab")
        process = subprocess.Popen(self._argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        # Somebody has to reap it when it ends in our life time; else os.kill(pid, 0) sees a zombie and waits on.
        threading.Thread(target=process.wait, daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(self.socket):
            if process.returncode is not None or time.monotonic() > deadline:
                raise EngineUnavailable(f"dockerd does not start; its log ends with: {self._log_tail()}")
            time.sleep(0.05)

    def _argv(self) -> list[str]:
        return [
            "dockerd",
            *("--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self._pid_file)),
            *("--host", f"unix://{self.socket}"),
            *("--bridge", self.bridge),
            *("--log-level", "warn"),
            *self.options,
        ]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End this engine (and no other) and wait for it."""
        try:
            pid = int(self._pid_file.read_text())
            os.kill(pid, how)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while _is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        if how is signal.SIGKILL:
            self._pid_file.unlink(missing_ok=True)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()

    def _remove_bridge(self) -> None:
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)

    def _add_bridge(self) -> None:
        for argv in (
            ["ip", "link", "add", self.bridge, "type", "bridge"],
            ["ip", "addr", "add", self.subnet, "dev", self.bridge],
            ["ip", "link", "set", self.bridge, "up"],
        ):
            subprocess.run(argv, capture_output=True, check=False)  # it may be there from last time

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "dockerd.log").read_text(errors="replace")[-500:]
        return ""


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Blocks of several processes exclude each other; which ones, the file says."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def answers(path: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return request(path, "GET", "/_ping", timeout_s=5.0)[0] == 200
    return False


def add_images(path: str) -> None:
    """Give the engine the test images it lacks."""
    add_image(path, BUSYBOX, "busybox", ['CMD ["sh"]'])
    add_image(path, DEBIAN, "debian", ['CMD ["bash"]'])
    with one_at_a_time(cache_folder() / "images.lock"):
        if not _has_image(path, NO_SHELL):
            _import_image(path, NO_SHELL, _root_without_shell(), ['CMD ["/nothing"]'])


def add_image(path: str, name: str, root: str, changes: list[str]) -> None:
    """Import image `name` from the root file system `root` ("busybox", "debian") unless it is there."""
    with one_at_a_time(cache_folder() / "images.lock"):
        if not _has_image(path, name):
            _import_image(path, name, cached_root(root), changes)


def add_packages(path: str, name: str, base: str, *packages: str, changes: Mapping[str, Any] | None = None) -> None:
    """Make image `name` of `base` and the files of some Debian packages, unless it is there. They are not configured.

    `changes`: of the image, as the engine calls them (User, Env).
    """
    with one_at_a_time(cache_folder() / "images.lock"):
        if not _has_image(path, name):
            _commit_packages(path, name, base, packages, changes or {})


def _commit_packages(path: str, name: str, base: str, packages: Sequence[str], changes: Mapping[str, Any]) -> None:
    made = request_json(path, "POST", "/containers/create", {"Image": base})["Id"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            _run("apt-get", "-qq", "download", *packages, cwd=folder)
            for package in sorted(Path(folder).glob("*.deb")):
                tar = _run("dpkg-deb", "--fsys-tarfile", package.name, cwd=folder)
                with io.BytesIO(tar) as body:
                    status, answer = request(path, "PUT", f"/containers/{made}/archive?path=/", body=body)
                assert status == 200, answer
        repository, _, tag = name.partition(":")
        query = urlencode({"container": made, "repo": repository, "tag": tag})
        request_json(path, "POST", f"/commit?{query}", changes)
    finally:
        request(path, "DELETE", f"/containers/{made}")


def _run(*argv: str, cwd: str) -> bytes:
    # apt drops its rights, and then cannot write where only root can.
    Path(cwd).chmod(0o777)
    done = subprocess.run(argv, cwd=cwd, capture_output=True, check=False)
    if done.returncode != 0:
        raise EngineUnavailable(f"{argv[0]} failed: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout


def cached_root(name: str) -> Path:
    tar = cache_folder() / f"{name}.tar"
    with one_at_a_time(cache_folder() / f"{name}.lock"):
        if not tar.exists():
            part = tar.with_suffix(".part")
            with part.open("wb") as out:
                done = subprocess.run([BUILD_IMAGE, name], stdout=out, stderr=subprocess.PIPE, check=False)
            if done.returncode != 0:
                raise EngineUnavailable(f"cannot build the {name} image: {done.stderr.decode()[-500:]}")
            part.rename(tar)
    return tar


def _root_without_shell() -> Path:
    tar = cache_folder() / "noshell.tar"
    nothing = cache_folder() / "nothing"
    nothing.write_text("not a program\n")
    nothing.chmod(0o755)
    subprocess.run(["tar", "-C", str(nothing.parent), "-cf", str(tar), nothing.name], check=True)
    return tar


def _has_image(path: str, name: str) -> bool:
    return request(path, "GET", f"/images/{name}/json")[0] == 200


def _import_image(path: str, name: str, tar: Path, changes: list[str]) -> None:
    repository, _, tag = name.partition(":")
    query = [("fromSrc", "-"), ("repo", repository), ("tag", tag), ("changes", f"ENV PATH={PATH_OF_IMAGES}")]
    query += [("changes", change) for change in changes]
    with tar.open("rb") as body:
        status, answer = request(path, "POST", f"/images/create?{urlencode(query)}", body=body, timeout_s=300.0)
    if status != 200 or b'"error"' in answer:
        raise EngineUnavailable(f"cannot import {name}: {answer.decode(errors='replace')[-300:]}")


def request(
    path: str, method: str, target: str, *, body: IO[bytes] | bytes | None = None, timeout_s: float = 30.0
) -> tuple[int, bytes]:
    """One blocking request to the engine, for fixtures and set-up only."""
    connection = _UnixConnection(path, timeout_s)
    try:
        headers = {"Content-Type": "application/x-tar"} if body is not None and not isinstance(body, bytes) else {}
        if isinstance(body, bytes):
            headers = {"Content-Type": "application/json"}
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def request_json(path: str, method: str, target: str, body: Any = None) -> Any:
    status, answer = request(path, method, target, body=None if body is None else json.dumps(body).encode())
    assert status < 400, f"{method} {target}: {status} {answer!r}"
    return json.loads(answer) if answer else None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _serve() -> None:
    with running_engine() as engine, contextlib.suppress(KeyboardInterrupt):
        print(engine.socket, flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pause()


if __name__ == "__main__":
    if sys.argv[1:] != ["serve"]:
        sys.exit("usage: engine_fixture.py serve")
    _serve()
