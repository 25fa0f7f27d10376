"""The client for addresses out of configs: every way to make it reach what it must not, or wait, or swallow too much."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.errors import SettingsError
from appliance.orbs.addresses import is_allowed, networks_of
from appliance.orbs.fetch import Fetcher
from appliance.orbs.names import Unreachable
from tests.orbs.world import Reply, Request, certificate, serving

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def everywhere(_: str) -> bool:
    return True


def fixed(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda host, port: addresses


@contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """A bare socket on loopback that notes who connects: nobody may."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        met: list[object] = []
        yield server.getsockname()[1], met
        try:
            connection, address = server.accept()
        except TimeoutError:
            return
        connection.close()
        met.append(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.0.8"),
        *("192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%2", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::169.254.169.254"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "not an address", ""),
    ],
)
def test_addresses_that_only_this_machine_reaches_are_refused(address: str) -> None:
    assert not is_allowed(address, ())


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "140.82.121.4", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address, ())


def test_private_networks_are_allowed_by_name_but_never_the_one_of_credentials() -> None:
    networks = networks_of(["10.1.0.0/16", "0.0.0.0/0", "::/0"])
    assert is_allowed("10.1.2.3", networks[:1]) and is_allowed("::ffff:10.1.2.3", networks[:1])
    assert not is_allowed("10.2.2.3", networks[:1])
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1"):
        assert not is_allowed(address, networks)
    with pytest.raises(SettingsError, match=r"orbs\.networks"):
        networks_of(["10.1.0.1/16"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.1",
        "[::1]",
        "[::]",
        "0",
        "0.0.0.0",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_way_of_writing_loopback_reaches_it(scheme: str, host: str) -> None:
    with listener() as (port, met), pytest.raises(LookupError):
        Fetcher(timeout_s=2).get(f"{scheme}://{host}:{port}/orb.yml", everywhere)
    assert met == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "gopher://127.0.0.1:25/x",
            "ftp://example.org/x",
            "HTTP",
            "//example.org/x",
            "",
            "https://",
            "https:///x",
        ),
        *(
            "https://user@example.org/x",
            "https://user:secret@example.org/x",
            "https://example.org/x y",
            "https://example.org/\r\nX: y",
        ),
        *("https://example.org\\@evil.example/x", "https://example.org:x/", "https://example.org:99999/", "https://[::1/x"),
        *(
            "https://example.org/#x",
            "https://exämple.org/x",
            "https://example.org/\x00",
            "https://example.org/" + "a" * 3000,
        ),
    ],
)
def test_unusual_urls_are_not_fetched(url: str) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ()

    with pytest.raises(LookupError):
        Fetcher(resolve=resolve).get(url, everywhere)
    assert asked == []


def test_a_name_is_resolved_once_and_that_address_is_used() -> None:
    """DNS rebinding: the second answer of a name server would be loopback."""
    answers = iter([["192.0.2.1"], ["127.0.0.1"]])
    with listener() as (port, met), pytest.raises(LookupError, match="not fetched from"):
        Fetcher(timeout_s=2, resolve=lambda host, at: next(answers)).get(f"https://evil.example:{port}/x", everywhere)
    assert met == []
    assert next(answers) == ["127.0.0.1"]  # nobody asked again


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with listener() as (port, met), pytest.raises(LookupError, match="not fetched from"):
        Fetcher(timeout_s=2, resolve=fixed("1.1.1.1", "127.0.0.1")).get(f"https://evil.example:{port}/x", everywhere)
    assert met == []


def test_plain_http_is_for_an_allowed_loopback_only() -> None:
    with serving(lambda request: Reply(body=b"yes")) as served:
        assert Fetcher(networks=LOOPBACK).get(f"http://localhost:{served.port}/x", everywhere) == b"yes"
    private = Fetcher(networks=networks_of(["10.0.0.0/8"]), resolve=fixed("10.0.0.1"))
    with pytest.raises(LookupError, match="only https"):
        private.get("http://host.example/x", everywhere)


def test_tls_is_checked_against_the_name(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "orbs.example")
    with serving(lambda request: Reply(body=request.headers["Host"].encode()), server) as served:
        fetcher = Fetcher(networks=LOOPBACK, tls=client, resolve=fixed("127.0.0.1"))
        got = fetcher.get(f"https://orbs.example:{served.port}/x?y=z", everywhere)
        assert got == f"orbs.example:{served.port}".encode()
        assert served.requests[0].path == "/x?y=z"
        for stranger in (Fetcher(networks=LOOPBACK, resolve=fixed("127.0.0.1")), fetcher):
            with pytest.raises(Unreachable):
                stranger.get(f"https://{'orbs' if stranger is not fetcher else 'other'}.example:{served.port}/x", everywhere)
        assert len(served.requests) == 1


