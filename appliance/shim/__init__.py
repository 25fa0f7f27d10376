"""Shell texts that run inside a sandbox. They lie beside this file: in a folder, a wheel and a one-file build alike."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def supervisor() -> str:
    """The supervisor's text, with that of the in-job command in it: a sandbox is given both in one argument."""
    tool = text("circleci.sh").replace("'", "'\\''")
    return f"r_tool='{tool}'\n{text('supervise.sh')}"


@cache
def text(name: str) -> str:
    """The text of shim `name` ("supervise.sh") without its comment lines: it travels as one argument."""
    lines = Path(__file__).with_name(name).read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#")) + "\n"
