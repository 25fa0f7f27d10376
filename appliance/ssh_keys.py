"""SSH key pairs: made here, or read from what a person pasted; and the two forms of their fingerprints.

asyncssh is imported lazily: the command line starts without it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from appliance.errors import BadRequest

LARGEST_KEY = 64 << 10
_PUBLIC = ("ssh-", "ecdsa-", "sk-")


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """`private` ends with a line end, as ssh wants it. `md5` is `aa:bb:...`, `sha256` is `SHA256:...`."""

    private: str = field(repr=False)
    public: str  # "ssh-ed25519 AAAA..." without a comment
    md5: str
    sha256: str


def generate(comment: str) -> KeyPair:
    """A new ed25519 pair; `comment` is inside the private half, for whoever finds it."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return _pair(key, key.export_private_key("openssh").decode())


def read(text: str) -> KeyPair:
    """A private key in PEM or OpenSSH's form. Raises BadRequest saying what it is instead."""
    import asyncssh

    tidy = text.replace("\r\n", "\n").strip() + "\n"
    if len(tidy) > LARGEST_KEY or not tidy.isascii():
        raise BadRequest("this is not a private key: too long, or not plain text")
    if tidy.startswith((*_PUBLIC, "---- BEGIN SSH2 PUBLIC")) or "BEGIN PUBLIC KEY" in tidy:
        raise BadRequest("this is a public key; the private one is needed, which begins with -----BEGIN")
    try:
        key = asyncssh.import_private_key(tidy)
    except asyncssh.KeyEncryptionError:
        raise BadRequest(_ENCRYPTED) from None
    except (asyncssh.KeyImportError, ValueError) as error:
        if "assphrase" in str(error):
            raise BadRequest(_ENCRYPTED) from None
        raise BadRequest(
            "this is not a private key that can be read; is all of it there, from -----BEGIN to the end?"
        ) from None
    return _pair(key, tidy)


_ENCRYPTED = "this key has a passphrase, and nobody is there to type it: make one without (ssh-keygen -p -f FILE)"


def same_fingerprint(wanted: str, md5: str, sha256: str) -> bool:
    """Whether `wanted` is one of the two, in any form people write them: `MD5:`, no colons, no `SHA256:`, a final `=`."""
    plain = wanted.strip()
    if plain.upper().startswith("SHA256:"):
        return plain[7:].rstrip("=") == sha256[7:]
    if plain.rstrip("=") == sha256[7:]:
        return True
    return plain.lower().removeprefix("md5:").replace(":", "") == md5.replace(":", "")


def fingerprint_of(public: str) -> str:
    """`SHA256:...` of a public key ("ssh-ed25519 AAAA..."). Raises BadRequest for what is none."""
    try:
        blob = base64.b64decode(public.split()[1], validate=True)
    except (ValueError, IndexError):
        raise BadRequest(f"{public[:100]!r} is no public key") from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _pair(key: object, private: str) -> KeyPair:
    import asyncssh

    assert isinstance(key, asyncssh.SSHKey)
    words = key.export_public_key("openssh").decode().split()
    return KeyPair(
        private=private,
        public=" ".join(words[:2]),
        md5=key.get_fingerprint("md5").removeprefix("MD5:"),
        sha256=key.get_fingerprint("sha256"),
    )
