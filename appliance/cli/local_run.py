"""`rondo run`: the working tree's config on this computer, with the engine of the server and without a server."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import BadRequest, Conflict, InvalidConfig, RondoError, SettingsError, VcsError

if TYPE_CHECKING:
    from appliance.laptop.ahead import Ahead
    from appliance.laptop.keeper import Keeper
    from appliance.laptop.place import Left, Place
    from appliance.laptop.watch import Display, Seen
    from appliance.laptop.wishes import Wishes
    from appliance.settings import Settings

_USUAL_SWITCH_S = sys.getswitchinterval()
_LOADING_SWITCH_S = 0.0005  # who speaks with the engine meanwhile has little to do, and gets no turn for 5 ms otherwise

_WRONG = 2
_ENDS = """\
Exit codes: 0 success, 1 something failed, 2 nothing could be run (wrong words, an invalid config, no Docker engine),
3 an approval was not given, 130 canceled."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "run",
        help="run this working tree's config on this computer",
        description="Run the workflows of .circleci/config.yml on the files as they are here, committed or not.",
        epilog=_ENDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workflow", nargs="?", metavar="WORKFLOW", help="only this one, also when it is scheduled")
    only = "only this job (or those of a pattern like 'test-*'), by itself; may be given again"
    parser.add_argument("--job", action="append", default=[], metavar="JOB", help=only)
    parser.add_argument("--with-requires", action="store_true", help="with --job: also what it requires, first")
    parser.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    parser.add_argument("--config", type=Path, metavar="FILE", help="run this file, not .circleci/config.yml")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter")
    parser.add_argument("--branch", metavar="NAME", help="play this branch in filters and values")
    parser.add_argument("--tag", metavar="NAME", help="play a push of this tag")
    given = parser.add_argument_group("what jobs are given")
    given.add_argument("--secret-file", type=Path, metavar="FILE", help="variables of the project: NAME=VALUE lines, masked")
    given.add_argument(
        "--context", action="append", default=[], metavar="NAME=FILE", help="the variables of one context, masked"
    )
    given.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a variable that is not masked; NAME alone: as it is set here",
    )
    given.add_argument(
        "--env-file", type=Path, metavar="FILE", help="such variables: NAME=VALUE lines; --env goes before them"
    )
    given.add_argument("--no-cache", action="store_true", help="forget the caches of earlier runs first")
    where = parser.add_argument_group("where jobs run")
    where.add_argument(
        "--executor", choices=("docker", "local"), default="docker", help="local: as processes of this host, unprotected"
    )
    where.add_argument(
        "--settings", type=Path, metavar="FILE", help="image aliases, sizes and more: ~/.config/rondo/run.toml"
    )
    where.add_argument("--wait", action="store_true", help="wait for another run in this tree")
    seen = parser.add_argument_group("what is seen")
    seen.add_argument("--verbose", action="store_true", help="every line of output, as `job | text`")
    seen.add_argument("--quiet", action="store_true", help="only how jobs end")
    seen.add_argument("--json", action="store_true", help="for programs: what happens, one JSON object a line")
    seen.add_argument("--approve", action="append", default=[], metavar="JOB", help="give this approval without asking")
    seen.add_argument("--shell-on-failure", action="store_true", help="a shell in the job after a step that failed")
    seen.add_argument("--artifacts", type=Path, metavar="DIR", help="put artifacts there, not in .rondo/artifacts")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    """Wrong words and whatever keeps a run from beginning are 2; from then on the jobs decide."""
    _begin_loading()
    from appliance.laptop import place as places
    from appliance.laptop.later import Later

    try:
        found = Later(lambda: places.find(Path.cwd(), args.config))
        wishes = _wishes(args)  # while git says where the tree begins
        settings = _settings(args, wishes)
        place = found.result()
        settings = settings.replaced(data=str(place.state))
        places.prepare(place)
        with places.held(place, waits=args.wait), places.noted(place, wishes.executor) as left:
            return _begin(args, place, wishes, settings, left=left)
    except InvalidConfig as error:
        print(error, file=sys.stderr)
        return _kept_back(args, error)
    except (BadRequest, Conflict, SettingsError, VcsError) as error:
        for line in str(error).splitlines():
            print(f"rondo: {line}", file=sys.stderr)
        return _kept_back(args, error)


def _kept_back(args: argparse.Namespace, error: RondoError) -> int:
    """The exit code of a run that did not begin; programs are told why where they read."""
    if args.json:
        from appliance.laptop.events import trouble

        print(trouble(str(error), _WRONG))
    return _WRONG


def _begin_loading() -> None:
    gc.disable()  # modules are never garbage: to look through them again and again is a quarter of the start
    sys.setswitchinterval(_LOADING_SWITCH_S)


def _end_loading() -> None:
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(_USUAL_SWITCH_S)


def _begin(args: argparse.Namespace, place: Place, wishes: Wishes, settings: Settings, *, left: Left) -> int:
    """What is light comes first, and starts the first container; what is heavy is loaded meanwhile."""
    if wishes.executor != "docker":
        return _go_on(args, place, wishes, settings, None, left=left)
    from appliance.laptop.ahead import Ahead

    begun = Ahead(settings, place.state, f"{place.config} {wishes.choice}")
    try:
        if not (left.by or args.list):
            begun.begin()
        return _go_on(args, place, wishes, settings, begun, left=left)
    finally:
        begun.close()


