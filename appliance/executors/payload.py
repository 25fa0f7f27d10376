"""What the supervisor is told about a command: the start file (folder, exports, exec) and the script. No I/O.

The start file is sourced by the supervisor's shell in the step's own process. Everything that needs the image's PATH
or HOME comes before the exports; after them stand only `export`, `exec` and quoted words, so an environment that sets
PATH, IFS or HOME cannot bend the start of its own step. The in-job `circleci` stands before any other on the PATH.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from appliance.errors import SandboxError
from appliance.executors.base import Command

DEFAULT_SHEBANG = "#!/bin/bash -eo pipefail"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
_EXPORT = re.compile(r"^export ([A-Za-z_][A-Za-z0-9_]*)='((?:[^']|'\\'')*)'$", re.MULTILINE)

# A shell that exports one of these fails or is changed itself; bash sets the first six anew for every process.
_KEPT_BY_SHELLS = frozenset({"PPID", "UID", "EUID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "OPTIND"})

# A `#!` line with one of these leaves the step to the default shell, as on CircleCI, where it is only a comment.
_POSIX_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "busybox"})

# dash has no pipefail: a /bin/sh without it would refuse to start at all.
_PICK_SHELL = """\
if [ -x /bin/bash ]; then set -- /bin/bash -eo pipefail
elif (set -o pipefail) 2>/dev/null; then set -- /bin/sh -eo pipefail
else set -- /bin/sh -e; fi
"""


def payload(command: Command) -> bytes:
    """The lines that follow `run`: start file, "=", script, "."; every line of text begins with "-"."""
    return lines_of(command.id, start_file(command), script_file(command))


def lines_of(command_id: str, start: str, script: str) -> bytes:
    if not _ID.match(command_id):
        raise SandboxError(f"a command id has to match {_ID.pattern}, not {command_id!r}")
    lines = [*_marked(start), "=", *_marked(script), ".", ""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _marked(text: str) -> Iterator[str]:
    if "\0" in text:
        raise SandboxError("a script or an environment variable contains a NUL byte, which no shell can take")
    return ("-" + line for line in text.removesuffix("\n").split("\n"))


def start_file(command: Command) -> str:
    words, takes_text = shell_words(command)
    pick = f"set -- {' '.join(map(quote, words))}\n" if words else _PICK_SHELL
    script = '"$(cat "$r_script")"' if takes_text else '"$r_script"'
    return (
        enter_folder(command.base_directory, command.working_directory)
        + pick
        + f'set -- $r_detach "$@" {script}\n'
        + environment_lines(command)
        + 'exec "$@"\n'
    )


def environment_lines(command: Command) -> str:
    """Exports: what the step's own variables may replace, then those, then what they may not."""
    return (
        'export BASH_ENV="$r_dir/bash_env" CIRCLE_SHELL_ENV="$r_dir/bash_env"\n'
        + 'if [ -S "$r_dir/agent" ]; then export SSH_AUTH_SOCK="$r_dir/agent"; fi\n'  # of add_ssh_keys
        + exports(command.environment)
        + 'export PATH="$r_dir/bin${PATH:+:$PATH}" CIRCLE_INTERNAL_TASK_DATA="$r_dir/task"\n'
    )


def script_file(command: Command) -> str:
    """The script under a first line that names its shell; an interpreter's own `#!` line stays the first."""
    if command.shell and command.shell.strip():
        return f"#!{' '.join(command.shell.split())}\n{command.script}"
    if _own_interpreter(command.script):
        return command.script
    return f"{DEFAULT_SHEBANG}\n{command.script}"


def shell_words(command: Command) -> tuple[list[str], bool]:
    """The interpreter's words, empty for the default shell; and whether it takes the text instead of a file."""
    words = (command.shell or "").split() or _own_interpreter(command.script)
    return words, bool(words) and words[-1] == "-c"


def _own_interpreter(script: str) -> list[str]:
    first = script.split("\n", 1)[0]
    words = first[2:].split() if first.startswith("#!") else []
    names = [word.rsplit("/", 1)[-1] for word in words]
    if names and names[0] == "env":
        names = [name for name in names[1:] if not name.startswith("-") and "=" not in name]
    return words if names and names[0] not in _POSIX_SHELLS else []


def enter_folder(base: str, folder: str) -> str:
    """Shell text that makes and enters the folder; `~` is HOME, a relative `folder` is below `base`."""
    where = folder if folder.startswith(("/", "~")) else f"{base}/{folder}"
    return (
        f'r_where={expand_home(where)}\n[ -d "$r_where" ] || mkdir -p -- "$r_where" || exit 1\ncd -- "$r_where" || exit 1\n'
    )


def expand_home(path: str) -> str:
    """`path` as one shell word, a leading `~` (alone or before a slash) left to HOME."""
    if path == "~" or path.startswith("~/"):
        return '"${HOME:-/}"' + quote(path[1:])
    return quote(path)


def exports(environment: Mapping[str, str]) -> str:
    """`export` lines; names no shell can take are left out. Complaints of the shell about a locale go nowhere."""
    lines = [
        f"export {name}={quote(value)}\n"
        for name, value in environment.items()
        if _NAME.match(name) and name not in _KEPT_BY_SHELLS
    ]
    return "{\n:\n" + "".join(lines) + "} 2>/dev/null\n"


def parse_exports(start: str) -> dict[str, str]:
    """The variables of a start file that `start_file` made."""
    return {name: value.replace("'\\''", "'") for name, value in _EXPORT.findall(start)}


def quote(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
