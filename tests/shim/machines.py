"""The kinds of machines that the shell texts have to run on, as far as this host can pass for them.

A shell is tried under the name `sh`, as machines have it: zsh, ksh, yash, bash and mksh behave otherwise under their own.
`bsd` and `bare` have programs that refuse what only GNU knows, and an empty /proc, for which they need root.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMON = ["dash", "bash", "busybox"]
RARE = ["plain-bash", "mksh", "zsh", "ksh93", "yash", "toybox", "bsd", "bare"]

WITHOUT_PROC = {"bsd", "bare"}

# What jobs and the shell texts use, beside the shell.
_PROGRAMS = (
    "[ awk base64 bash cat chmod cp cut date dd echo env false find grep gzip head id ln ls mkdir mkfifo mv printf ps pwd "
    "rm sed seq setsid sleep sort stat tail tar tee test touch tr true umask uname wc xargs"
)
_NOT_ON_BSD = ("setsid", "bash", "ps", "stat", "tail", "head", "date", "sed")


@dataclass(frozen=True)
class Machine:
    """How a shell is started there."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def make_machine(kind: str, folder: Path) -> Machine:
    """A folder of programs in `folder`, and the shell among them. Skips the test where the shell is not to be had."""
    programs = folder / "programs"
    programs.mkdir()
    shell = {"plain-bash": "bash", "toybox": "dash", "bsd": "dash", "bare": "dash"}.get(kind, kind)
    _link(programs, "sh", shell)
    argv: tuple[str, ...] = (str(programs / "sh"),)
    if kind in ("busybox", "toybox"):
        _make_box(programs, kind)
    elif kind in ("bsd", "bare"):
        argv = _make_bsd(programs, folder, argv, is_bare=kind == "bare")
    else:
        _link_all(programs, _PROGRAMS.split())
    # The shell's own has to be used: that of procps takes `-TERM -123` for "TERM to -1", and ends everything.
    (programs / "kill").unlink(missing_ok=True)
    _write(programs / "kill", 'echo "kill: not the shell\'s own" >&2; exit 99\n')
    if kind == "plain-bash":
        argv = ("bash",)
    return Machine(argv, {"PATH": str(programs), "HOME": str(folder), "LC_ALL": "C.UTF-8"})


def _link(programs: Path, name: str, program: str) -> None:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} here")
    (programs / name).symlink_to(Path(found).resolve() if program == "busybox" else found)


def _link_all(programs: Path, names: list[str]) -> None:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            (programs / name).symlink_to(found)


def _make_box(programs: Path, box: str) -> None:
    """Every program that the box has is the box's; what it lacks is lacking, but that jobs have some tools more."""
    found = shutil.which(box)
    if found is None:
        pytest.skip(f"no {box} here")
    words = (found, "--list") if box == "busybox" else (found,)
    applets = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    for name in {*_PROGRAMS.split(), box} & {*applets, box}:
        (programs / name).symlink_to(found)


_REFUSES = {
    "tail": 'case $* in *-s\\ *) echo "tail: illegal option -- s" >&2; exit 1 ;; esac',
    "date": 'case $* in *%N*) echo "N"; exit 0 ;; esac',
    "sed": 'case $1 in -i | -r | -z) echo "sed: illegal option" >&2; exit 1 ;; esac',
    "head": 'case $2 in -*) echo "head: illegal byte count" >&2; exit 1 ;; esac',
}


def _make_bsd(programs: Path, folder: Path, shell: tuple[str, ...], *, is_bare: bool) -> tuple[str, ...]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can hide /proc")
    absent = {*_NOT_ON_BSD, "mkfifo", "perl"} if is_bare else _NOT_ON_BSD
    _link_all(programs, [name for name in [*_PROGRAMS.split(), "perl"] if name not in absent])
    hidden = folder / "hidden-proc"
    hidden.mkdir()
    for name, refuses in _REFUSES.items():
        _write(programs / name, f'{refuses}\nexec {shutil.which(name)} "$@"\n')
    _write(programs / "stat", _STAT.format(real=shutil.which("stat")))
    if not is_bare:
        _write(programs / "ps", _PS.format(hidden=hidden))
    enter = 'mount --bind /proc "$0" && mount -t tmpfs none /proc && exec "$@"'
    return (str(shutil.which("unshare")), "-m", "/bin/sh", "-c", f"PATH=$PATH:/bin:/sbin\n{enter}", str(hidden), *shell)


def _write(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/dash\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# -f FORMAT instead of -c: size, name
_STAT = """\
case $* in *-c*) echo 'stat: illegal option -- c' >&2; exit 1 ;; esac
[ "$1" != -L ] || shift
[ "$1" = -f ] || exit 1
format=$(echo "$2" | {real} -c '' /dev/null; case $2 in %z) echo %s ;; '%z %N') echo '%s %n' ;; *) echo "$2" ;; esac)
shift 2
exec {real} -L -c "${{format#
}}" "$@"
"""

# -o stat= -p PID, as far as the texts ask
_PS = """\
[ "$1 $2 $3" = '-o stat= -p' ] || {{ echo "ps: $*?" >&2; exit 2; }}
read -r pid name state rest <"{hidden}/$4/stat" || exit 1
echo "$state"
"""
