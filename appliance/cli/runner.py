"""`rondo runner`: this machine runs jobs of a server elsewhere, which it dials in to."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import BadRequest

if TYPE_CHECKING:
    from appliance.machine_runner.identity import Server

_USUAL_PORT = 2222
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ABOUT = """\
Dials in to a server's SSH door, and runs jobs here that the server sends: for machines that it cannot reach. Jobs run as
the user that starts this, with no isolation. The first start makes a key and prints the command with which an admin
of the server enrols this machine. TERM waits for running jobs; a second one ends it at once, and jobs go on by themselves.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("runner", help="run jobs of a server elsewhere on this machine", description=_ABOUT)
    parser.add_argument(
        "--server", required=True, metavar="HOST[:PORT]", help=f"its SSH door (the port is {_USUAL_PORT} unless given)"
    )
    parser.add_argument("--name", metavar="NAME", help="what to call this machine (default: its host name)")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="for its key (default: ~/.config/rondo/runner)")
    parser.add_argument(
        "--host-key", metavar="KEY", help="the server's, 'ssh-ed25519 AAAA...' (default: the first that it shows)"
    )
    parser.add_argument(
        "--max-run-time", metavar="TIME", default="5h", help="how long TERM waits for running jobs (default: 5h)"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    server, longest_leave_s = _server(args.server), _seconds(args.max_run_time)
    import asyncio
    import logging

    from appliance.machine_runner.identity import Identity, read_public_key, usual_folder
    from appliance.machine_runner.runner import Options, Runner
    from appliance.runner_words import NAME
    from appliance.service import notify, start_logging

    name = args.name or _usual_name()
    if not NAME.fullmatch(name):
        raise BadRequest(
            f"--name: {name!r} is no name for a machine: up to 64 of A-Z a-z 0-9 . _ -, a letter or digit first"
        )
    start_logging("info")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    identity = Identity((args.folder or usual_folder()).expanduser().absolute())
    if args.host_key:
        identity.pin(server, read_public_key(args.host_key))
    options = Options(server=server, name=name, longest_leave_s=longest_leave_s, tell=notify)

    async def run() -> int:
        return await Runner(identity, options).run()

    with identity.locked():
        return asyncio.run(run())


def _usual_name() -> str:
    """The host's name, in the form of a machine's."""
    import socket

    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().partition(".")[0]).strip("-")[:64] or "machine"


def _server(text: str) -> Server:
    from appliance.machine_runner.identity import Server

    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?", text)
    port = int(found[3] or _USUAL_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise BadRequest(f"--server: {text!r} is no address; it looks like ci.example.org or ci.example.org:2222")
    return Server(found[1] or found[2], port)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", text)
    if found is None:
        raise BadRequest(f"--max-run-time: {text!r} is no time; it looks like 90s, 30m or 5h")
    return float(int(found[1]) * _UNITS[found[2] or "s"])
