"""A small HTTP client for addresses that come out of configs: synchronous, for the compiler's thread, and suspicious.

https only; no proxy, no cookies, no passwords; every address checked (addresses.py) and connected to as it was checked;
redirects only where the caller says so; time and size bounded for the whole exchange, however slowly bytes drip.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from appliance import __version__
from appliance.orbs.addresses import Network, is_allowed, is_loopback
from appliance.orbs.names import Unreachable

if TYPE_CHECKING:
    from http.client import HTTPResponse

_REDIRECTS = 3
_URL = re.compile(r"[\x21-\x7e]{1,2000}")
_PORTS = {"https": 443, "http": 80}

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host name, as texts. Raises OSError when there are none."""


@dataclass(frozen=True)
class _Place:
    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


@dataclass(frozen=True)
class _Answer:
    status: int
    location: str | None
    body: bytes


def _system_resolver(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Fetcher:
    """`networks`: private networks that may be reached nevertheless; plain http only on a loopback one among them."""

    def __init__(
        self,
        *,
        networks: Sequence[Network] = (),
        timeout_s: float = 20.0,
        largest_bytes: int = 3_000_000,
        tls: ssl.SSLContext | None = None,
        resolve: Resolver = _system_resolver,
    ) -> None:
        self._networks = networks
        self._timeout_s = timeout_s
        self._largest_bytes = largest_bytes
        self._tls = tls
        self._resolve = resolve

    def get(self, url: str, may_follow: Callable[[str], bool]) -> bytes:
        """What is at `url`. A redirect is followed within the same host, where `may_follow` agrees.

        Raises Unreachable when there is no answer, LookupError when it is no, or not to be had from there.
        """
        deadline = time.monotonic() + self._timeout_s
        place = place_of(url)
        for _ in range(_REDIRECTS + 1):
            answer = self._exchange(place, "GET", None, {}, deadline)
            if answer.status == 200:
                return answer.body
            if answer.status not in (301, 302, 303, 307, 308) or answer.location is None:
                raise _refusal(place, answer.status)
            url = urljoin(url, answer.location)
            onward = place_of(url)
            if onward.origin != place.origin or not may_follow(url):
                raise LookupError(f"{place.host} sends us on to {_shown(url)}, which is not followed.")
            place = onward
        raise LookupError(f"{place.host} sends us on more than {_REDIRECTS} times.")

    def post(self, url: str, body: bytes, content_type: str) -> bytes:
        """The answer to a POST; redirects are not followed. Raises like `get`."""
        place = place_of(url)
        headers = {"Content-Type": content_type}
        answer = self._exchange(place, "POST", body, headers, time.monotonic() + self._timeout_s)
        if answer.status != 200:
            raise _refusal(place, answer.status)
        return answer.body

    def _exchange(
        self, place: _Place, method: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> _Answer:
        from http.client import HTTPConnection, HTTPException  # take long to load, and most configs fetch nothing

        addresses = self._addresses(place, deadline)
        headers = {"Accept-Encoding": "identity", "User-Agent": f"rondo/{__version__}", "Connection": "close", **headers}
        try:
            with _connected(addresses, place.port, deadline) as line:
                if place.scheme == "https":
                    line.encrypt(self._tls or ssl.create_default_context(), place.host)
                connection = HTTPConnection(place.host, place.port)
                connection.default_port = _PORTS[place.scheme]
                connection.sock = line.socket
                connection.request(method, place.path, body, dict(headers))
                with contextlib.closing(connection.getresponse()) as response:
                    return self._answer(response)
        except TimeoutError:
            raise Unreachable(f"{place.host} took longer than {self._timeout_s:g} s.") from None
        except (OSError, ValueError, HTTPException) as error:
            raise Unreachable(f"{place.host} gave no answer: {_plain(error)}.") from error

    def _addresses(self, place: _Place, deadline: float) -> Sequence[str]:
        try:
            found = _until(deadline, lambda: self._resolve(place.host, place.port))
        except TimeoutError:
            raise Unreachable(f"finding the address of {place.host} took longer than {self._timeout_s:g} s.") from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"{place.host} has no address: {error}.") from error
        # One bad address is enough: a name that points at us and at others wants to find out which one we take.
        if not found or not all(is_allowed(address, self._networks) for address in found):
            raise LookupError(f"{place.host} is at an address that orbs are not fetched from.")
        if place.scheme == "http" and not all(is_loopback(address) for address in found):
            raise LookupError("only https addresses are fetched.")
        return found

    def _answer(self, response: HTTPResponse) -> _Answer:
        if response.status != 200:
            return _Answer(response.status, response.getheader("Location"), b"")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise LookupError("the answer is compressed, which was not asked for.")
        announced = response.getheader("Content-Length", "")
        length = int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 19 else 0
        body = response.read(self._largest_bytes + 1) if length <= self._largest_bytes else b""
        if length > self._largest_bytes or len(body) > self._largest_bytes:
            raise LookupError(f"the answer is larger than {self._largest_bytes} bytes.")
        if len(body) < length:
            raise OSError(f"it broke off after {len(body)} of {length} bytes")
        return _Answer(200, None, body)


def _until(deadline: float, resolve: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What `resolve` finds, or TimeoutError; the system's resolver has no limit of its own, so it is left behind."""
    outcome: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(resolve())
        except (OSError, ValueError) as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        found = outcome.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


def place_of(url: str) -> _Place:
    """The parts of an absolute URL. Raises LookupError for anything unusual, so that there is one reading of it."""
    trouble = LookupError(f"{_shown(url)} is no address that is fetched.")
    if not _URL.fullmatch(url) or "\\" in url:
        raise trouble
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise trouble from None
    if parts.scheme not in _PORTS:
        raise LookupError("only https addresses are fetched.")
    if not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise trouble
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port, path)


def _shown(url: str) -> str:
    return ascii(url[:200])[1:-1]


def _refusal(place: _Place, status: int) -> LookupError:
    text = f"{place.host} said {status}."
    return Unreachable(text) if status >= 500 or status == 429 else LookupError(text)


def _plain(error: Exception) -> str:
    """What happened, in words; foreign bytes in it stay on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _shown(text or type(error).__name__)


class _Line:
    """A connection that ends at its deadline, whatever is being waited for: a handshake, a header, the last byte."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self.socket = connected
        self.is_over = False
        self._watch = threading.Timer(max(0.0, deadline - time.monotonic()), self._cut)
        self._watch.daemon = True
        self._watch.start()

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        encrypted = context.wrap_socket(self.socket, server_hostname=host, do_handshake_on_connect=False)
        self.socket = encrypted
        if self.is_over:  # the cut may have met the bare socket, which is an empty shell by now
            raise TimeoutError
        encrypted.do_handshake()

    def _cut(self) -> None:
        self.is_over = True
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown, after which a reader in another thread would get bytes still encrypted.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._watch.cancel()
        self.socket.close()


@contextmanager
def _connected(addresses: Sequence[str], port: int, deadline: float) -> Iterator[_Line]:
    from http.client import HTTPException

    line = _Line(_connect(addresses, port, deadline), deadline)
    try:
        yield line
        if line.is_over:
            raise TimeoutError
    except (OSError, HTTPException):
        if line.is_over:
            raise TimeoutError from None
        raise
    finally:
        line.close()


def _connect(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    trouble: OSError | None = None
    for address in addresses[:4]:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        try:
            return socket.create_connection((address, port), timeout=left_s)
        except OSError as error:
            trouble = error
    raise trouble or TimeoutError()
