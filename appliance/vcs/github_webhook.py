"""What a GitHub webhook means. Pure: bytes and headers in, a Trigger or the reason to ignore it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from appliance.crypto import signature_matches
from appliance.errors import BadRequest, Refused
from appliance.model import Commit, Project, PullRequest, Trigger, TriggerKind
from appliance.vcs.base import Ignored
from appliance.vcs.names import NO_REVISION, is_ref_name, is_revision
from appliance.vcs.strict_json import parse_object, prose, whole_number, word

_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,100}")
_MESSAGE_LIMIT = 20_000
_LONGEST_MOMENT = 40
_NEWS = ("opened", "reopened", "synchronize")


def understand(project: Project, secret: str | None, headers: Mapping[str, str], body: bytes) -> Trigger | Ignored:
    """See `Provider.receive`. The signature is checked before anything else is looked at."""
    heads = _single(headers)
    _check_signature(project, secret, heads.get("x-hub-signature-256"), body)
    event = heads.get("x-github-event", "")
    if event == "ping":
        return Ignored("the webhook works")
    if event not in ("push", "pull_request"):
        return Ignored(f"events of type {event[:50]!r} start nothing; only pushes and pull requests do")
    delivery_id = heads.get("x-github-delivery", "")
    if not _DELIVERY.fullmatch(delivery_id):
        raise BadRequest("X-GitHub-Delivery is missing or strange")
    document = parse_object(_payload(heads, body))
    full_name = word(document, "repository", "full_name")
    if full_name.casefold() != project.name.casefold():
        raise Refused(f"this is about {full_name[:200]!r}, signed with the secret of {project.name}")
    if event == "pull_request":
        return _pull_request(project, delivery_id, document)
    return _push(project, delivery_id, document)


def _single(headers: Mapping[str, str]) -> dict[str, str]:
    """Header names in lower case. The same header twice could be read either way, so it is refused."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name.lower().startswith("x-") and name.lower() in found:
            raise Refused(f"the header {name} comes twice")
        found[name.lower()] = value
    return found


def _check_signature(project: Project, secret: str | None, header: str | None, body: bytes) -> None:
    if not secret:
        raise Refused(f"{project.name} has no webhook secret yet; set one here and on GitHub")
    if not signature_matches(secret, body, header):
        raise Refused("X-Hub-Signature-256 is missing or does not sign this body with the project's secret")


def _payload(heads: Mapping[str, str], body: bytes) -> bytes:
    """The JSON; GitHub's other content type hides it in a form field. The signature covers the body either way."""
    if not heads.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return body
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=10, errors="strict")
    except ValueError:
        raise BadRequest("the body is not a form") from None
    if len(fields.get("payload", [])) != 1:
        raise BadRequest("the form has no payload, or more than one")
    return fields["payload"][0].encode("utf-8", "surrogatepass")


def _push(project: Project, delivery_id: str, document: Mapping[str, Any]) -> Trigger | Ignored:
    ref, before, after = word(document, "ref"), word(document, "before"), word(document, "after")
    if document.get("deleted") is True or after == NO_REVISION:
        return Ignored(f"{ref[:200]} was deleted")
    branch, tag = _branch_or_tag(ref)
    if branch is None and tag is None:
        return Ignored(f"{ref[:200]} is neither a branch nor a tag")
    if not is_revision(after) or not (is_revision(before) or before == NO_REVISION):
        raise BadRequest("before and after are not the ids of commits")
    return Trigger(
        project_id=project.id,
        kind=TriggerKind.WEBHOOK,
        semantic_key=f"push {ref} {before} {after}",
        delivery_id=delivery_id,
        moment=_moment(document, "repository", "pushed_at"),
        branch=branch,
        tag=tag,
        revision=_commit_of(document, after, is_tag=tag is not None),
        base_revision=None if before == NO_REVISION else before,
        actor=word(document, "sender", "login"),
        github_id=_sender_id(document),
        commit=_commit(document),
        is_fork=False,  # who can push to the repository's own refs is no stranger
    )


