"""What the tests of orbs share: small orbs, a filled registry, a local web server with and without TLS."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from appliance.clock import FakeClock
from appliance.language.orbs import OrbDocument
from appliance.store import orbs
from appliance.store.database import Tx, open_plain, transact

SHARED_ORBS = Path(__file__).resolve().parents[3] / "shared" / "orbs"  # only where the appliance is developed


def orb(word: str, imports: str = "") -> str:
    """A valid orb with a command `say`; `imports` is the inside of its `orbs: {}`."""
    return f"version: 2.1\norbs: {{{imports}}}\ncommands:\n  say:\n    steps:\n      - run: echo {word}\n"


class Library:
    """Orbs from texts, by reference; what stands for an open one is its name."""

    def __init__(self, texts: Mapping[str, str], names: Mapping[str, str] | None = None) -> None:
        self.texts = dict(texts)
        self.names = dict(names or {})

    def resolve(self, reference: str) -> OrbDocument:
        name = self.names.get(reference, reference)
        if name not in self.texts:
            raise LookupError(f"the library lacks {reference}.")
        return OrbDocument(self.texts[name], name)


@dataclass
class Shop:
    """A registry in a database file, with a clock that can be moved."""

    path: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def write(self, fn: Callable[[Tx], object]) -> None:
        with closing(open_plain(self.path)) as tx:
            transact(tx, fn)

    def namespace(self, name: str, private_to: str | None = None, is_imported: bool = False) -> None:
        now_ms = self.clock.now_ms()
        self.write(lambda tx: orbs.add_namespace(tx, name, private_to=private_to, is_imported=is_imported, now_ms=now_ms))

    def put(self, full_name: str, text: str) -> None:
        self.write(lambda tx: orbs.put(tx, full_name, given=text, source=text, now_ms=self.clock.now_ms()))


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    """`raw` instead of the rest writes whatever it likes, while it may: it gets a function that is False at the end."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: Callable[[Callable[[bytes], bool]], object] | None = None


@dataclass
class Served:
    port: int
    requests: list[Request]


@contextmanager
def serving(answer: Callable[[Request], Reply], tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """A web server on loopback until the end of the block."""
    requests: list[Request] = []
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
            requests.append(request)
            reply = answer(request)
            if reply.raw is not None:
                reply.raw(self._write)
                return
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(reply.body)

        do_POST = do_GET

        def _write(self, data: bytes) -> bool:
            try:
                self.wfile.write(data)
            except OSError:
                return False
            return not ended.is_set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingMixIn, HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that hangs up is what some tests are about

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Served(server.server_address[1], requests)
        finally:
            ended.set()
            server.shutdown()
            thread.join()


def certificate(folder: Path, *hosts: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-made certificate for `hosts`, names or addresses: the server's context, and that of a client who trusts it.

    In `folder` it is cert.pem.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [_alternative(host) for host in (*hosts, "127.0.0.1")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
