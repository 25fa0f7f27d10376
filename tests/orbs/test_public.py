"""The public registry, against a local server that speaks its GraphQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.clock import FakeClock
from appliance.errors import SettingsError
from appliance.language import compile
from appliance.orbs.addresses import networks_of
from appliance.orbs.cache import Cache
from appliance.orbs.fetch import Fetcher
from appliance.orbs.names import Unreachable
from appliance.orbs.public import Public
from appliance.orbs.shelf import from_settings
from appliance.settings import Settings
from tests.orbs.world import Reply, Request, Served, orb, serving

NETWORKS = networks_of(["127.0.0.0/8"])


class Registry:
    """What `POST /graphql-unstable` answers to the two queries that are asked."""

    def __init__(self, versions: dict[str, dict[str, str]]) -> None:
        self.versions = versions
        self.is_down = False

    def __call__(self, request: Request) -> Reply:
        if self.is_down:
            return Reply(503)
        assert (request.method, request.path) == ("POST", "/graphql-unstable")
        assert request.headers["Content-Type"] == "application/json" and "Authorization" not in request.headers
        asked = json.loads(request.body)
        field = re.search(r"\{ (\w+)\(", asked["query"])
        assert field is not None
        (variable,) = asked["variables"].values()
        data = self.version(variable) if field[1] == "orbVersion" else self.orb(variable)
        return Reply(body=json.dumps({"data": {field[1]: data}}).encode(), headers={"Content-Type": "application/json"})

    def version(self, ref: str) -> dict[str, str] | None:
        name, _, wanted = ref.partition("@")
        versions = sorted(self.versions.get(name, {}), key=lambda text: [part.zfill(5) for part in text.split(".")])
        numbers = [text for text in versions if not text.startswith("dev:")]
        fitting = numbers if wanted == "volatile" else [text for text in numbers if f"{text}.".startswith(f"{wanted}.")]
        fitting = fitting or [text for text in versions if text == wanted]
        return {"version": fitting[-1], "source": self.versions[name][fitting[-1]]} if fitting else None

    def orb(self, name: str) -> dict[str, object] | None:
        return {"versions": [{"version": text} for text in self.versions[name]]} if name in self.versions else None


@pytest.fixture
def registry() -> Registry:
    return Registry({"circleci/node": {"5.2.0": orb("old"), "5.10.0": orb("new"), "6.0.0": orb("six"), "dev:x": orb("dev")}})


def source(served: Served, folder: Path, clock: FakeClock) -> Public:
    return Public(Fetcher(networks=NETWORKS, timeout_s=5), f"http://127.0.0.1:{served.port}/", Cache(folder, clock), 300.0)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("5.2.0", "5.2.0"), ("5", "5.10.0"), ("5.2", "5.2.0"), ("volatile", "6.0.0"), ("dev:x", "dev:x")],
)
def test_the_registry_says_what_a_reference_means(registry: Registry, tmp_path: Path, wanted: str, found: str) -> None:
    with serving(registry) as served:
        document = source(served, tmp_path, FakeClock()).resolve(f"circleci/node@{wanted}")
    assert document.name == f"circleci/node@{found}"
    assert document.text == registry.versions["circleci/node"][found]


def test_what_it_has_not_is_said_with_what_it_has(registry: Registry, tmp_path: Path) -> None:
    with serving(registry) as served:
        public = source(served, tmp_path, FakeClock())
        with pytest.raises(LookupError, match=r"other versions of it only: 5\.2\.0, 5\.10\.0, 6\.0\.0, dev:x\."):
            public.resolve("circleci/node@7")
        with pytest.raises(LookupError, match="the public registry has no circleci/nod"):
            public.resolve("circleci/nod@7")


def test_exact_versions_are_asked_for_once_in_a_lifetime(registry: Registry, tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(registry) as served:
        public = source(served, tmp_path, clock)
        public.resolve("circleci/node@5")  # which tells of 5.10.0 as well
        clock.advance(10_000_000)
        registry.versions["circleci/node"]["5.10.0"] = orb("changed behind our back")
        assert "new" in public.resolve("circleci/node@5.10.0").text
        assert len(served.requests) == 1


def test_open_versions_are_asked_for_again_after_a_while(registry: Registry, tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(registry) as served:
        public = source(served, tmp_path, clock)
        for seconds, name in ((0, "6.0.0"), (299, "6.0.0"), (2, "7.0.0")):
            clock.advance(seconds)
            assert public.resolve("circleci/node@volatile").name == f"circleci/node@{name}"
            registry.versions["circleci/node"]["7.0.0"] = orb("seven")


def test_without_a_network_the_last_answer_stands(registry: Registry, tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(registry) as served:
        public = source(served, tmp_path, clock)
        public.resolve("circleci/node@5")
        clock.advance(1_000_000)
        registry.is_down = True
        assert public.resolve("circleci/node@5").name == "circleci/node@5.10.0"
        with pytest.raises(Unreachable, match="said 503"):
            public.resolve("circleci/node@6")
    assert public.resolve("circleci/node@5").name == "circleci/node@5.10.0"
    with pytest.raises(Unreachable, match="gave no answer"):
        public.resolve("circleci/node@6")


def test_a_version_that_was_withdrawn_is_gone(registry: Registry, tmp_path: Path) -> None:
    """A clear no is an answer; only silence makes an old answer stand."""
    clock = FakeClock()
    with serving(registry) as served:
        public = source(served, tmp_path, clock)
        public.resolve("circleci/node@dev:x")
        del registry.versions["circleci/node"]["dev:x"]
        clock.advance(301)
        with pytest.raises(LookupError, match="other versions"):
            public.resolve("circleci/node@dev:x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"data": []}',
        b'{"data": {"orbVersion": []}}',
        b'{"data": {"orbVersion": {"version": 1, "source": "x"}}}',
        b'{"data": {"orbVersion": {"version": "5.0.0"}}}',
        b'{"data": {"orbVersion": {"version": "9.9.9", "source": "not what was asked for"}}}',
        b'{"data": {"orbVersion": null, "orb": null}, "errors": [{"message": "try later"}]}',
        b'{"errors": "odd"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_odd_answers_are_no_orbs(tmp_path: Path, body: bytes) -> None:
    with serving(lambda request: Reply(body=body)) as served, pytest.raises(LookupError):
        source(served, tmp_path, FakeClock()).resolve("circleci/node@5.0.0")
    assert not (tmp_path / "questions").exists()


def test_the_settings_switch_it_on(registry: Registry, tmp_path: Path) -> None:
    config = "version: 2.1\norbs: {node: circleci/node@5}\njobs: {build: {docker: [{image: a}], steps: [node/say]}}\n"

    def compiled(**changes: bool | str | tuple[str, ...]) -> list[str]:
        shelf = from_settings(Settings().replaced(**changes), tmp_path, FakeClock())
        return [problem.message for problem in compile(config, orbs=shelf.source("acme")).problems]

    with serving(registry) as served:
        url = f"http://127.0.0.1:{served.port}"
        assert "cannot be resolved" in compiled(orbs__public_url=url, orbs__networks=("127.0.0.0/8",))[0]
        assert "not fetched from" in compiled(orbs__public=True, orbs__public_url=url)[0]
        assert served.requests == []
        assert compiled(orbs__public=True, orbs__public_url=url, orbs__networks=("127.0.0.0/8",)) == []
    with pytest.raises(SettingsError, match="public_url"):
        compiled(orbs__public=True, orbs__public_url="file:///etc")


def test_a_slow_registry_does_not_hold_up_all(tmp_path: Path) -> None:
    """Once the time of a config is used up, nobody outside is asked for it any more; another one starts anew."""
    clock = FakeClock()

    def slow(request: Request) -> Reply:
        clock.advance(40)
        return Reply(503)

    with serving(slow) as served:
        settings = Settings().replaced(
            orbs__public=True, orbs__public_url=f"http://127.0.0.1:{served.port}", orbs__networks=("127.0.0.0/8",)
        )
        shelf = from_settings(settings, tmp_path, clock)
        ask: Callable[[str], object] = shelf.source("acme").resolve
        for number in range(4):
            with pytest.raises(LookupError, match="said 503" if number < 2 else "took longer than 60 s"):
                ask(f"circleci/node@{number}")
        assert len(served.requests) == 2
        with pytest.raises(LookupError, match="said 503"):
            shelf.source("acme").resolve("circleci/node@1")