@pytest.mark.parametrize(
    "target",
    [
        *("http://127.0.0.1:1/x", "https://169.254.169.254/latest", "//127.0.0.2/x", "file:///etc/passwd", "gopher://x/"),
        *("http://localhost:{port}/other-name", "/outside", "http://user@127.0.0.1:{port}/orbs/x", ""),
    ],
)
def test_redirects_lead_nowhere_else(target: str) -> None:
    def answer(request: Request) -> Reply:
        if request.path == "/orbs/go":
            return Reply(302, headers={"Location": target.format(port=served.port)})
        return Reply(body=b"the secret")

    with serving(answer) as served:
        base = f"http://127.0.0.1:{served.port}/orbs/"
        with pytest.raises(LookupError):
            Fetcher(networks=LOOPBACK).get(base + "go", lambda url: url.startswith(base) and not url.endswith("/go"))
        assert [request.path for request in served.requests] == ["/orbs/go"]


def test_redirects_within_the_allowed_are_followed_but_not_for_ever() -> None:
    def answer(request: Request) -> Reply:
        number = int(request.path.rpartition("/")[2])
        return Reply(301, headers={"Location": f"/{number - 1}"}) if number else Reply(body=b"there")

    with serving(answer) as served:
        fetcher = Fetcher(networks=LOOPBACK)
        assert fetcher.get(f"http://127.0.0.1:{served.port}/3", everywhere) == b"there"
        with pytest.raises(LookupError, match="more than 3 times"):
            fetcher.get(f"http://127.0.0.1:{served.port}/4", everywhere)
        with pytest.raises(LookupError, match="said 301"):
            fetcher.post(f"http://127.0.0.1:{served.port}/1", b"{}", "application/json")


def drip(head: bytes) -> Callable[[Request], Reply]:
    """An answer that never ends, a byte at a time."""

    def raw(write: Callable[[bytes], bool]) -> None:
        pause = threading.Event()
        write(head)
        while write(b"x"):
            pause.wait(0.01)

    return lambda request: Reply(raw=raw)


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"],
)
def test_a_slow_answer_ends_at_the_deadline(head: bytes) -> None:
    with serving(drip(head)) as served, pytest.raises(Unreachable, match=r"took longer than 0\.3 s"):
        Fetcher(networks=LOOPBACK, timeout_s=0.3).get(f"http://127.0.0.1:{served.port}/x", everywhere)


def test_a_server_that_says_nothing_ends_at_the_deadline(tmp_path: Path) -> None:
    _, client = certificate(tmp_path, "orbs.example")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/x", f"https://127.0.0.1:{port}/x"):
            with pytest.raises(Unreachable):
                Fetcher(networks=LOOPBACK, timeout_s=0.2, tls=client).get(url, everywhere)


def endless(write: Callable[[bytes], bool]) -> None:
    write(b"HTTP/1.1 200 OK\r\n\r\n")
    while write(b"x" * 65536):
        pass


def chunks(write: Callable[[bytes], bool]) -> None:
    write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while write(b"10000\r\n" + b"x" * 65536 + b"\r\n"):
        pass


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"x" * 100_001),
        Reply(raw=lambda write: write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")),
        Reply(raw=endless),
        Reply(raw=chunks),
    ],
    ids=["a byte too many", "announced", "endless", "endless chunks"],
)
def test_a_large_answer_is_not_swallowed(reply: Reply) -> None:
    with serving(lambda request: reply) as served, pytest.raises(LookupError, match="larger than 100000 bytes"):
        Fetcher(networks=LOOPBACK, largest_bytes=100_000).get(f"http://127.0.0.1:{served.port}/x", everywhere)


def test_a_compressed_answer_is_refused_unseen() -> None:
    bomb = gzip.compress(b"x" * 10_000_000)
    with serving(lambda request: Reply(body=bomb, headers={"Content-Encoding": "gzip"})) as served:
        with pytest.raises(LookupError, match="compressed"):
            Fetcher(networks=LOOPBACK).get(f"http://127.0.0.1:{served.port}/x", everywhere)
        assert served.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("reply", "is_unreachable"),
    [
        (Reply(404), False),
        (Reply(403), False),
        (Reply(500), True),
        (Reply(503), True),
        (Reply(429), True),
        (Reply(raw=lambda write: write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")), True),
        (Reply(raw=lambda write: write(b"nonsense\r\n\r\n")), True),
        (Reply(raw=lambda write: write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")), True),
        (Reply(raw=lambda write: None), True),
    ],
)
def test_no_and_nobody_there_are_different(reply: Reply, is_unreachable: bool) -> None:
    with serving(lambda request: reply) as served, pytest.raises(LookupError) as failed:
        Fetcher(networks=LOOPBACK, timeout_s=5).get(f"http://127.0.0.1:{served.port}/x", everywhere)
    assert isinstance(failed.value, Unreachable) is is_unreachable


def test_a_name_without_an_address_is_nobody_there() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror("no such name")

    with pytest.raises(Unreachable, match="has no address"):
        Fetcher(resolve=resolve).get("https://orbs.example/x", everywhere)


def test_a_slow_name_server_ends_at_the_deadline() -> None:
    ended = threading.Event()

    def resolve(host: str, port: int) -> Sequence[str]:
        ended.wait(30)
        return ["127.0.0.1"]

    with pytest.raises(Unreachable, match=r"finding the address of orbs\.example took longer than 0\.1 s"):
        Fetcher(resolve=resolve, timeout_s=0.1).get("https://orbs.example/x", everywhere)
    ended.set()
