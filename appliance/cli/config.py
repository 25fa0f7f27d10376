"""`rondo config validate` and `rondo config process`: the compiler at the command line, offline."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from appliance.errors import BadRequest
from appliance.quantities import counted

if TYPE_CHECKING:
    from appliance.language import Compiled, OrbSource, Problem
    from appliance.language.orb_document import CheckedOrb

DEFAULT_FILE = ".circleci/config.yml"

# What the pipeline values are where nothing says otherwise, so that a config that uses them can be looked at.
LOCAL_VALUES: dict[str, object] = {
    "pipeline.id": "00000000-0000-0000-0000-000000000001",
    "pipeline.number": 1,
    "pipeline.project.type": "github",
    "pipeline.project.slug": "gh/local/project",
    "pipeline.project.git_url": "https://github.com/local/project",
    "pipeline.git.revision": "0000000000000000000000000000000000000000",
    "pipeline.git.base_revision": "",
    "pipeline.git.branch.is_default": False,
    "pipeline.trigger_source": "webhook",
    "pipeline.event.name": "push",
    "pipeline.event.action": "push",
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `config` command."""
    parser = subparsers.add_parser("config", help="check or compile a CircleCI config, offline")
    commands = parser.add_subparsers(dest="config_command", required=True, metavar="COMMAND")
    validate = commands.add_parser("validate", help="list every problem of a config")
    validate.add_argument("--strict", action="store_true", help="fail on deprecated things and bad habits too")
    validate.set_defaults(run=run_validate)
    process = commands.add_parser("process", help="print the compiled config")
    process.set_defaults(run=run_process, strict=False)
    for command in (validate, process):
        command.add_argument("file", nargs="?", default=DEFAULT_FILE, help="default %(default)s; - is standard input")
        compile_options(command)
        _orb_options(command)


def compile_options(command: argparse.ArgumentParser) -> None:
    """What a config is compiled with: parameters, pipeline values, the branch or tag."""
    command.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter")
    command.add_argument(
        "--pipeline-value",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a pipeline value, as pipeline.git.tag=v1; true, false, null and numbers are what they look like",
    )
    command.add_argument("--branch", help="compile for this branch (filters are applied)")
    command.add_argument("--tag", help="compile for this tag (filters are applied)")


def _orb_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--orb-mirror", type=Path, metavar="DIR", help="where orbs are: NAMESPACE/NAME/VERSION.yml")
    command.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        help="insist on the orbs of this lock file (default: orbs.lock beside the config)",
    )
    command.add_argument("--format", choices=("text", "json"), default="text")


def run_validate(arguments: argparse.Namespace) -> int:
    """Print all problems; 1 when one of them keeps the config from running."""
    compiled = compile_file(arguments, _orbs(arguments))
    if compiled is None:
        return 1
    failed = is_failed(compiled, bool(arguments.strict))
    if arguments.format == "json":
        document = {"valid": not failed, "setup": compiled.is_setup, "problems": as_json(compiled)}
        print(json.dumps(document, indent=2))
        return int(failed)
    print_problems(compiled, sys.stdout)
    if compiled.problems:
        print(_summary(compiled))
    else:
        print(f"{shown_name(arguments.file)} is valid.")
    return int(failed)


def run_process(arguments: argparse.Namespace) -> int:
    """Print the compiled config on standard output; problems go to standard error."""
    compiled = compile_file(arguments, _orbs(arguments))
    if compiled is None:
        return 1
    text = compiled.process() if compiled.plan is not None else None
    if arguments.format == "json":
        document = {"valid": text is not None, "compiled": text, "problems": as_json(compiled)}
        print(json.dumps(document, indent=2))
    else:
        print_problems(compiled, sys.stderr)
        if text is not None:
            sys.stdout.write(text)
    return int(text is None)


