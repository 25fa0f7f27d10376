"""Orbs by URL: what is allowed, how many, how deep, how old."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.clock import FakeClock
from appliance.errors import SettingsError
from appliance.language import compile
from appliance.orbs.addresses import networks_of
from appliance.orbs.cache import Cache
from appliance.orbs.fetch import Fetcher
from appliance.orbs.shelf import Shelf
from appliance.orbs.urls import Urls, checked_prefixes
from tests.orbs.world import Reply, Request, Served, certificate, orb, serving


class Site:
    def __init__(self, folder: Path) -> None:
        self.pages: dict[str, str] = {}
        self.clock = FakeClock()
        self.folder = folder
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    @contextmanager
    def open(self) -> Iterator[Served]:
        def answer(request: Request) -> Reply:
            page = self.pages.get(request.path)
            return Reply(404) if page is None else Reply(body=page.encode())

        server, self.tls = certificate(self.folder, "orbs.example")
        with serving(answer, server) as served:
            self.port = served.port
            yield served

    @property
    def base(self) -> str:
        return f"https://orbs.example:{self.port}/orbs/"

    def urls(self) -> Urls:
        fetcher = Fetcher(
            networks=networks_of(["127.0.0.0/8"]), timeout_s=5, tls=self.tls, resolve=lambda host, port: ["127.0.0.1"]
        )
        return Urls(fetcher, checked_prefixes((self.base,)), Cache(self.folder / "cache", self.clock))

    def messages(self, *urls: str) -> list[str]:
        stanza = ", ".join(f"o{number}: '{url}'" for number, url in enumerate(urls))
        config = f"version: 2.1\norbs: {{{stanza}}}\njobs: {{build: {{docker: [{{image: a}}], steps: [o0/say]}}}}\n"
        compiled = compile(config, orbs=Shelf(clock=self.clock, urls=self.urls()).source("acme"))
        return [problem.message for problem in compiled.problems]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_config_uses_an_orb_by_url(site: Site) -> None:
    with site.open():
        site.pages["/orbs/a.yml"] = orb("a")
        assert site.messages(site.base + "a.yml") == []
        assert "said 404" in site.messages(site.base + "none.yml")[0]


@pytest.mark.parametrize(
    "url",
    [
        "https://orbs.example:{port}/other/a.yml",
        "https://orbs.example:{port}/orbs",
        "https://orbs.example:{port}/orbs/../other/a.yml",
        "https://orbs.example:{port}/orbs/..",
        "https://orbs.example:{port}/orbs/%2e%2e/other/a.yml",
        "https://orbs.example:{port}/orbs/.%2E/other/a.yml",
        "https://orbs.example:{port}/orbs/..%2fother/a.yml",
        "https://orbs.example:{port}/orbs/..%5cother/a.yml",
        "https://orbs.example:{port}/orbs/x/./a.yml",
        "https://orbs.example:{port}/orbs\\\\a.yml",
        "https://orbs.example/orbs/a.yml",
        "https://orbs.example:{port}@127.0.0.1/orbs/a.yml",
        "https://evil.example/?https://orbs.example:{port}/orbs/a.yml",
        "https://orbs.example:{port}.evil.example/orbs/a.yml",
        "https://127.0.0.1:{port}/orbs/a.yml",
        "https://169.254.169.254/latest/meta-data/",
        "https:///orbs/a.yml",
    ],
)
def test_only_what_is_below_an_allowed_prefix_is_fetched(site: Site, url: str) -> None:
    with site.open() as served:
        site.pages = {path: orb("a") for path in ("/orbs/a.yml", "/other/a.yml", "/a.yml")}
        assert "must begin with what the administrator allowed" in site.messages(url.format(port=site.port))[0]
        assert served.requests == []


@pytest.mark.parametrize("url", ["http://orbs.example/orbs/a.yml", "file:///etc/passwd", "gopher://orbs.example/orbs/"])
def test_other_schemes_are_no_references_at_all(site: Site, url: str) -> None:
    with site.open():
        assert "is no reference to an orb" in site.messages(url)[0]


def test_the_host_may_be_written_in_any_case(site: Site) -> None:
    with site.open():
        site.pages["/orbs/a.yml"] = orb("a")
        assert site.messages(f"https://Orbs.EXAMPLE:{site.port}/orbs/a.yml") == []


def test_an_answer_holds_for_five_minutes_and_longer_without_a_network(site: Site) -> None:
    with site.open() as served:
        url = site.base + "a.yml"
        urls = site.urls()
        for seconds, count in ((0, 1), (299, 1), (2, 2), (10, 2)):
            site.clock.advance(seconds)
            site.pages["/orbs/a.yml"] = orb(f"at {count}")
            assert urls.fetch(url).text == orb(f"at {count}")
            assert len(served.requests) == count
    site.clock.advance(10_000)
    assert urls.fetch(url).text == orb("at 2")


def test_fifty_a_config(site: Site) -> None:
    with site.open():
        for number in range(51):
            site.pages[f"/orbs/{number}.yml"] = orb("x")
        assert site.messages(*(f"{site.base}{number}.yml" for number in range(50))) == []
        messages = site.messages(*(f"{site.base}{number}.yml" for number in range(51)))
    assert len(messages) == 1 and "may import 50 orbs by URL at most" in messages[0]


def test_five_deep(site: Site) -> None:
    with site.open():
        for number in range(1, 7):
            site.pages[f"/orbs/{number}.yml"] = orb("x", f"next: '{site.base}{number + 1}.yml'" if number < 6 else "")
        assert site.messages(site.base + "2.yml") == []
        messages = site.messages(site.base + "1.yml")
    assert len(messages) == 1 and "may import each other 5 deep at most" in messages[0]


def test_orbs_that_import_each_other_in_a_circle_are_an_error(site: Site) -> None:
    with site.open():
        for one, other in (("a", "b"), ("b", "a")):
            site.pages[f"/orbs/{one}.yml"] = orb("x", f"next: '{site.base}{other}.yml'")
        assert any("deep" in message for message in site.messages(site.base + "a.yml"))


def test_what_is_no_text_is_no_orb(site: Site, tmp_path: Path) -> None:
    server, site.tls = certificate(tmp_path, "orbs.example")
    with serving(lambda request: Reply(body=b"\xff\xfe\x00"), server) as served:
        site.port = served.port
        with pytest.raises(LookupError, match="not UTF-8"):
            site.urls().fetch(site.base + "a.yml")


@pytest.mark.parametrize(
    "prefix",
    [
        "http://a.example/",
        "https://a.example",
        "https://a.example/orbs",
        "https:///",
        "https://u@a.example/",
        "ftp://a/",
        "",
        "/",
    ],
)
def test_prefixes_are_checked_at_the_start(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"orbs\.urls"):
        checked_prefixes((prefix,))


def test_there_are_five_prefixes_at_most() -> None:
    prefixes = tuple(f"https://h{number}.example/" for number in range(6))
    assert checked_prefixes(prefixes[:5]) == prefixes[:5]
    with pytest.raises(SettingsError, match="at most 5"):
        checked_prefixes(prefixes)
