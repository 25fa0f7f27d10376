"""What is different on a machine with Windows: how its shell is started, and a step in PowerShell, cmd or bash. No I/O.

None of this has run on Windows: there is none where it was written. The texts are tested as texts, and under a real bash
with programs of Windows' names that say what they were given.

The supervisor and all other texts run in the bash of Git for Windows (MSYS2). OpenSSH there hands a command to cmd.exe or to
PowerShell, as the machine's owner set it, and the two agree on no quotes. So the command line has none, nor a path: git is
on the PATH, wherever it was installed, and an alias of its own runs its bash. `bash.exe` itself may be that of WSL.
"""

from __future__ import annotations

from appliance.executors.base import Command
from appliance.executors.payload import enter_folder, environment_lines, lines_of, quote

COMMAND_LINE = "git -c alias.rondo=!bash rondo"

DEFAULT_SHELL = "powershell.exe -ExecutionPolicy Bypass"  # spec 1.8.1

_POWERSHELLS = frozenset({"powershell", "pwsh"})

# Windows PowerShell takes a file without the mark for one in the machine's old code page.
_BYTE_ORDER_MARK = "\ufeff"
_STOP = "$ErrorActionPreference = 'Stop'\n"
# `-File` alone ends with 0 whatever the last program said.
_PASS_ON = "\nif (Test-Path variable:global:LASTEXITCODE) { exit $global:LASTEXITCODE }\n"


def payload(command: Command) -> bytes:
    """As `payload.payload`."""
    return lines_of(command.id, start_file(command), script_file(command))


def start_file(command: Command) -> str:
    """As `payload.start_file`: sourced by the supervisor's bash, ends in `exec`.

    PowerShell and cmd know a script by the end of its name, and its place by a path of Windows. MSYS2 makes `/c` of `//c`
    for a program that is not its own, and would make a path of `/c`.
    """
    words = _words(command)
    kind = _kind(words[0])
    place = (
        'r_script=$r_script{0}\n{{ cp "${{r_script%{0}}}" "$r_script" && r_script=$(cygpath -w "$r_script"); }} || exit 1\n'
    )
    if words[-1].lower() in ("-c", "-command"):
        place, last = "", '"$(cat "$r_script")"'
    elif kind in _POWERSHELLS:
        place, last = place.format(".ps1"), '-File "$r_script"'
    elif kind == "cmd":
        place, last = place.format(".cmd"), '//d //c "$r_script"'
    else:
        place, last = "", '"$r_script"'
    return (
        enter_folder(command.base_directory, command.working_directory)
        + place
        + f"set -- $r_detach {' '.join(map(quote, words))} {last}\n"
        + environment_lines(command)
        + 'exec "$@"\n'
    )


def script_file(command: Command) -> str:
    """PowerShell stops at the first error and ends with the code of the last program; cmd wants line ends of its own."""
    words = _words(command)
    kind = _kind(words[0])
    if words[-1].lower() in ("-c", "-command"):
        return command.script
    if kind in _POWERSHELLS:
        return f"{_BYTE_ORDER_MARK}{_STOP}{command.script}{_PASS_ON}"
    if kind == "cmd":
        return command.script.replace("\r\n", "\n").replace("\n", "\r\n")
    return f"#!{' '.join(words)}\n{command.script}"


def _words(command: Command) -> list[str]:
    return (command.shell or "").split() or DEFAULT_SHELL.split()


def _kind(word: str) -> str:
    """What a program is called: "powershell" of "C:\\…\\PowerShell.exe"."""
    return word.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
