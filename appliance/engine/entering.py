"""How a shell in a running job is begun: in the job's directory, with what the steps exported."""

from __future__ import annotations

from collections.abc import Sequence

# The job's directory may not be there yet. Not a login shell: /etc/profile sets PATH anew in many images, and the job's
# PATH is what one wants to see. bash reads $BASH_ENV when it is not interactive: so the outer one brings in what the
# steps exported, and the inner one is the shell.
_ENTER = """
cd 2>/dev/null
case $1 in "~") ;; "~/"*) cd -- "${1#"~/"}" 2>/dev/null ;; *) cd -- "$1" 2>/dev/null ;; esac
if command -v bash >/dev/null 2>&1; then shell=bash; else shell=sh; fi
"""
_TERMINAL = _ENTER + """exec $shell -c "exec $shell -i" """
_SCRIPT = _ENTER + """exec $shell"""
_COMMAND = _ENTER + """exec $shell -c "$2" """


def shell_argv(command: str | None, directory: str, *, has_terminal: bool) -> Sequence[str]:
    """What to start in the sandbox: a command, or a shell for people or for a script."""
    if command is not None:
        return ("sh", "-c", _COMMAND, "sh", directory, command)
    return ("sh", "-c", _TERMINAL if has_terminal else _SCRIPT, "sh", directory)


def terminal_size(columns: int, rows: int) -> tuple[int, int]:
    """A terminal's size as a client may claim it, and as a kernel can hold it."""
    return min(columns or 80, 10_000), min(rows or 24, 10_000)
