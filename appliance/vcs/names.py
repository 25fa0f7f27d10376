"""What names may look like before they come near git's argv or our file system."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from appliance.errors import VcsError
from appliance.model import public_url

_REVISION = re.compile(r"[0-9a-f]{40}")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f ~^:?*\[\\]|\.\.|//|@\{")

NO_REVISION = "0" * 40
"""What git and forges write for "there is none": the old value of a new branch, the new value of a deleted one."""


def is_revision(text: str) -> bool:
    """Whether `text` is a whole SHA-1 id in lower case, and not the one that stands for none."""
    return _REVISION.fullmatch(text) is not None and text != NO_REVISION


def checked_revision(text: str) -> str:
    """`text`, when it can be nothing but a commit's id. Raises VcsError."""
    if not is_revision(text):
        raise VcsError(f"{text[:100]!r} is not the full id of a commit (40 hexadecimal digits)")
    return text


def is_ref_name(ref: str) -> bool:
    """The rules of `git check-ref-format`. A name that passes may still be `$(touch x)`: never give it to a shell."""
    if not 0 < len(ref) <= 1000 or "/" not in ref or _BAD_IN_REF.search(ref) or _has_surrogates(ref):
        return False
    return all(part and not part.startswith(".") and not part.endswith((".", ".lock")) for part in ref.split("/"))


def ref_of(*, branch: str | None, tag: str | None) -> str:
    """The full name of a branch or a tag. Raises VcsError when git could not have such a name."""
    ref = f"refs/heads/{branch}" if branch is not None else f"refs/tags/{tag}"
    if not is_ref_name(ref):
        raise VcsError(
            f"{(branch or tag or '')[:100]!r} cannot be the name of a {'branch' if branch is not None else 'tag'}"
        )
    return ref


def is_folder_name(name: str) -> bool:
    """Whether ORG or REPO may name a folder of hosted repositories."""
    return _FOLDER_NAME.fullmatch(name) is not None and ".." not in name and not name.endswith((".git", ".lock", "."))


def http_login(url: str) -> tuple[str, str] | None:
    """User and password that stand in an http(s) URL. Raises VcsError for what no header could carry."""
    scheme, _, rest = url.partition("://")
    before, at, _ = rest.partition("/")[0].rpartition("@")
    if scheme.lower() not in ("http", "https") or not at:
        return None
    user, _, password = before.partition(":")
    login = unquote(user), unquote(password)
    if not all(word.isprintable() for word in login):
        raise VcsError(f"the login in the git URL {public_url(url)} has characters that no login can have")
    return login


def origin_of(url: str) -> str:
    """`https://host:port` of a URL without a login."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _has_surrogates(text: str) -> bool:
    """Half a character, as JSON can smuggle it in: neither git nor SQLite can hold it."""
    return any("\ud800" <= character <= "\udfff" for character in text)
