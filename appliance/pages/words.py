"""Times, durations and statuses in words, as the pages say them."""

from __future__ import annotations

from datetime import UTC, datetime

_TONE = {
    "success": "good",
    "failed": "bad",
    "error": "bad",
    "errored": "bad",
    "timedout": "bad",
    "infrastructure_fail": "bad",
    "unauthorized": "bad",
    "running": "live",
    "failing": "bad",
    "on_hold": "hold",
}
_LABEL = {
    "timedout": "timed out",
    "on_hold": "needs approval",
    "not_run": "not run",
    "not_running": "waiting",
    "infrastructure_fail": "infrastructure failure",
    "setup": "setting up",
}
_ICON = {
    "success": "success",
    "failed": "failed",
    "error": "failed",
    "errored": "failed",
    "timedout": "failed",
    "infrastructure_fail": "failed",
    "unauthorized": "failed",
    "failing": "running",
    "running": "running",
    "on_hold": "on_hold",
    "canceled": "canceled",
    "not_run": "not_run",
    "skipped": "not_run",
}


def tone(status: str) -> str:
    """good | bad | live | hold | quiet: what a status feels like."""
    return _TONE.get(status, "quiet")


def label(status: str) -> str:
    return _LABEL.get(status, status)


def icon(status: str) -> str:
    return _ICON.get(status, "queued")


def first_line(text: str) -> str:
    """`make …` for a script of several lines: joined, they would read as another script."""
    first, _, rest = text.strip().partition("\n")
    return f"{first.strip()} …" if rest else first


def duration(ms: int) -> str:
    """`0.4s`, `42s`, `3m 05s`, `1h 02m`."""
    seconds = max(ms, 0) // 1000
    if seconds < 10:
        return f"{max(ms, 0) / 1000:.1f}s"
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"


def ago(at_ms: int, now_ms: int) -> str:
    """`just now`, `3 min ago`, `2 h ago`, `5 d ago`, then the date."""
    seconds = max(now_ms - at_ms, 0) // 1000
    if seconds < 45:
        return "just now"
    if seconds < 3600:
        return f"{max(seconds // 60, 1)} min ago"
    if seconds < 86400:
        return f"{seconds // 3600} h ago"
    if seconds < 30 * 86400:
        return f"{seconds // 86400} d ago"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
