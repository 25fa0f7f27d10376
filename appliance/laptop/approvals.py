"""Approvals of a run: given beforehand (--approve), or asked for at the terminal."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from appliance.core import Core
from appliance.errors import RondoError
from appliance.laptop.keys import Keys
from appliance.laptop.watch import Display, Row, Seen
from appliance.model import User, UserId

YOU = User(id=UserId("you"), name="you", is_admin=True, sees_all_projects=True)
_YES, _NO = b"yY", b"nN"


class Approvals:
    """Asks for one at a time. Without `keys` what was not given beforehand stays on hold."""

    def __init__(self, core: Core, display: Display, given: Sequence[str], keys: Keys | None) -> None:
        self._core = core
        self._display = display
        self._given = given
        self._keys = keys
        self._asked: Row | None = None
        self._answer: bool | None = None
        self._reading: contextlib.ExitStack | None = None

    async def settle(self, seen: Seen) -> bool:
        """Give what can be given; True when nothing but approvals is left and nobody can be asked."""
        for row in seen.on_hold:
            if any(fnmatch.fnmatchcase(row.job.name, pattern) for pattern in self._given):
                await self._decide(row, is_given=True)
                return False
        if self._keys is None:
            return seen.is_stuck
        if self._asked is not None and self._answer is not None:
            await self._decide(self._asked, is_given=self._answer)
            self._stop_asking()
            return False
        still = {row.job.id for row in seen.on_hold}
        if self._asked is not None and self._asked.job.id not in still:
            self._stop_asking()
        if self._asked is None and seen.on_hold:
            self._ask(seen.on_hold[0])
        return False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody is asked meanwhile: somebody else reads the keys."""
        keys = self._keys
        self._stop_asking()
        self._keys = None
        try:
            yield
        finally:
            self._keys = keys

    def close(self) -> None:
        self._stop_asking()

    def _ask(self, row: Row) -> None:
        assert self._keys is not None
        self._asked, self._answer = row, None
        self._reading = contextlib.ExitStack()
        self._reading.enter_context(self._keys.told(self._press, raw=False))
        self._display.ask(f"approve {row.label}? [y/n]")

    def _stop_asking(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._display.ask("")
        self._asked, self._answer, self._reading = None, None, None

    def _press(self, typed: bytes) -> None:
        for key in typed:
            if key in _YES or key in _NO:
                self._answer = key in _YES
                self._core.bell.ring("keys")
                return

    async def _decide(self, row: Row, *, is_given: bool) -> None:
        try:
            if is_given:
                await self._core.commands.approve(row.job.id, YOU)
            else:
                await self._core.commands.cancel_job(row.job.id, YOU)
        except RondoError:  # it was canceled meanwhile
            return
        self._display.note(f"{row.label} is {'approved' if is_given else 'not approved'}")
