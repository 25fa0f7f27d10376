"""Where templates and static files lie: inside an installed package, beside the source tree, or in a one-file build."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import RondoError

_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}


@dataclass(frozen=True)
class Asset:
    body: bytes
    content_type: str


def web_folder() -> Path:
    """The folder with `templates/` and `static/`. Raises RondoError when the installation lacks it."""
    package = Path(__file__).resolve().parents[1]
    bundle = getattr(sys, "_MEIPASS", None)
    places = [package / "web", package.parent / "web", *([Path(bundle) / "web"] if bundle else [])]
    for place in places:
        if (place / "templates" / "base.html").is_file():
            return place
    raise RondoError(f"the pages are missing from this installation; looked in {', '.join(map(str, places))}")


def load_static(folder: Path) -> tuple[Mapping[str, Asset], str]:
    """Every static file by name, and one hash of them all.

    The hash stands in their path, so that whatever they name relatively (a module another module, a style sheet an
    icon) is of the same version too.
    """
    assets: dict[str, Asset] = {}
    digest = hashlib.sha256()
    for path in sorted((folder / "static").iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            assets[path.name] = Asset(body, _TYPES[path.suffix])
            digest.update(path.name.encode() + b"\0" + body)
    return assets, digest.hexdigest()[:12]
