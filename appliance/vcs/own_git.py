"""The git of the person at this computer, in their working tree. Light to load: a run on a laptop begins with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.errors import VcsError
from appliance.vcs.words import readable

_LONGEST_S = 600.0


def root_of(folder: Path) -> Path | None:
    """The top of the working tree that `folder` is in; None when it is in none, or there is no git."""
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    except VcsError:
        return None


def git(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """The user's own git, with their configuration: it is their tree. Raises VcsError."""
    known = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **(environment or {})}
    verb = _verb(arguments)
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=known, input=stdin.encode(), capture_output=True, timeout=_LONGEST_S
        )
    except FileNotFoundError:
        raise VcsError("there is no git here, and jobs check their code out with it: install git") from None
    except subprocess.TimeoutExpired:
        raise VcsError(f"git {verb} took longer than {_LONGEST_S:g} s in {folder}") from None
    if done.returncode != 0:
        raise VcsError(f"git {verb} failed in {folder}: {readable(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _verb(arguments: Sequence[str]) -> str:
    """The command among the arguments: what comes after the options of git itself."""
    at = 0
    while arguments[at] == "-c":
        at += 2
    return arguments[at]
