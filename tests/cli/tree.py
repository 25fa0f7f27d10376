"""A git working tree, and the real `rondo run` in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PERSON = ("-c", "user.name=A Person", "-c", "user.email=person@example.org", "-c", "commit.gpgsign=false")
SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def lines_of(self, label: str) -> list[str]:
        return [line.removeprefix(f"{label} | ") for line in self.out.splitlines() if line.startswith(f"{label} | ")]


@dataclass(frozen=True)
class Tree:
    root: Path

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *PERSON, *words], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: Mapping[str, str]) -> None:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "Change things")

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of this machine's own settings. HOME is beside the tree."""
        known = {name: os.environ[name] for name in ("PATH", "LANG", "USER") if name in os.environ}
        return {**known, "HOME": str(self.root.parent), "PYTHONPATH": str(SOURCE), "RONDO_JOBS_GRACE": "1"}

    @staticmethod
    def argv(*words: str) -> list[str]:
        return [sys.executable, "-m", "appliance", "run", *words]

    def run(self, *words: str, folder: Path | None = None, more: Mapping[str, str] | None = None) -> Ended:
        """`rondo run WORDS` to its end, off a terminal; `more` are environment variables."""
        done = subprocess.run(
            self.argv(*words),
            cwd=folder or self.root,
            env={**self.environment, **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def run_here(self, *words: str) -> Ended:
        """With the local executor."""
        return self.run("--executor", "local", *words)


def tree_in(folder: Path, config: str, files: Mapping[str, str] | None = None) -> Tree:
    """A committed tree on branch main."""
    root = folder / "tree"
    root.mkdir()
    tree = Tree(root)
    tree.git("init", "-q", "-b", "main")
    tree.commit({".circleci/config.yml": config, **(files or {})})
    return tree
