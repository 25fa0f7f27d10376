"""GitHub's webhooks: what they mean, and every way to lie with one. Bodies are in deliveries/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from appliance.crypto import github_signature
from appliance.errors import BadRequest, Refused
from appliance.model import Trigger, TriggerKind, Vcs
from appliance.vcs.base import Ignored
from appliance.vcs.github_webhook import understand
from tests.vcs.repos import project

SECRET = "it is a secret"
DELIVERIES = sorted(Path(__file__).parent.joinpath("deliveries").glob("*.json"))
HOSTED_BY_GITHUB = project(Vcs.GITHUB, "https://github.example/acme/app.git")


def load(name: str) -> Any:
    return json.loads(Path(__file__).parent.joinpath("deliveries", f"{name}.json").read_text("utf-8"))


def headers(body: bytes, event: str = "push", **changes: str | None) -> dict[str, str]:
    found: dict[str, str | None] = {
        "User-Agent": "GitHub-Hookshot/0123abc",
        "Content-Type": "application/json",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": github_signature(SECRET, body),
    }
    found.update({name.replace("_", "-"): value for name, value in changes.items()})
    return {name: value for name, value in found.items() if value is not None}


def receive(body: bytes, heads: Mapping[str, str] | None = None) -> Trigger | Ignored:
    return understand(HOSTED_BY_GITHUB, SECRET, headers(body) if heads is None else heads, body)


def push(**changes: Any) -> bytes:
    return json.dumps({**load("push_branch")["body"], **changes}).encode()


@pytest.mark.parametrize("path", DELIVERIES, ids=[path.stem for path in DELIVERIES])
def test_a_delivery_means_what_it_says(path: Path) -> None:
    case = load(path.stem)
    body = json.dumps(case["body"]).encode()
    found = receive(body, headers(body, case["event"]))
    expect = case["expect"]
    if "ignored" in expect:
        assert found == Ignored(expect["ignored"])
        return
    assert isinstance(found, Trigger)
    assert found.kind is TriggerKind.WEBHOOK and found.is_fork is expect.pop("is_fork", False)
    assert found.delivery_id == "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    key = expect.pop("key", None)
    assert found.semantic_key == (key or "push {ref} {before} {after}".format_map(case["body"]))
    assert found.commit.author_login == expect.pop("author")
    assert (found.commit.subject, found.commit.body) == (expect.pop("subject"), expect.pop("body"))
    assert {name: getattr(found, name) for name in expect} == expect


@pytest.mark.parametrize(
    ("said", "moment"), [(1433616103, "1433616103"), ("2015-06-06T18:41:43Z", "2015-06-06T18:41:43Z"), (None, ""), ({}, "")]
)
def test_the_moment_of_a_push_is_the_forges(said: object, moment: str) -> None:
    found = receive(push(repository={**load("push_branch")["body"]["repository"], "pushed_at": said}))
    assert isinstance(found, Trigger) and found.moment == moment


ELSEWHERE = {"full_name": "acme/app", "fork": False}


@pytest.mark.parametrize(
    ("head", "base"),
    [
        (None, {"id": 512}),  # the fork was deleted
        (ELSEWHERE, {"id": 512}),
        ({**ELSEWHERE, "id": None}, {"id": 512}),
        ({**ELSEWHERE, "id": 9000}, {"id": 512}),
        ({**ELSEWHERE, "id": 9000}, {"id": 9000}),
        ({**ELSEWHERE, "id": 512}, {}),
        ({**ELSEWHERE, "id": 512}, None),
    ],
)
def test_a_pull_request_is_a_strangers_unless_its_repository_is_ours_by_its_id(head: Any, base: Any) -> None:
    body = load("pull_request_of_a_fork")["body"]
    body["pull_request"]["head"]["repo"], body["pull_request"]["base"]["repo"] = head, base
    raw = json.dumps(body).encode()
    found = receive(raw, headers(raw, "pull_request"))
    assert isinstance(found, Trigger) and found.is_fork and found.branch == "pull/7"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("pull_request", "number"), "7"),
        (("pull_request", "number"), True),
        (("pull_request", "number"), -1),
        (("pull_request", "number"), None),
        (("pull_request", "head", "sha"), "main"),
        (("pull_request", "head", "repo", "id"), "512"),
        (("pull_request", "head", "repo", "id"), 512.0),
        (("sender", "id"), [1]),
    ],
)
def test_a_pull_request_in_a_strange_shape_is_refused(path: tuple[str, ...], value: Any) -> None:
    body = load("pull_request_of_a_fork")["body"]
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    raw = json.dumps(body).encode()
    with pytest.raises(BadRequest):
        receive(raw, headers(raw, "pull_request"))


def test_a_branch_of_a_pull_request_that_git_could_not_have_is_refused() -> None:
    body = load("pull_request_of_a_branch")["body"]
    body["pull_request"]["head"]["ref"] = "a b"
    raw = json.dumps(body).encode()
    with pytest.raises(BadRequest):
        receive(raw, headers(raw, "pull_request"))


def test_a_pull_request_of_another_repository_is_refused() -> None:
    body = load("pull_request_of_a_fork")["body"]
    body["repository"]["full_name"] = "acme/other"
    raw = json.dumps(body).encode()
    with pytest.raises(Refused):
        receive(raw, headers(raw, "pull_request"))


def test_header_names_have_no_case_and_a_form_is_read_too() -> None:
    payload = push()
    body = urlencode({"payload": payload.decode()}).encode()
    heads = CIMultiDictProxy(CIMultiDict(headers(body, Content_Type="application/x-www-form-urlencoded")))
    assert isinstance(receive(body, heads), Trigger)
    plain = headers(payload)
    assert isinstance(receive(payload, {name.upper(): value for name, value in plain.items()}), Trigger)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        github_signature(SECRET, push())[:-1],
        github_signature(SECRET, push()).upper(),
        github_signature(SECRET, push()) + " ",
        github_signature(SECRET, push()).replace("sha256", "sha1"),
        github_signature("another project's secret", push()),
        github_signature("", push()),
        github_signature(SECRET, push() + b" "),
        "sha256=" + "é" * 64,
    ],
)
def test_no_signature_but_the_right_one_is_taken(signature: str | None) -> None:
    with pytest.raises(Refused, match="X-Hub-Signature-256 is missing or does not sign this body"):
        receive(push(), headers(push(), X_Hub_Signature_256=signature))


def test_the_old_sha1_signature_is_nothing() -> None:
    with pytest.raises(Refused):
        receive(push(), headers(push(), X_Hub_Signature_256=None, X_Hub_Signature=github_signature(SECRET, push())))


def test_one_changed_byte_breaks_the_signature() -> None:
    with pytest.raises(Refused):
        receive(push().replace(b"refs/heads/main", b"refs/heads/prod"), headers(push()))


@pytest.mark.parametrize("secret", [None, ""])
def test_a_project_without_secret_takes_nothing(secret: str | None) -> None:
    body = push()
    with pytest.raises(Refused, match="acme/app has no webhook secret yet"):
        understand(HOSTED_BY_GITHUB, secret, headers(body, X_Hub_Signature_256=github_signature("", body)), body)


def test_two_signatures_are_refused_even_if_one_is_right() -> None:
    body = push()
    heads = CIMultiDict(headers(body))
    heads.add("X-Hub-Signature-256", "sha256=" + "0" * 64)
    with pytest.raises(Refused, match="comes twice"):
        receive(body, heads)


def test_a_push_to_another_repository_is_refused() -> None:
    for full_name in ("acme/other", "mallory/app", "acme/app/x", "", "acme/app\n"):
        body = push(repository={"full_name": full_name})
        with pytest.raises(Refused, match="signed with the secret of acme/app"):
            receive(body)


def test_the_repositorys_name_has_no_case() -> None:
    assert isinstance(receive(push(repository={"full_name": "Acme/App"})), Trigger)


BAD_BODIES = {
    "empty": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "invalid UTF-8": b'{"ref": "\xff"}',
    "UTF-16": push().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + push(),
    "NaN": b'{"ref": NaN}',
    "a huge number": b'{"ref": ' + b"9" * 5000 + b"}",
    "a key twice": push()[:-1] + b', "ref": "refs/heads/prod"}',
    "a key twice inside": b'{"repository": {"full_name": "acme/app", "full_name": "acme/other"}}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_what_is_not_plain_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        receive(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": 5},
        {"ref": ["refs/heads/main"]},
        {"ref": ""},
        {"ref": None},
        {"ref": "main"},
        {"ref": "refs/heads/../../etc"},
        {"ref": "refs/heads/a b"},
        {"ref": "refs/heads/a\n"},
        {"ref": "refs/heads/a\0"},
        {"ref": "refs/heads/" + "x" * 5000},
        {"after": "main"},
        {"after": "A1" * 20},
        {"after": "a1" * 19},
        {"after": "--upload-pack=x"},
        {"after": None},
        {"after": 10**20},
        {"before": "-x"},
        {"before": None},
        {"repository": {"full_name": {"a": 1}}},
        {"head_commit": {"message": 5}},
        {"sender": {"login": []}},
    ],
)
def test_a_signed_body_of_the_wrong_shape_is_a_bad_request(changes: Mapping[str, Any]) -> None:
    with pytest.raises((BadRequest, Refused)):
        receive(push(**changes))


def test_parts_that_are_missing_are_empty() -> None:
    found = receive(push(head_commit=None, sender=None, commits="?"))
    assert isinstance(found, Trigger)
    assert (found.actor, found.commit.subject, found.commit.author_name) == ("", "", "")


def test_half_characters_and_endless_messages_can_be_stored() -> None:
    found = receive(push(head_commit={"message": "\ud800 x" * 100_000, "author": {"name": "\udfff"}}))
    assert isinstance(found, Trigger)
    assert len(found.commit.subject.encode()) <= 20_000
    assert found.commit.author_name == "?"


@pytest.mark.parametrize("delivery", [None, "", "x" * 101, "a b", "a\n", "é"])
def test_a_strange_delivery_id_is_a_bad_request(delivery: str | None) -> None:
    with pytest.raises(BadRequest, match="X-GitHub-Delivery"):
        receive(push(), headers(push(), X_GitHub_Delivery=delivery))


@pytest.mark.parametrize("form", [b"payload=%7B%7D&payload=%7B%7D", b"other=1", b"", b"\xff=1", b"payload=%FF"])
def test_a_strange_form_is_a_bad_request(form: bytes) -> None:
    with pytest.raises((BadRequest, Refused)):
        receive(form, headers(form, Content_Type="application/x-www-form-urlencoded"))


def test_a_delete_that_says_it_is_not_one_starts_nothing() -> None:
    assert isinstance(receive(push(after="0" * 40, deleted=False)), Ignored)
    assert isinstance(receive(push(deleted=True)), Ignored)
