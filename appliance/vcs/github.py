"""GitHub and GitHub Enterprise: webhooks in, commit statuses out, the repository through a mirror."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from appliance.errors import VcsError
from appliance.model import Project, Trigger
from appliance.vcs import github_webhook
from appliance.vcs.base import CommitStatus, Ignored
from appliance.vcs.mirror import Mirrors
from appliance.vcs.mirrored import Mirrored
from appliance.vcs.names import checked_revision
from appliance.vcs.words import readable

_DESCRIPTION_LIMIT = 140  # GitHub refuses longer ones
_ANSWER_LIMIT_BYTES = 4096
_HINTS = {
    401: "is the token still valid?",
    403: "may the token write commit statuses, and is there room in the rate limit?",
    404: "is the token allowed on the repository?",
    422: "is the commit there, and are there fewer than 1,000 statuses on it?",
}


class GitHub(Mirrored):
    """The provider `github`. `api` is the base URL of the API; without a token no statuses are sent."""

    def __init__(self, mirrors: Mirrors, *, api: str, token: str, timeout_s: float = 20.0) -> None:
        super().__init__(mirrors)
        self._api = api.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s

    def receive(self, project: Project, secret: str | None, headers: Mapping[str, str], body: bytes) -> Trigger | Ignored:
        return github_webhook.understand(project, secret, headers, body)

    async def say(self, project: Project, revision: str, status: CommitStatus) -> None:
        if not self._token:
            return
        url = f"{self._api}/repos/{project.org}/{project.repo}/statuses/{checked_revision(revision)}"
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._post(url, _body(status))
        except TimeoutError:
            raise VcsError(f"GitHub did not answer within {self._timeout_s:g} s at {url}") from None
        except aiohttp.ClientError as error:
            raise VcsError(f"cannot reach GitHub at {url}: {error or type(error).__name__}") from None

    async def _post(self, url: str, body: Mapping[str, str]) -> None:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "User-Agent": "rondo",
        }
        # A session a status: they are few, and so there is nothing to close. No redirects: the token is for the API.
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, json=body, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status >= 300:
                said = readable(await answer.content.read(_ANSWER_LIMIT_BYTES))
                raise VcsError(f"GitHub said {answer.status} to the status at {url}: {_hint(answer.status)} ({said})")


def _hint(status: int) -> str:
    if 300 <= status < 400:
        return "was the repository renamed?"
    return _HINTS.get(status, "it may go away by itself" if status >= 500 else "is github.api right?")


def _body(status: CommitStatus) -> dict[str, str]:
    description = status.description
    if len(description) > _DESCRIPTION_LIMIT:
        description = description[: _DESCRIPTION_LIMIT - 1] + "…"
    return {
        "state": status.state,
        "context": status.context,
        "description": description,
        "target_url": status.target_url,
    }
