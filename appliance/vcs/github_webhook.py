"""What a GitHub webhook means. Pure: bytes and headers in, a Trigger or the reason to ignore it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from appliance.crypto import signature_matches
from appliance.errors import BadRequest, Refused
from appliance.model import Commit, Project, Trigger, TriggerKind
from appliance.vcs.base import Ignored
from appliance.vcs.names import NO_REVISION, is_ref_name, is_revision
from appliance.vcs.strict_json import parse_object, prose, word

_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,100}")
_MESSAGE_LIMIT = 20_000


def understand(project: Project, secret: str | None, headers: Mapping[str, str], body: bytes) -> Trigger | Ignored:
    """See `Provider.receive`. The signature is checked before anything else is looked at."""
    heads = _single(headers)
    _check_signature(project, secret, heads.get("x-hub-signature-256"), body)
    event = heads.get("x-github-event", "")
    if event == "ping":
        return Ignored("the webhook works")
    if event == "pull_request":
        return Ignored("pull requests start nothing yet; the pushes to their branches do")
    if event != "push":
        return Ignored(f"events of type {event[:50]!r} start nothing; only pushes do")
    delivery_id = heads.get("x-github-delivery", "")
    if not _DELIVERY.fullmatch(delivery_id):
        raise BadRequest("X-GitHub-Delivery is missing or strange")
    return _push(project, delivery_id, parse_object(_payload(heads, body)))


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
    full_name = word(document, "repository", "full_name")
    if full_name.casefold() != project.name.casefold():
        raise Refused(f"this is a push to {full_name[:200]!r}, signed with the secret of {project.name}")
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
        branch=branch,
        tag=tag,
        revision=_commit_of(document, after, is_tag=tag is not None),
        base_revision=None if before == NO_REVISION else before,
        actor=word(document, "sender", "login"),
        commit=_commit(document),
        is_fork=False,  # who can push to the repository's own refs is no stranger
    )


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