def _go_on(
    args: argparse.Namespace, place: Place, wishes: Wishes, settings: Settings, begun: Ahead | None, *, left: Left
) -> int:
    from appliance.executors.late import load_late
    from appliance.laptop import place as places
    from appliance.laptop.later import Later
    from appliance.vcs import working_tree

    places.sweep_outputs(place)
    taken = Later(lambda: working_tree.take(place.root, place.repository, places.NAME))
    try:
        from appliance.laptop.first import first_guess, view  # loads the language, while git works
    finally:
        snapshot = taken.result()
    source = _text(place.config)
    if begun is not None:
        begun.correct(view(source, snapshot, wishes), lambda: first_guess(source, snapshot, wishes, settings))
    load_late("aiohttp", "aiodocker")  # what is begun needs them at its end, if at all
    import asyncio
    import logging

    from appliance.laptop.keys import Keys
    from appliance.laptop.run import Run
    from appliance.laptop.wishes import listed

    _end_loading()
    logging.basicConfig(filename=place.state / "rondo.log", filemode="w", level="INFO")
    display = _display(args)
    for note in snapshot.notes:
        display.note(note)
    run = Run(
        wishes=wishes,
        place=place,
        settings=settings,
        snapshot=snapshot,
        source=source,
        display=display,
        at_end=_at_end(args),
        keys=None if args.json else Keys.of_this_terminal(),
        left=left,
        begun=begun,
    )
    if args.list:
        for line in listed(asyncio.run(run.plan())):
            print(line)
        return 0
    try:
        return asyncio.run(run.to_the_end())
    finally:
        display.close()


def _wishes(args: argparse.Namespace) -> Wishes:
    from appliance.laptop.variables import dotenv, handed_on, pairs
    from appliance.laptop.wishes import Wishes

    ways = [f"--{way}" for way in ("verbose", "quiet", "json", "list") if getattr(args, way)]
    if len(ways) > 1:
        raise BadRequest(f"{' and '.join(ways)} do not go together")
    if args.shell_on_failure and (args.json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise BadRequest("--shell-on-failure needs a terminal to show the shell at")
    if args.with_requires and not args.job:
        raise BadRequest("--with-requires goes with --job")
    contexts = pairs(args.context, "--context", "NAME=FILE")
    return Wishes(
        workflow=args.workflow,
        jobs=tuple(args.job),
        with_requires=args.with_requires,
        parameters=pairs(args.param, "--param"),
        secrets=_variables(args.secret_file),
        contexts={name: dotenv(_text(Path(file)), file) for name, file in contexts.items()},
        environment={**_variables(args.env_file), **handed_on(args.env, "--env", os.environ)},
        branch=args.branch,
        tag=args.tag,
        approved=tuple(args.approve),
        executor=args.executor,
        keeps_caches=not args.no_cache,
        shell_on_failure=args.shell_on_failure,
        artifacts=args.artifacts,
    )


def _variables(file: Path | None) -> dict[str, str]:
    from appliance.laptop.variables import dotenv

    return {} if file is None else dotenv(_text(file), str(file))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from None


def _settings(args: argparse.Namespace, wishes: Wishes) -> Settings:
    """The user's file and environment on top of what suits a laptop. Never a file of the project: it could ask for much."""
    from appliance.settings import load
    from appliance.where import persons_docker_url

    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "rondo" / "run.toml"
    if args.settings is not None and not args.settings.exists():
        raise BadRequest(f"there is no settings file {args.settings}")
    file = args.settings or (home if home.is_file() else None)
    settings = load(
        file,
        os.environ,
        {
            "orbs.public": True,
            "docker.machine_image": "cimg/base:current",
            "jobs.restarts": 0,  # a pull that failed would fail again, and somebody is here to run it again
            "jobs.sample_every": 0.0,
            "disk.floor": 64 << 20,
        },
    )
    return settings.replaced(
        docker__enabled=wishes.executor == "docker",
        docker__url=persons_docker_url(settings),
        local__enabled=wishes.executor == "local",
        local__takes="all",
        jobs__environment={**settings.table("jobs.environment"), **wishes.environment},
    )


def _at_end(args: argparse.Namespace) -> Callable[[Keeper, Seen], Iterator[str]]:
    if args.json:
        from appliance.laptop.events import at_end

        return at_end
    from appliance.laptop.outcome import summary
    from appliance.laptop.signs import Colours

    return partial(summary, colours=Colours.for_stream(sys.stdout))


def _display(args: argparse.Namespace) -> Display:
    if args.json:
        from appliance.laptop.events import Events

        return Events()
    from appliance.laptop.board import Board
    from appliance.laptop.lines import Lines
    from appliance.laptop.signs import Colours

    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not (args.verbose or args.quiet):
        return Board(colours=Colours.for_stream(sys.stdout))
    return Lines(is_quiet=args.quiet, colours=Colours.for_stream(sys.stdout))
