"""Patterns of `persist_to_workspace`: Go's `filepath.Match`, where `*` stays within a folder and takes dot files too."""

from __future__ import annotations

import re

_META = re.compile(r"[*?\[\\]")


def is_pattern(path: str) -> bool:
    return _META.search(path) is not None


def depth(path: str) -> int:
    """How many folders deep a match lies."""
    return path.strip("/").count("/") + 1


def matches(pattern: str, name: str) -> bool:
    """Whether a relative name matches. A broken pattern matches nothing."""
    try:
        return re.fullmatch(_regex(pattern), name) is not None
    except re.error:
        return False


def _regex(pattern: str) -> str:
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            end = pattern.find("]", at + 2)
            if end == -1:
                raise re.error("unclosed [")
            inside = pattern[at + 1 : end].replace("\\", "\\\\")
            out.append(f"(?!/)[{'^' + inside[1:] if inside[0] == '^' else inside}]")
            at = end
        elif char == "\\" and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        else:
            out.append(re.escape(char))
        at += 1
    return "".join(out)
