"""Carries letters from the outbox into the world: again and again with growing pauses, then gives up and says so."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.errors import DiskFull, RondoError
from appliance.model import ProjectId, Vcs
from appliance.store import outbox, projects
from appliance.store.database import Database
from appliance.vcs.base import CommitStatus, Provider

log = logging.getLogger(__name__)

_LOOK_S = 10.0
_LONGEST_S = outbox.LONGEST_PAUSE_MS // 1000
_PAUSES_S = (5, 15, 60, 300, 900, _LONGEST_S, _LONGEST_S, _LONGEST_S)


class Courier:
    def __init__(self, *, db: Database, bell: Bell, clock: Clock, providers: Mapping[Vcs, Provider], web_url: str) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._providers = providers
        self._web_url = web_url

    async def run(self) -> None:
        """Ends only by being cancelled. A letter may arrive twice when we die between sending and noting it."""
        with self._bell.listen("outbox") as listener:
            while True:
                try:
                    while await self.carry_due():
                        pass
                except DiskFull as error:
                    log.error("a full disk holds up letters", extra={"error": str(error)})
                await listener.wait(_LOOK_S)

    async def carry_due(self) -> int:
        """Carry the letters that are due; how many there were."""
        now_ms = self._clock.now_ms()
        letters = await self._db.read(lambda tx: outbox.due(tx, now_ms))
        for letter in letters:
            await self._carry(letter)
        return len(letters)

    async def _carry(self, letter: outbox.Letter) -> None:
        # What failed once may be outrun by what happened next: "runs" must not arrive after "succeeded". Nor what was
        # due before a clock was set back: what was written after that has been sent by now.
        is_first = letter.attempts == 0
        if await self._db.read(lambda tx: outbox.has_newer(tx, letter, is_sent=is_first)):
            await self._db.write(lambda tx: outbox.failed(tx, letter.id, "a newer one took its place", None))
            return
        try:
            await self._deliver(letter)
        except RondoError as error:
            message, retry_at_ms = str(error), self._retry_at_ms(letter)
            await self._db.write(lambda tx: outbox.failed(tx, letter.id, message, retry_at_ms))
            level = logging.WARNING if retry_at_ms else logging.ERROR
            log.log(level, "a letter did not arrive", extra={"letter": letter.id, "error": message})
        else:
            await self._db.write(lambda tx: outbox.sent(tx, letter.id))

    def _retry_at_ms(self, letter: outbox.Letter) -> int | None:
        if letter.attempts >= len(_PAUSES_S):
            return None
        return self._clock.now_ms() + _PAUSES_S[letter.attempts] * 1000

    async def _deliver(self, letter: outbox.Letter) -> None:
        body = letter.body
        project = await self._db.read(lambda tx: projects.by_id(tx, ProjectId(body["project"])))
        status = CommitStatus(
            context=body["context"],
            state=body["state"],
            description=body["description"],
            target_url=self._web_url + body["path"],
        )
        await self._providers[project.vcs].say(project, body["revision"], status)
