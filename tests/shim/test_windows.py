"""Steps on Windows, as far as they can be tried without it: the texts, and a real bash with programs of Windows' names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.executors import windows
from appliance.executors.base import Command
from appliance.executors.machine_script import Script

# What stands in for a program of Windows says how it was called and what is in the file of its last word.
_PROGRAM = (
    '#!/bin/sh\necho "${0##*/}"\nprintf "<%s>" "$@"; echo\nfor last; do :; done\n[ -f "$last" ] && cat "$last"\nexit 3\n'
)


def run(folder: Path, command: Command) -> tuple[list[str], str, int]:
    """What the supervisor's bash does with the two files: the words, the text and the exit code of the program."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("powershell.exe", "pwsh", "cmd.exe", "bash.exe"):
        (programs / name).write_text(_PROGRAM)
        (programs / name).chmod(0o755)
    (programs / "cygpath").write_text('#!/bin/sh\necho "$2"\n')
    (programs / "cygpath").chmod(0o755)
    (folder / "1.start").write_text(windows.start_file(command))
    (folder / "1.script").write_bytes(windows.script_file(command).encode())
    text = f'r_dir={folder}; r_script=$r_dir/1.script; r_detach=; . "$r_dir/1.start"'
    path = f"{programs}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", text], capture_output=True, env={"PATH": path, "HOME": str(folder)}, check=False)
    called, words, rest = [*done.stdout.decode().split("\n", 2), "", ""][:3]
    return [called, *words.strip("<>").split("><")], rest, done.returncode


def test_the_default_is_powershell_which_stops_at_errors_and_passes_codes_on(tmp_path: Path) -> None:
    words, text, code = run(tmp_path, Command(id="1", script="Write-Host hi"))
    script = f"{tmp_path}/1.script.ps1"
    assert words == ["powershell.exe", "-ExecutionPolicy", "Bypass", "-File", script]
    assert text.startswith("\ufeff$ErrorActionPreference = 'Stop'\nWrite-Host hi\n")
    assert text.rstrip().endswith("{ exit $global:LASTEXITCODE }")
    assert code == 3


@pytest.mark.parametrize(
    ("shell", "words", "text"),
    [
        ("cmd.exe", ["cmd.exe", "//d", "//c", "{}/1.script.cmd"], "echo a\r\necho b\r\n"),
        (
            "bash.exe -eo pipefail",
            ["bash.exe", "-eo", "pipefail", "{}/1.script"],
            "#!bash.exe -eo pipefail\necho a\necho b\n",
        ),
        ("pwsh -Command", ["pwsh", "-Command", "echo a\necho b"], ""),
    ],
)
def test_a_script_has_the_name_and_the_line_ends_of_its_shell(
    tmp_path: Path, shell: str, words: list[str], text: str
) -> None:
    command = Command(id="1", script="echo a\necho b\n", shell=shell)
    found, said, _ = run(tmp_path, command)
    if shell.endswith("-Command"):
        assert windows.script_file(command) == command.script and found[:3] == ["pwsh", "-Command", "echo a"]
        return
    assert found == [word.format(tmp_path) for word in words]
    assert said == text


def test_variables_reach_the_step_and_paths_of_ours_come_last() -> None:
    start = windows.start_file(Command(id="1", script="", environment={"PATH": "/x", "it's": "no", "A": "it's"}))
    assert "export A='it'\\''s'\n" in start and "it's=" not in start
    assert start.index("export PATH='/x'") < start.index('export PATH="$r_dir/bin')
    assert start.endswith('exec "$@"\n')


@pytest.mark.parametrize("word", ["PowerShell.EXE", r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"])
def test_a_shell_is_known_by_its_name(word: str) -> None:
    assert windows.script_file(Command(id="1", script="x", shell=word)).startswith("\ufeff")


def test_the_payload_is_lines_that_a_supervisor_takes() -> None:
    data = windows.payload(Command(id="1", script="a\nb", shell="cmd.exe"))
    assert data.endswith(b"=\n-a\r\n-b\n.\n")
    assert all(line[:1] in (b"-", b"=", b".") for line in data.split(b"\n")[:-1])


def test_the_command_line_has_nothing_that_cmd_and_powershell_would_read_otherwise() -> None:
    assert not set(windows.COMMAND_LINE) & set("\"'$%&|<>();`^{}@#,\\")


def test_the_command_line_starts_a_bash_that_runs_what_we_send(tmp_path: Path) -> None:
    """With the git of this host. What git leaves in the environment is taken out by the texts that begin a job."""
    if shutil.which("git") is None:
        pytest.skip("no git here")
    script = Script(
        "machine.sh", words={"name": "'it'\\''s'"}, text='read -r rest\nr_tell ok "$name $rest ${BASH_VERSION:+bash}"\n'
    )
    done = subprocess.run(
        windows.COMMAND_LINE.split(), input=script.encode() + b"and more\n", capture_output=True, cwd=tmp_path, check=False
    )
    assert script.mark + b"ok it's and more bash\n" in done.stdout, done
