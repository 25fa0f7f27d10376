"""Shell texts that run inside a sandbox, read as package data: from a folder, a wheel or a one-file build alike."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def supervisor() -> str:
    """The supervisor's text, with that of the in-job command in it: a sandbox is given both in one argument."""
    tool = text("circleci.sh").replace("'", "'\\''")
    return f"r_tool='{tool}'\n{text('supervise.sh')}"


@cache
def text(name: str) -> str:
    """The text of shim `name` ("supervise.sh") without its comment lines: it travels as one argument."""
    lines = resources.files(__name__).joinpath(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#")) + "\n"
