"""The house keeps itself: imports go down the floors, files stay small, nothing names what it must not."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "appliance"

GROUND = {
    "model",
    "errors",
    "clock",
    "crypto",
    "bell",
    "settings",
    "shim",
    "ssh_keys",
    "runner_words",
    "file_lock",
    "quantities",
}

# What each package or file of ours may import of ours; itself always.
MAY_IMPORT: dict[str, set[str]] = {
    "language": set(),
    "shim": set(),
    "errors": set(),
    "clock": set(),
    "bell": set(),
    "file_lock": set(),
    "quantities": set(),
    "model": {"errors"},
    "crypto": {"errors"},
    "settings": {"errors"},
    "ssh_keys": {"errors"},
    "runner_words": {"errors"},
    "blobs": {"errors"},
    "orbs": GROUND | {"language", "store.database", "store.orbs"},
    "lsp": {"language", "orbs", "errors"},
    "store": GROUND | {"language.plan"},
    "executors": GROUND,
    "vcs": GROUND,
    "steps": GROUND | {"language.plan", "executors.base", "store", "blobs"},
    "engine": GROUND | {"language", "store", "blobs", "steps", "executors.base", "vcs.base"},
    "api": GROUND | {"language", "store", "blobs", "engine", "vcs.base"},
    "pages": GROUND | {"language", "store", "blobs", "engine", "vcs.base", "api"},
    "machine_runner": GROUND,
    "sshd": GROUND | {"store", "executors.base", "engine", "vcs.base"},
}
ROOF = {
    "app",
    "core",
    "upkeep",
    "where",
    "pool",
    "connections",
    "laptop",
    "start",
    "service",
    "choices",
    "cli",
    "__main__",
    "__init__",
}

LONGEST_FILE = 480
LONGEST_FUNCTION = 70


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(HOUSE.rglob("*.py")):
        yield ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__"), path


def imports_of(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, without `appliance.`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("appliance.") for alias in node.names if alias.name.startswith("appliance."))
        elif isinstance(node, ast.ImportFrom) and node.module == "appliance":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("appliance."):
            base = node.module.removeprefix("appliance.")
            for alias in node.names:
                is_module = (HOUSE / base.replace(".", "/") / f"{alias.name}.py").exists()
                yield f"{base}.{alias.name}" if is_module else base


def test_every_package_stands_on_a_floor() -> None:
    tops = {name.split(".")[0] for name, _ in modules()}
    assert tops <= set(MAY_IMPORT) | ROOF, "a new package needs a line in MAY_IMPORT"


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_imports_go_down_the_floors(name: str, path: Path) -> None:
    top = name.split(".")[0]
    if top in ROOF:
        return
    allowed = MAY_IMPORT[top] | {top}
    wrong = [
        wanted
        for wanted in imports_of(path)
        if wanted != "__version__" and not any(wanted == one or wanted.startswith(one + ".") for one in allowed)
    ]
    assert not wrong, f"appliance/{name} may not import {wrong}"


def test_files_and_functions_stay_small() -> None:
    too_long = []
    for name, path in modules():
        text = path.read_text("utf-8")
        if text.count("\n") > LONGEST_FILE:
            too_long.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                span = node.end_lineno - node.lineno + 1
                if span > LONGEST_FUNCTION:
                    too_long.append(f"{name}.{node.name}: {span} lines")
    assert not too_long


def test_every_file_begins_by_saying_what_it_is() -> None:
    silent = [name for name, path in modules() if path.read_text("utf-8").strip() and not _docstring(path)]
    assert not silent


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_a_server_imports_nothing_after_its_start() -> None:
    """Else its next job breaks where an upgrade has put another executable into its place."""
    here = {"cli", "laptop", "lsp", "machine_runner", "__main__"}  # what no server calls, or only at its start
    late = {
        wanted
        for name, path in modules()
        if name.split(".")[0] not in here
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for wanted in _imported_in(node)
    }
    assert late > {"tomllib", "appliance.steps.cache"}
    program = "import sys; from appliance import app, service; service.load_late(); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert late - set(said.stdout.split()) == set()


def _imported_in(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for alias in node.names:
                path = HOUSE.parent / node.module.replace(".", "/") / f"{alias.name}.py"
                yield f"{node.module}.{alias.name}" if path.exists() else node.module


def test_no_task_without_an_owner() -> None:
    """`asyncio.create_task` and `ensure_future` make tasks that nobody waits for; TaskGroup.create_task does not."""
    bare = []
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                is_bare = node.func.attr in ("create_task", "ensure_future") and (
                    isinstance(node.func.value, ast.Name) and node.func.value.id in ("asyncio", "loop")
                )
                if is_bare:
                    bare.append(f"{name}:{node.lineno}")
    assert not bare


def test_sql_is_never_built_from_values() -> None:
    """An f-string given to `execute` may only splice names of our own, in capitals."""
    wrong = []
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "execute":
                for part in ast.walk(node.args[0]) if node.args else ():
                    if isinstance(part, ast.FormattedValue) and not _is_constant_name(part.value):
                        wrong.append(f"{name}:{node.lineno}")
    assert not wrong


def _is_constant_name(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id.isupper()
