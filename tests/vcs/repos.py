"""Real repositories for tests, made with the real git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from appliance.model import Project, ProjectId, Vcs

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Löwe",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-03-01T10:00:00+01:00",
    "GIT_COMMITTER_NAME": "Ada Löwe",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **IDENTITY, **(more or {})}


class WorkTree:
    """A repository with files, as a developer has one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, more: Mapping[str, str] | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment(more), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str = "A change", **files: str | bytes) -> str:
        """Write files (`a__b` is a/b), commit all; the new revision."""
        for name, content in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")


def project(vcs: Vcs = Vcs.GIT, git_url: str | None = None, *, org: str = "acme", repo: str = "app") -> Project:
    return Project(
        id=ProjectId("0c0ffee0-0000-4000-8000-000000000001"),
        slug=f"{'gh' if vcs is Vcs.GITHUB else 'circleci'}/{org}/{repo}",
        vcs=vcs,
        org=org,
        repo=repo,
        git_url=git_url,
        default_branch="main",
        created_at_ms=0,
    )