def _pull_request(project: Project, delivery_id: str, document: Mapping[str, Any]) -> Trigger | Ignored:
    """A pull request that has something new. Whether it is built is for the project's settings to say."""
    action = word(document, "action")
    if action not in _NEWS:
        return Ignored(f"a pull request that is {action[:50]!r} starts nothing")
    number, head = whole_number(document, "pull_request", "number"), word(document, "pull_request", "head", "sha")
    if number is None or not is_revision(head):
        raise BadRequest("the pull request has no number, or its head is not the id of a commit")
    is_fork = _comes_from_elsewhere(document)
    branch = f"pull/{number}" if is_fork else word(document, "pull_request", "head", "ref")
    if not is_ref_name(f"refs/heads/{branch}"):
        raise BadRequest("the head's ref is not a name that git could have")
    return Trigger(
        project_id=project.id,
        kind=TriggerKind.WEBHOOK,
        semantic_key=f"pull_request {number} {head}",
        delivery_id=delivery_id,
        moment=_moment(document, "pull_request", "updated_at"),
        branch=branch,
        revision=head,
        actor=word(document, "sender", "login"),
        github_id=_sender_id(document),
        is_fork=is_fork,
        pull_request=_told(document, number, action),
    )


def _comes_from_elsewhere(document: Mapping[str, Any]) -> bool:
    """By the ids of the repositories, which nobody can choose. What is unclear, as a deleted fork, is a stranger's."""
    head = whole_number(document, "pull_request", "head", "repo", "id")
    base = whole_number(document, "pull_request", "base", "repo", "id")
    here = whole_number(document, "repository", "id")
    return head is None or not head == base == here


def _told(document: Mapping[str, Any], number: int, action: str) -> PullRequest:
    of = ("pull_request",)
    base = word(document, *of, "base", "sha")
    return PullRequest(
        number=number,
        action=action,
        title=prose(document, *of, "title"),
        url=prose(document, *of, "html_url"),
        is_draft=document["pull_request"].get("draft") is True,
        base_ref=prose(document, *of, "base", "ref"),
        base_revision=base if is_revision(base) else "",
        head_ref=prose(document, *of, "head", "ref"),
        head_owner=prose(document, *of, "head", "repo", "owner", "login"),
        head_name=prose(document, *of, "head", "repo", "name"),
    )


def _moment(document: Mapping[str, Any], of: str, name: str) -> str:
    """A number of seconds, or a date: both hooks of one repository say the same of one event. No reason to refuse one."""
    found = document[of].get(name)
    return str(found)[:_LONGEST_MOMENT] if isinstance(found, int | str) else ""


def _sender_id(document: Mapping[str, Any]) -> str:
    found = whole_number(document, "sender", "id")
    return "" if found is None else str(found)


def _branch_or_tag(ref: str) -> tuple[str | None, str | None]:
    if not is_ref_name(ref):
        raise BadRequest("ref is not a name that git could have")
    if ref.startswith("refs/heads/"):
        return ref.removeprefix("refs/heads/"), None
    if ref.startswith("refs/tags/"):
        return None, ref.removeprefix("refs/tags/")
    return None, None


def _commit_of(document: Mapping[str, Any], after: str, *, is_tag: bool) -> str:
    """`after` is the tag object's id for an annotated tag; the commit is the head commit's."""
    head = word(document, "head_commit", "id")
    return head if is_tag and is_revision(head) else after


def _commit(document: Mapping[str, Any]) -> Commit:
    subject, _, rest = prose(document, "head_commit", "message", limit=_MESSAGE_LIMIT).partition("\n")
    author = ("head_commit", "author")
    return Commit(
        subject=subject.strip(),
        body=rest.strip("\n"),
        author_name=prose(document, *author, "name"),
        author_email=prose(document, *author, "email"),
        author_login=prose(document, *author, "username"),
        authored_at=prose(document, "head_commit", "timestamp"),
        url=prose(document, "head_commit", "url"),
    )
