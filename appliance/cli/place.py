"""Where a command works: which settings, which data folder, which database. Commands write beside a running server."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from appliance.errors import NotFound, StoreError
from appliance.settings import Settings, load

if TYPE_CHECKING:
    from appliance.crypto import SecretBox
    from appliance.model import Project
    from appliance.store.database import Tx

T = TypeVar("T")
USUAL_FILE = Path("/etc/rondo/config.toml")


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--data`, for every command that needs the data folder."""
    parser.add_argument("--config", metavar="FILE", type=Path, help=f"settings (default: $RONDO_CONFIG, {USUAL_FILE})")
    parser.add_argument("--data", metavar="DIR", help="data folder, instead of the settings' one")


def given_options(args: argparse.Namespace) -> str:
    """` --config FILE --data DIR` as they were given, for a command that is proposed; "" without any."""
    given = (("--config", args.config), ("--data", args.data))
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value)


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that `args` name. Raises SettingsError with every problem."""
    environment = dict(os.environ)
    if args.data:
        environment["RONDO_DATA"] = str(Path(args.data).absolute())
    return load(_file(args.config), environment)


def _file(named: Path | None) -> Path | None:
    if named is not None:
        return named
    if "RONDO_CONFIG" in os.environ:
        return Path(os.environ["RONDO_CONFIG"])
    return USUAL_FILE if USUAL_FILE.exists() else None


def project_of(tx: Tx, slug: str) -> Project:
    """The project that an argument names. Raises NotFound with that name: a command may name several things."""
    from appliance.store import projects

    try:
        return projects.find(tx, slug)
    except NotFound:
        raise NotFound(f"there is no project {slug}") from None


@dataclass(frozen=True)
class Store:
    """The database and keys of a data folder, for one command."""

    settings: Settings
    data: Path
    tx: Tx
    box: SecretBox

    def write(self, fn: Callable[[Tx], T]) -> T:
        from appliance.store.database import transact

        return transact(self.tx, fn)

    def give_back(self, folder: Path) -> None:
        """`sudo rondo …` leaves no folder here that the server's own user may not write."""
        owner = self.data.stat()
        if os.geteuid() != 0 or owner.st_uid == 0:
            return
        for above in folder.relative_to(self.data).parents:
            if above != Path():
                os.chown(self.data / above, owner.st_uid, owner.st_gid, follow_symlinks=False)
        for _, _, files, here in os.fwalk(folder):
            os.fchown(here, owner.st_uid, owner.st_gid)
            for file in files:
                os.chown(file, owner.st_uid, owner.st_gid, dir_fd=here, follow_symlinks=False)

    @property
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


@contextmanager
def store_of(args: argparse.Namespace) -> Iterator[Store]:
    """Open the store that `args` name; it must be there, since the server makes it at its first start."""
    from appliance.crypto import SecretBox, load_or_make_key
    from appliance.store.database import open_plain

    settings = settings_of(args)
    data = Path(settings.text("data"))
    if not (data / "rondo.db").exists():
        raise StoreError(f"{data} is not a data folder of Rondo; start `rondo serve` once, or name it with --data")
    if not os.access(data / "rondo.db", os.W_OK):
        raise StoreError(f"no right to write to {data}; run this as the user that runs the server")
    tx = open_plain(data / "rondo.db")
    try:
        yield Store(settings, data, tx, SecretBox(load_or_make_key(data / "secret_key")))
    finally:
        tx.close()