def compile_file(arguments: argparse.Namespace, orbs: OrbSource | None) -> Compiled | None:
    """The config that `arguments` name, compiled with what they say; None when something said so already."""
    # Imported here, so that commands that compile nothing do not load the compiler.
    from appliance.language import Untyped, compile

    source = read_text(arguments.file)
    parameters = _pairs(arguments.parameter, "--parameter")
    values = _pairs(arguments.pipeline_value, "--pipeline-value")
    if source is None or parameters is None or values is None:
        return None
    known = dict(LOCAL_VALUES)
    if arguments.branch is not None:
        known["pipeline.git.branch"] = arguments.branch
    if arguments.tag is not None:
        known["pipeline.git.tag"] = arguments.tag
    known.update({name: _typed(value) for name, value in values.items()})
    return compile(
        source,
        file=shown_name(arguments.file),
        values=known,
        parameters={name: Untyped(value) for name, value in parameters.items()},
        orbs=orbs,
    )


def _orbs(arguments: argparse.Namespace) -> OrbSource | None:
    """The mirror, bound by the lock file. Raises BadRequest when one of them cannot be used."""
    from appliance.orbs import Mirror
    from appliance.orbs.lock import Locked

    mirror: Path | None = arguments.orb_mirror
    if mirror is None:
        return None
    if not mirror.is_dir():
        raise BadRequest(f"--orb-mirror: {mirror} is no folder")
    lock = lock_file(arguments.file, arguments.lock)
    if lock is None:
        return Mirror(mirror)
    text = read_text(str(lock))
    if text is None:
        raise BadRequest(f"without the lock file {lock} nothing is compiled")
    return Locked(Mirror(mirror), text)


def lock_file(config: str, named: Path | None) -> Path | None:
    """The lock file for a config: the named one, else `orbs.lock` beside it, if there is one."""
    beside = Path(config).parent / "orbs.lock"
    return named or (beside if config != "-" and beside.is_file() else None)


def read_text(name: str) -> str | None:
    try:
        if name == "-":
            return sys.stdin.buffer.read().decode("utf-8")
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        print(f"rondo: cannot read {shown_name(name)}: {reason}", file=sys.stderr)
        return None


def shown_name(name: str) -> str:
    return "<stdin>" if name == "-" else name


def _pairs(given: list[str], option: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            print(f"rondo: {option} wants NAME=VALUE, not {pair}", file=sys.stderr)
            return None
        found[name] = value
    return found


def _typed(value: str) -> object:
    words: dict[str, object] = {"true": True, "false": False, "null": None}
    if value in words:
        return words[value]
    return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else value


def is_failed(compiled: Compiled | CheckedOrb, strict: bool) -> bool:
    refused = {"error", "deprecated", "bad_habit"} if strict else {"error"}
    return any(problem.kind in refused for problem in compiled.problems)


def print_problems(compiled: Compiled | CheckedOrb, stream: TextIO) -> None:
    for problem in compiled.problems:
        print(compiled.render(problem), end="\n\n", file=stream)
    if compiled.left_out:
        print(f"… and {compiled.left_out} more.", file=stream)


def _summary(compiled: Compiled) -> str:
    counts: dict[str, int] = {}
    for problem in compiled.problems:
        counts[problem.kind] = counts.get(problem.kind, 0) + 1
    words = {"error": "error", "deprecated": "deprecation", "bad_habit": "bad habit", "warning": "warning"}
    shown = [counted(counts[kind], word) for kind, word in words.items() if kind in counts]
    verdict = "The config is valid." if compiled.plan is not None else "The config cannot run."
    return f"{', '.join(shown)}. {verdict}"


def as_json(compiled: Compiled | CheckedOrb) -> list[dict[str, object]]:
    return [_problem(problem) for problem in compiled.problems]


def _problem(problem: Problem) -> dict[str, object]:
    trail = [{"what": frame.what, "file": frame.file, "line": frame.line, "column": frame.column} for frame in problem.trail]
    return {
        "kind": str(problem.kind),
        "code": problem.code,
        "message": problem.message,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "expected": problem.expected,
        "did_you_mean": problem.did_you_mean,
        "trail": trail,
    }
