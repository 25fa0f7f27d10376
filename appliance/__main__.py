"""`rondo`, or `python -m appliance`, or the one-file executable, which needs some undoing first."""

from __future__ import annotations

import os
import sys

from appliance.cli import run

_LIVES_LONG = ("serve", "runner", "demo")


def main() -> int:
    """The command line; the exit code."""
    if getattr(sys, "frozen", False):
        _settle_in()
    return run(sys.argv[1:])


# A one-file executable is two processes: the outer one unpacks the libraries into a temporary folder, starts itself
# again as the inner one, which is this, passes signals on to it, and clears the folder away at the end.


def _settle_in() -> None:
    """Be a process like another, whatever the executable around us does."""
    _give_children_their_environment()
    _end_with_the_outer_process()
    _keep_the_libraries()
    if sys.argv[1:2] and sys.argv[1] in _LIVES_LONG:
        # Ctrl-C goes to all of a process group, and the outer one passes it on: we would get it twice, and twice
        # means "now". So leave the group, but only for what never reads from the terminal: only its group may.
        os.setpgid(0, 0)


def _give_children_their_environment() -> None:
    """git, ssh and sh load the libraries of this machine, and a `rondo` in a job unpacks its own."""
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before
    for name in [name for name in os.environ if name.startswith("_PYI_")]:
        del os.environ[name]


def _end_with_the_outer_process() -> None:
    """`kill -9` of the process that everybody sees must not leave us behind, holding the data folder's lock."""
    import ctypes
    import signal

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)


def _keep_the_libraries() -> None:
    """Pages and libraries are read from the unpacked folder for weeks: systemd-tmpfiles leaves a locked one alone."""
    import fcntl

    # The descriptor closes with the process.
    fcntl.flock(os.open(sys._MEIPASS, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
