"""What takes long to make and is kept between runs: the executable, by the hash of all that goes in, and a Debian root."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tests.engine_fixture import cache_folder

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILDS_KEPT = 3
LACKING = 3  # of packaging/build.py

_SOURCES = ("appliance", "web", "packaging/build.py", "packaging/rondo.spec", "pyproject.toml", "README.md", "LICENSE")


class Unavailable(Exception):
    """It cannot be made here; the text says why."""


def copy_sources(to: Path) -> None:
    """What is built from, as it is now: so nobody's edits in the meantime go into one half of a build."""
    for name in _SOURCES:
        source, target = ROOT / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


def cached_executable() -> Path:
    """The one-file executable of the tree as it is now, built by packaging/build.py unless it was before.

    Raises Unavailable when that takes something which is not here.
    """
    with tempfile.TemporaryDirectory(prefix="rondo-sources-") as folder, _kept("one-file") as kept:
        sources = Path(folder)
        copy_sources(sources)
        build = kept / _hash(sources)
        if not build.exists():
            done = subprocess.run(
                [sys.executable, sources / "packaging/build.py", "--into", sources / "dist"],
                env={**os.environ, "PYTHONWARNINGS": ""},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == LACKING:
                raise Unavailable(done.stderr.strip())
            assert done.returncode == 0, done.stdout + done.stderr
            (sources / "dist").rename(build) if _is_same_disk(sources, kept) else shutil.copytree(sources / "dist", build)
        os.utime(build)
        for old in sorted(kept.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)[:-BUILDS_KEPT]:
            shutil.rmtree(old)
        return build / "rondo"


def _is_same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _hash(sources: Path) -> str:
    """Of every file, and of the Python and the libraries that go in with them."""
    digest = hashlib.sha256(sys.version.encode())
    for name in sorted(f"{one.name}=={one.version}" for one in metadata.distributions()):
        digest.update(name.encode() + b"\0")
    for path in sorted(sources.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(sources)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _kept(name: str) -> Iterator[Path]:
    """A folder in the cache that is ours alone as long as the block runs."""
    folder = cache_folder() / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def require_rights() -> None:
    """Raise Unavailable unless a Debian root can be made and entered here; installs debootstrap when it is missing."""
    if os.geteuid() != 0:
        raise Unavailable("only root can make a Debian root and enter it")
    if shutil.which("apt-get") is None:
        raise Unavailable("making a Debian root takes Debian's debootstrap, and there is no apt-get to install it with")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False).returncode != 0:
        raise Unavailable("no right to make namespaces: is this an unprivileged container?")
    if shutil.which("debootstrap") is None:
        _install("debootstrap")


def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", package]
    for argv in (install, ["apt-get", "-qq", "update"], install):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0 and argv is install:
            return
    raise Unavailable(f"cannot install {package}: {done.stderr.strip()[-300:]}")


def cached_root() -> Path:
    """A tar of the root, by the hash of the script that makes it."""
    script = HERE / "root-without-python.sh"
    with _kept("roots") as kept:
        tar = kept / f"{hashlib.sha256(script.read_bytes()).hexdigest()[:16]}.tar"
        if not tar.exists():
            part = tar.with_suffix(".part")
            with part.open("wb") as out:
                done = subprocess.run([script], stdout=out, stderr=subprocess.PIPE, check=False)
            if done.returncode != 0:
                raise Unavailable(f"debootstrap failed: {done.stderr.decode(errors='replace')[-500:]}")
            part.rename(tar)
        return tar


def unpack(tar: Path, root: Path) -> None:
    subprocess.run(["tar", "-C", root, "--numeric-owner", "-xpf", tar], check=True)


def remove_root(root: Path) -> None:
    """Never beyond this file system, even if somebody mounted something in there."""
    subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)
