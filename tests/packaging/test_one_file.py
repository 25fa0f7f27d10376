"""The one-file executable: on a Debian without Python, and where being one file would be in the way."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.packaging.served import ServedExecutable

# Builds at most once a run, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FIRST_PUSH = Path(__file__).with_name("first-push.sh")
LARGEST_BYTES = 30_000_000


@pytest.fixture
async def server(executable: Path, tmp_path: Path) -> AsyncIterator[ServedExecutable]:
    made = ServedExecutable(executable, tmp_path)
    try:
        yield made
    finally:
        await made.stop()


def test_it_says_its_version_and_is_small(executable: Path) -> None:
    from appliance import __version__

    done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True, env={})
    assert done.stdout == f"rondo {__version__}\n"
    assert done.stderr == ""
    assert executable.stat().st_size < LARGEST_BYTES


def test_a_push_is_green_on_a_debian_without_python(executable: Path, root_without_python: Path) -> None:
    root = root_without_python
    assert not _pythons(root)
    shutil.copy(executable, root / "usr/local/bin/rondo")
    shutil.copy(FIRST_PUSH, root / "first-push.sh")
    # Mounts and processes are in namespaces of their own: they go away with the script, however this test ends.
    enter = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" /first-push.sh'
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    with subprocess.Popen(
        [*namespaces, "sh", "-c", enter, str(root)],
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if line == "pushed\n":
                    break
            assert "job build: success" in said, said
            assert "workflow main: success" in said
            found = re.search(r"Rondo is at (\S+),", said)
            assert found
            _look_at_pages(found[1])
            rest, _ = process.communicate()
            assert (process.returncode, rest) == (0, "stopped\n")
        finally:
            process.kill()
    assert not _pythons(root)
    assert not list((root / "tmp").glob("_MEI*")), "it clears away what it unpacked"


def _pythons(root: Path) -> list[Path]:
    """Interpreters and their library, wherever; gdb's helpers of libstdc++ are Python, but only text."""
    found = [*root.rglob("python*"), *root.rglob("libpython*")]
    return [
        path for path in found if path.is_symlink() or (path.is_file() and (os.access(path, os.X_OK) or ".so" in path.name))
    ]


def _look_at_pages(url: str) -> None:
    """The login page with its style sheet: templates and static files are inside."""
    page = _get(f"{url}/login")
    sheet = re.search(r'href="(/static/[^"]+/rondo\.css)"', page)
    assert sheet, page
    assert "{" in _get(url + sheet[1])


def _get(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        return str(answer.read().decode())


async def test_the_demo_is_green_and_its_children_see_the_environment_of_before(executable: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "temporary").mkdir()
    git = tmp_path / "bin" / "git"
    git.write_text(
        f'#!/bin/sh\nenv | grep -E "^(LD_LIBRARY_PATH|_PYI|_MEI)" >>{tmp_path}/seen\nexec {shutil.which("git")} "$@"\n'
    )
    git.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        executable,
        "demo",
        "--once",
        env={
            "PATH": f"{git.parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path / "temporary"),
            "LD_LIBRARY_PATH": "/opt/of-the-user",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(300):
        out, _ = await process.communicate()
    said = out.decode()
    assert process.returncode == 0, said
    assert "workflow demo: success" in said
    # The demo's own git gets what the user had; the server's git, whose environment is made from scratch, nothing.
    assert set((tmp_path / "seen").read_text().split()) == {"LD_LIBRARY_PATH=/opt/of-the-user"}
    assert list((tmp_path / "temporary").iterdir()) == []


CONFIG = """
version: 2.1
jobs:
  long:
    machine: true
    steps:
      - run: {name: before, command: "echo one; echo there >FOLDER/there; read -r word <FOLDER/go; echo $word"}
      - run: {name: after, command: "ls -d /tmp >/dev/null && echo three"}
workflows: {w: {jobs: [long]}}
"""


async def test_a_job_lives_through_kill_9_of_the_executable(server: ServedExecutable, tmp_path: Path) -> None:
    """And nothing that it needs was in the folder that the executable had unpacked."""
    os.mkfifo(tmp_path / "there")
    os.mkfifo(tmp_path / "go")
    await server.start()
    place = server.place
    place.furnish()
    await place.commit({".circleci/config.yml": CONFIG.replace("FOLDER", str(tmp_path))})
    await place.push()
    assert await asyncio.to_thread((tmp_path / "there").read_text) == "there\n"  # the step runs
    await server.kill()
    await server.start()
    await asyncio.to_thread((tmp_path / "go").write_text, "two\n")
    seen = await place.ended()
    assert seen.statuses == {"long": "success"}
    logs = {step.name: place.log_path(step).read_text() for step in seen.steps["long"]}
    assert (logs["before"], logs["after"]) == ("one\ntwo\n", "three\n")


async def test_what_is_unpacked_is_locked_while_it_is_needed(server: ServedExecutable) -> None:
    """systemd-tmpfiles clears /tmp of what has not been touched for days, but leaves a locked folder alone."""
    await server.start()
    (unpacked,) = server.temporary.glob("_MEI*")
    descriptor = os.open(unpacked, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


async def test_ctrl_c_reaches_the_server_once(server: ServedExecutable) -> None:
    """Both processes of one file are in the terminal's group, and the outer one passes signals on; twice means "now"."""
    await server.start()
    assert server.process is not None
    assert os.getpgid(server.inner) != os.getpgid(server.process.pid)
    assert await server.interrupt() == 0
    assert server.said.count("stopping: ") == 1
    assert list(server.temporary.iterdir()) == []


SECRETIVE = """
version: 2.1
jobs: {build: {machine: true, steps: [run: 'test "$SECRET" = of-ada']}}
"""


async def test_a_running_server_survives_the_upgrade_of_its_file(executable: Path, tmp_path: Path) -> None:
    """Modules are read from the executable when first imported: so what a push needs must all be imported at the start."""
    installed = tmp_path / "rondo"
    shutil.copy2(executable, installed)
    server = ServedExecutable(installed, tmp_path)
    try:
        url = await server.start()
        (tmp_path / "next").write_text("#!/bin/sh\necho the next version\n")
        (tmp_path / "next").replace(installed)
        _look_at_pages(url)
        server.place.furnish()
        await server.place.commit({".circleci/config.yml": SECRETIVE})
        assert "build: success" in await server.place.push("-o", "wait", "main")
    finally:
        assert await server.stop() == 0, server.said
