"""What a job may ask while it runs, and the answers.

`circleci run oidc get` asks for an ID token: never more than a wish for an audience and a shorter life; everything else in
a token is our own. The `curl` of setup workflows asks to continue the pipeline: with a key, as it would over the network.
The question comes by the sandbox's own channel, so whoever writes it there is this job and can only get what is this job's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import replace

from appliance.engine import oidc, rights
from appliance.engine.record import Record
from appliance.engine.workshop import Facts, Workshop, signature
from appliance.errors import BadRequest, Refused, RondoError, SandboxError, SandboxLost
from appliance.executors.base import ANSWERS, Sandbox
from appliance.store import pipelines, projects
from appliance.store.database import Tx

log = logging.getLogger(__name__)

_MOST_TOKENS = 100  # of one node: each is one more thing to look for in all of its output
_AT_ONCE = 20  # answers without a pause; each costs a process in the sandbox, and a job asks as fast as it likes
_PAUSE_S = 1.0
_MOST_CONTINUATIONS = 100  # of one node: to ask costs it nothing, to answer costs us
_LARGEST_REQUEST = 9 << 20
_CONTINUE = re.compile(r"continue ([0-9]{1,4})")
_OIDC = re.compile(r"oidc ([01]) (-|[0-9a-z]+) (.*)", re.DOTALL)


async def answer_questions(shop: Workshop, facts: Facts, sandbox: Sandbox, record: Record) -> None:
    """Answer until cancelled, or until the sandbox is lost."""
    answerer = _Answerer(shop, facts, record, sandbox)
    count = 0
    try:
        async for question in sandbox.questions():
            count += 1
            if count > _AT_ONCE:
                await asyncio.sleep(_PAUSE_S)
            try:
                found = await answerer.answer(question.text)
                if found is not None:
                    await sandbox.put(ANSWERS + question.id, found)
            except SandboxLost:
                raise
            except SandboxError as error:  # it is asked again
                log.warning("an answer did not get into a sandbox", extra={"sandbox": sandbox.ref, "error": str(error)})
    except SandboxLost:
        return  # who follows the steps meets the same, and says so


class _Answerer:
    def __init__(self, shop: Workshop, facts: Facts, record: Record, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._shop = shop
        self._facts = facts
        self._record = record
        self._continuations = 0
        self._given: dict[oidc.Wish, tuple[str, int]] = {}  # to when it is still as good as a new one

    async def answer(self, text: str) -> bytes | None:
        """What the command that asks understands; None when there is no answer for it now. Raises SandboxError."""
        if found := _CONTINUE.fullmatch(text):
            return await self._continued(found[1])
        try:
            return f"ok {await self._token(text)}\n".encode()
        except RondoError as error:
            return f"no {' '.join(str(error).split())}\n".encode("utf-8", "replace")

    async def _continued(self, request: str) -> bytes | None:
        """ "STATUS", and the body on the next lines. One that was answered just before a crash is the same request."""
        carry_on = self._shop.carry_on
        if carry_on is None or not self._facts.workflow.is_setup or self._continuations >= _MOST_CONTINUATIONS:
            return None
        self._continuations += 1
        body = await self._sandbox.fetch(f"requests/{request}/body", _LARGEST_REQUEST)
        name = f"{self._facts.job.id}.{self._facts.node.index}/{request}"
        status, answer = await carry_on(body, name)
        return b"%d\n%b" % (status, answer)

    async def _token(self, text: str) -> str:
        wish = wish_of(text)
        if not await self._shop.db.read(self._may_have_secrets):
            raise Refused("this pipeline gets no OIDC token: it is a fork's, which gets none of the project's secrets")
        token, good_until_ms = self._given.get(wish, ("", 0))
        if self._shop.clock.now_ms() < good_until_ms:
            return token
        if len(self._given) >= _MOST_TOKENS and wish not in self._given:
            raise Refused(f"this job has been given {_MOST_TOKENS} different OIDC tokens, the most there are")
        token, expires_s = await oidc.token(self._shop, replace(self._facts, may_have_secrets=True), wish)
        # Before anybody can print it; also for the runner after a restart. Without room for that there is no token.
        await self._record.keep_secret({token, signature(token)})
        now_ms = self._shop.clock.now_ms()
        self._given[wish] = (token, now_ms + (expires_s * 1000 - now_ms) // 10)
        return token

    def _may_have_secrets(self, tx: Tx) -> bool:
        """As things are now, not as they were when the job began."""
        pipeline = pipelines.pipeline(tx, self._facts.pipeline.id)
        return rights.may_have_secrets(pipeline, projects.flags(tx, self._facts.project.id))


def wish_of(text: str) -> oidc.Wish:
    """What a question of the in-job command wishes for: `oidc ROOT TTL CLAIMS`. Raises BadRequest."""
    found = _OIDC.fullmatch(text)
    if found is None:
        raise BadRequest("this cannot be asked")
    root, ttl, claims = found.groups()
    try:
        wanted = json.loads(claims)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise BadRequest("""--claims must be a JSON object like '{"aud": "x"}'""")
    if set(wanted) - {"aud"}:
        raise BadRequest(f"only the claim aud can be chosen, not {', '.join(sorted(set(wanted) - {'aud'}))[:200]}")
    return oidc.Wish(
        audience=oidc.audience_of(wanted["aud"]) if "aud" in wanted else None,
        ttl_s=None if ttl == "-" else oidc.seconds(ttl),
        has_root_issuer=root == "1",
    )
