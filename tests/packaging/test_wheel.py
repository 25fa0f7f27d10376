"""The wheel carries everything that is no Python too, and works without the tree it came from."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.made import copy_sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree: building leaves a folder behind, whose stale files would get into the next wheel."""
    folder = tmp_path_factory.mktemp("sources")
    copy_sources(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, sources)
    (made,) = folder.glob("rondo-*.whl")
    return made


def test_it_has_all_files_of_the_tree(wheel: Path, sources: Path) -> None:
    wanted = _files(sources / "appliance", "appliance") | _files(sources / "web", "appliance/web")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted
    for example in ("web/templates/base.html", "web/static/rondo.css", "store/migrations/0001_first.sql"):
        assert f"appliance/{example}" in found
    for example in ("shim/supervise.sh", "cli/sample/config.yml"):
        assert f"appliance/{example}" in found


def _files(folder: Path, place: str) -> set[str]:
    return {f"{place}/{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


# What reads files of ours, and needs no library for it.
_LOOK = """
from pathlib import Path
from appliance import shim
from appliance.pages.assets import load_static, web_folder
assert Path(shim.__file__).is_relative_to(PLACE), shim.__file__
assert web_folder().is_relative_to(PLACE), web_folder()
assert "rondo.css" in load_static(web_folder())[0]
assert "r_say" in shim.text("supervise.sh")
"""


@pytest.mark.parametrize("way", ["wheel", "editable"])
def test_it_works_in_a_fresh_environment(way: str, wheel: Path, sources: Path, tmp_path: Path) -> None:
    """Without the libraries even: the command says its version, and the files are found where they should be."""
    _run(sys.executable, "-m", "venv", tmp_path / "venv")
    what = [wheel] if way == "wheel" else ["--editable", sources]
    _run(tmp_path / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *what)
    assert _run(tmp_path / "venv/bin/rondo", "--version").startswith("rondo ")
    place = tmp_path / "venv" if way == "wheel" else sources
    _run(tmp_path / "venv/bin/python", "-c", _LOOK.replace("PLACE", repr(str(place))))


def _run(*argv: str | Path) -> str:
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
