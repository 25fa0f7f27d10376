"""Our options: declared once, told all at once when wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from appliance.errors import SettingsError
from appliance.settings import OPTIONS, example_file, load, variable_of

ROOT = Path(__file__).parent.parent


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def problems_of(path: Path | None, environment: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environment)
    return caught.value.problems


def test_the_example_file_is_the_one_that_is_made() -> None:
    assert (ROOT / "config.example.toml").read_text("utf-8") == example_file(), "run `make example`"


def test_the_example_file_as_it_is_copied_is_read_and_changes_nothing() -> None:
    read = load(ROOT / "config.example.toml", {})
    assert read.table("images") == {}
    assert all(read._values[option.name] == option.default for option in OPTIONS)


def test_the_example_file_with_every_option_switched_on_gives_the_defaults(tmp_path: Path) -> None:
    lines = []
    for line in example_file().splitlines():
        bare = line.removeprefix("# ")
        lines.append(bare if line.startswith("# ") and " = " in bare and bare.split(" = ")[0].isidentifier() else line)
    text = "\n".join(lines)
    assert tomllib.loads(text)["web"]["port"] == 8080
    settings = load(written(tmp_path, text), {})
    for option in OPTIONS:
        assert settings._values[option.name] == option.default, option.name


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[web]\nport = 1\n")
    assert load(path, {}).integer("web.port") == 1
    assert load(path, {"RONDO_WEB_PORT": "2"}).integer("web.port") == 2


def test_a_table_with_a_default_is_changed_line_by_line(tmp_path: Path) -> None:
    settings = load(written(tmp_path, '[resource_classes]\nmedium = "3/5"\n"huge.own" = "24/48"\n'), {})
    sizes = settings.table("resource_classes")
    assert (sizes["medium"], sizes["huge.own"], sizes["large"]) == ("3/5", "24/48", "4/8")


def test_tables_and_lists_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, '[images]\n"cimg/*" = "local:1"\n[jobs]\nmounts = ["/a:/b"]\n')
    settings = load(path, {})
    assert settings.table("images") == {"cimg/*": "local:1"}
    assert settings.items("jobs.mounts") == ("/a:/b",)


def test_every_problem_is_told_at_once_with_a_hint(tmp_path: Path) -> None:
    path = written(tmp_path, '[web]\nprot = 80\nhost = 3\n[jobs]\nat_once = 0\n[local]\ntakes = "some"\n')
    found = problems_of(path, {"RONDO_WEB_PROT": "1", "RONDO_SSH_PORT": "many"})
    assert len(found) == 6
    text = "\n".join(found)
    assert "unknown option web.prot; did you mean web.port?" in text
    assert "web.host must be a text, not 3" in text
    assert "jobs.at_once must be at least 1, not 0" in text
    assert "local.takes must be one of machine, all, not 'some'" in text
    assert "unknown option RONDO_WEB_PROT; did you mean RONDO_WEB_PORT?" in text
    assert "RONDO_SSH_PORT: ssh.port must be a whole number, not 'many'" in text


def test_a_missing_or_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    assert "there is no such file" in problems_of(tmp_path / "none.toml", {})[0]
    assert "not valid TOML" in problems_of(written(tmp_path, "web = ["), {})[0]
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "cannot be read" in problems_of(binary, {})[0]


def test_every_option_has_one_name_and_one_variable() -> None:
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)
    assert len({variable_of(option) for option in OPTIONS}) == len(OPTIONS)
