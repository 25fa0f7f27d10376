"""What scenarios with real public orbs share: the folder they are in, an image like CircleCI's own, tools out of wheels.

An orb is used as it is. What its scripts would download is in the image or mounted: nothing here leaves this machine,
but the package clients that fill the cache, once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.settings import Value
from tests.engine_fixture import DEBIAN, PATH_OF_IMAGES, Engine, EngineUnavailable, add_packages, cache_folder
from tests.language.material import ORBS

CIMG = "rondo-test/cimg:latest"
USER_BASE = "/home/circleci/.pyenv/versions/3.11"
# As in CircleCI's images: nobody is root, and what one installs for oneself is on the PATH. What pip installs goes where
# pyenv would put it, for that folder is one the Python orb caches.
LIKE_CIMG = {
    "User": "circleci",
    "Env": [
        "HOME=/home/circleci",
        f"PATH={USER_BASE}/bin:/home/circleci/.local/bin:{PATH_OF_IMAGES}",
        f"PYTHONUSERBASE={USER_BASE}",
        "PIP_BREAK_SYSTEM_PACKAGES=1",
    ],
}


def need(*orbs: str) -> None:
    """Skip the test where one of the orbs ("circleci/slack/6.1.3") is not."""
    if not all((ORBS / f"{orb}.yml").is_file() for orb in orbs):
        pytest.skip("the packed public orbs are not here")


def changes(engine: Engine, *mounts: str) -> dict[str, Value]:
    """The settings of a house whose orbs are the real ones, and whose images are all alike."""
    packages = ("jq", "libjq1", "libonig5", "python3-pip", "python3-setuptools", "python3-wheel", "python3-distutils")
    add_packages(engine.socket, CIMG, DEBIAN, *packages, changes=LIKE_CIMG)
    return {
        "docker.enabled": True,
        "docker.url": engine.url,
        "orbs.mirror": str(ORBS),
        "images": {"cimg/*": CIMG, "koalaman/*": CIMG},
        "jobs.mounts": mounts,
    }


def wheels(name: str, *requirements: str) -> Path:
    """A folder with the wheels of some requirements and of all they need, for the Python of the image."""
    folder = cache_folder() / "wheels" / name
    if not folder.exists():
        part = folder.with_suffix(".part")
        _pip("download", "--only-binary=:all:", "--python-version=3.11", f"--dest={part}", *requirements)
        part.rename(folder)
    return folder


def installed(name: str, *requirements: str) -> Path:
    """A folder in which pip has installed some requirements, their programs in bin/."""
    folder = cache_folder() / "wheels" / f"{name}-installed"
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        _pip("install", "--no-warn-conflicts", "--only-binary=:all:", f"--target={part}", *requirements)
        part.rename(folder)
    return folder


def _pip(*words: str) -> None:
    argv = [sys.executable, "-m", "pip", "--quiet", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineUnavailable(f"pip cannot do it: {' '.join(words)}: {done.stderr[-300:]}")
