"""Secrets at rest, tokens, passwords and signatures. The keys live in files of mode 0600 in the data folder."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


class SecretBox:
    """Encrypts small values with AES-256-GCM; `purpose` binds a value to its place, so rows cannot be swapped."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @cached_property
    def _cipher(self) -> AESGCM:
        # cryptography comes with asyncssh; imported here because it costs 40 ms that who has no secret does not need.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)

    def derive(self, purpose: str) -> str:
        """A token of 256 bits that only the holder of the key can work out, the same one for the same purpose."""
        digest = hmac.new(self._key, b"derive/" + purpose.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def seal(self, value: str, purpose: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.encode(), purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> str:
        """Raises StoreError when the key is another one or the value was tampered with."""
        from cryptography.exceptions import InvalidTag

        try:
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except InvalidTag:
            raise StoreError(
                f"cannot decrypt {purpose}: the data folder's secret key is not the one it was written with"
            ) from None
        return plain.decode()


def load_or_make_key(path: Path) -> bytes:
    """The 32-byte key in `path`; made on the first call. Written whole or not at all."""
    if path.exists():
        key = base64.b64decode(path.read_bytes())
        if len(key) != 32:
            raise StoreError(f"{path} does not hold a secret key; restore it from a backup")
        return key
    key = os.urandom(32)
    write_private(path, base64.b64encode(key))
    return key


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 atomically: temp file, fsync, rename, fsync of the folder that names it."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def new_token() -> str:
    """An unguessable token for people and programs; only its hash is stored."""
    return "rondo_" + secrets.token_urlsafe(30)


def token_hash(token: str) -> str:
    """What the database keeps of a token. Plain SHA-256 is enough: the token itself has 240 bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def password_hash(password: str) -> str:
    """`scrypt$SALT$HASH`. Takes ~50 ms: call it in a thread."""
    salt = os.urandom(16)
    return f"scrypt${salt.hex()}${_scrypt(password, salt).hex()}"


def password_matches(password: str, stored: str) -> bool:
    """Constant-time. Takes ~50 ms: call it in a thread."""
    scheme, salt, wanted = stored.split("$")
    return scheme == "scrypt" and hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)).hex(), wanted)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT, dklen=32)


def github_signature(secret: str, body: bytes) -> str:
    """The value of GitHub's `X-Hub-Signature-256` for these raw bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signature_matches(secret: str, body: bytes, header: str | None) -> bool:
    """Whether `header` signs exactly `body`; constant-time; a missing header never matches."""
    if header is None or not header.isascii():
        return False
    return hmac.compare_digest(github_signature(secret, body), header)
