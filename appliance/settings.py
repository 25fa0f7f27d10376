"""Our options. Each is declared once, here: name, type, unit, default, help. Parser, help and example file follow from it.

Values come from a TOML file and from the environment (`RONDO_WEB_PORT` for `web.port`; the environment wins).
All that is wrong is told at once, one line each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from appliance.errors import SettingsError

Plain = str | int | float | bool | tuple[str, ...]
Value = Plain | Mapping[str, str] | Mapping[str, Mapping[str, Plain]]
Kind = Literal["text", "integer", "number", "boolean", "list", "table", "tables"]

MIB = 1 << 20
GIB = 1 << 30


RESOURCE_CLASSES: Mapping[str, str] = {
    "small": "1/2",
    "medium": "2/4",
    "medium+": "3/6",
    "large": "4/8",
    "xlarge": "8/16",
    "2xlarge": "16/32",
    "2xlarge+": "20/40",
    "arm.medium": "2/8",
    "arm.large": "4/16",
    "arm.xlarge": "8/32",
    "arm.2xlarge": "16/64",
    "machine.medium": "2/7.5",
    "machine.large": "4/15",
    "machine.xlarge": "8/32",
    "machine.2xlarge": "16/64",
    "machine.2xlarge+": "32/64",
    "machine.medium.gen2": "2/8",
    "machine.large.gen2": "4/16",
    "machine.2xlarge+.gen2": "32/128",
    "gpu.nvidia.small": "4/16",
    "gpu.nvidia.small.multi": "4/15",
    "gpu.nvidia.medium": "8/30",
    "gpu.nvidia.medium.multi": "8/30",
    "gpu.nvidia.large": "8/30",
    "windows.medium": "4/16",
    "windows.large": "8/32",
    "windows.xlarge": "16/64",
    "windows.2xlarge": "32/128",
    "windows.gpu.nvidia.medium": "16/60",
    "m4pro.medium": "6/28",
    "m4pro.large": "12/56",
}
"""Spec 1.6. What a line of the file does not change stays."""

MACHINE: tuple[tuple[str, Kind, str, str], ...] = (
    ("address", "text", '"ci@10.0.0.7:22"', "Who to log in as, and where."),
    ("key_file", "text", '"/etc/rondo/machine_key"', "Private key on this host to log in with."),
    ("host_key", "text", '"ssh-ed25519 AAAA..."', "The key that the machine has to show; `rondo machine check NAME` asks for it and notes it."),
    ("os", "text", '"linux"', "linux, macos, windows or freebsd. Left out: as it says itself, and so the next three."),
    ("arch", "text", '"amd64"', "amd64, arm64, ..."),
    ("cpus", "number", "8", "What jobs may take of it."),
    ("memory", "integer", "17179869184", "[bytes]"),
    ("classes", "list", '["acme/big", "large"]', "Resource classes it takes. Left out: those of its os and arch that fit its size."),
    ("slots", "integer", "1", "Jobs that run there at once at most."),
    ("home", "text", '"fresh"', "HOME of jobs: a fresh folder, or the user's own (user)."),
    ("folder", "text", '"~/.rondo"', "Where our files go there."),
    ("dials_in", "boolean", "false", "It cannot be reached and comes by itself (`rondo runner`): then without address, key_file and host_key,"),
    ("runner_key", "text", '"ssh-ed25519 AAAA..."', "but with the public key of its runner."),
    ("forks", "boolean", "false", "It takes jobs of strangers' forks too: they run as its user, and can read and change all that this user can."),
)  # fmt: skip
"""What a table [machines.NAME] may say: key, kind, an example, help."""


@dataclass(frozen=True)
class Option:
    """One option. `unit` is part of the help; `least` bounds numbers; `choices` bounds texts.

    A table with a default is added to, and its lines are overridden one by one.
    """

    name: str
    kind: Kind
    default: Value
    help: str
    unit: str = ""
    least: float | None = None
    choices: tuple[str, ...] = ()


OPTIONS: tuple[Option, ...] = (
    Option("data", "text", "/var/lib/rondo", "Folder of everything the appliance keeps: database, logs, repositories, keys."),
    Option("web.host", "text", "127.0.0.1", "Address of the pages, the API and the webhooks. Put a TLS proxy before it to go public."),
    Option("web.port", "integer", 8080, "Port of the pages; 0 takes a free one.", least=0),
    Option("web.url", "text", "", "How people and forges reach the pages, e.g. https://ci.example.org. Empty: http://HOST:PORT."),
    Option("web.webhook_limit", "integer", 25 * MIB, "Largest webhook body that is read.", "bytes", least=1024),
    Option("web.session_days", "integer", 30, "How long a login on the pages lasts.", "days", least=1),
    Option("web.logins_per_minute", "integer", 20, "Failed logins from one address after which it has to wait.", least=1),
    Option("ssh.host", "text", "127.0.0.1", "Address of the SSH door: git push, and shells in running jobs."),
    Option("ssh.port", "integer", 2222, "Port of the SSH door; 0 takes a free one.", least=0),
    Option("ssh.name", "text", "", "Host name shown in ssh commands and git URLs. Empty: the host of web.url."),
    Option("ssh.login_timeout", "number", 30.0, "Time to log in after connecting.", "seconds", least=1),
    Option("ssh.idle_limit", "number", 7200.0, "A shell without input or output is closed after this.", "seconds", least=10),
    Option("ssh.sessions_per_user", "integer", 20, "Shells that one user may have open at once.", least=1),
    Option("ssh.hold", "number", 600.0, "A job rerun with SSH stays open for so long after its steps when nobody is inside.", "seconds", least=0),
    Option("ssh.hold_longest", "number", 7200.0, "And for so long at most.", "seconds", least=0),
    Option("docker.url", "text", "", "Docker engine: unix:///path or tcp://host:port. Empty: DOCKER_HOST, else the usual socket."),
    Option("docker.enabled", "boolean", True, "Run docker jobs. Off: they wait for ever, so only for tests and local demos."),
    Option("docker.environment_in_steps", "boolean", True, "Steps see the `environment` of the primary image too, below every other variable. CircleCI's text denies it, configs rely on it."),
    Option("docker.processes", "integer", 8192, "Processes and threads that one container may have.", least=16),
    Option("docker.mtu", "integer", 0, "MTU of the jobs' network. 0: the engine's default.", "bytes", least=0),
    Option("docker.warm", "integer", 0, "Containers of often used images that are made ahead, in all: a job that finds one begins about a third of a second earlier. Each is used once.", least=0),
    Option("docker.machine_image", "text", "", "Image that stands in for `machine: true` jobs. Empty: such jobs fail with a message."),
    Option("remote_docker.enabled", "boolean", True, "`setup_remote_docker` gives a job a Docker engine of its own, jailed in a user namespace beside the job; it may take as much memory and CPU again. Off: such a step fails."),
    Option("remote_docker.machine", "boolean", True, "`machine` jobs in docker.machine_image have one from the start."),
    Option("remote_docker.forks", "boolean", False, "Strangers' forks may have one too. The kernel is shared, and root in a user namespace reaches more of it than an ordinary container does."),
    Option("remote_docker.shared_with", "list", (), 'Projects that get the socket of our own Docker engine instead, which makes whoever can push to them root of its machine: "acme/app".'),
    Option("remote_docker.options", "list", (), 'More options of the private dockerd: "--registry-mirror=https://mirror.example.org".'),
    Option("remote_docker.layers_kept", "integer", 4, "How many sets of layers (docker_layer_caching) of one project are kept: one for each job that runs at once.", least=0),
    Option("remote_docker.layers_days", "number", 7.0, "Layers that no job used for so long go.", "days", least=0),
    Option("remote_docker.layers_limit", "integer", 20 * GIB, "Most that one set of layers may take when its job ends; a larger one is not kept.", "bytes", least=0),
    Option("remote_docker.first_uid", "integer", 1_900_000_000, "First of 65536 user ids that nobody else has; private engines run under them.", least=65536),
    Option("local.enabled", "boolean", False, "Run jobs as processes of this host, without isolation: for demos and trusted teams only."),
    Option("local.forks", "boolean", False, "Strangers' forks run there too. They can read and change all that this server can."),
    Option("local.takes", "text", "machine", "Which jobs go there when it is enabled.", choices=("machine", "all")),
    Option("images", "table", {}, 'Image aliases: pattern = image ("cimg/python:*" = "registry.local/python:3.12"). First match wins.'),
    Option("priorities", "table", {}, 'Who goes first when jobs wait: pattern = number ("acme/app@main" = "10", "acme/*" = "-5"); others have 0. First match wins.'),
    Option("machines", "tables", {}, "Machines over SSH that run `machine`, `macos` and `windows` jobs, each a table [machines.NAME]. `rondo machine add` adds others while Rondo runs."),
    Option("resource_classes", "table", RESOURCE_CLASSES, 'Resource classes: name = "CPUs/GiB". Lines here change these or add others; `machine.NAME` is what machine jobs get.'),
    Option("jobs.mounts", "list", (), 'Host paths shown read-only in every job: "/etc/ssl/certs:/etc/ssl/certs".'),
    Option("jobs.environment", "table", {}, "Environment variables of every job, below all that its project or config sets."),
    Option("jobs.continue_by_curl", "boolean", True, "In jobs of setup workflows `curl .../api/v2/pipeline/continue` asks this Rondo, whatever host it names, and needs no network. Off: such jobs must name an address of ours that they can reach."),
    Option("jobs.cpus", "number", 0.0, "CPUs that running jobs may claim in all. 0: twice those of this machine, since jobs often wait.", "CPUs", least=0),
    Option("jobs.memory", "integer", 0, "Memory that running jobs may use in all. 0: this machine's.", "bytes", least=0),
    Option("jobs.at_once", "integer", 16, "Nodes that run on this machine at once at most; other machines have slots.", least=1),
    Option("jobs.at_once_per_project", "integer", 0, "Nodes of one project that run at once at most, wherever. 0: as many as there is room for.", least=0),
    Option("jobs.patience", "number", 120.0, "After so long a wait a job is not passed any more by others that would delay it.", "seconds", least=0),
    Option("jobs.default_class", "text", "medium", "Resource class of jobs that name none."),
    Option("jobs.longest", "number", 18000.0, "A node is ended after this.", "seconds", least=1),
    Option("jobs.restarts", "integer", 1, "How often a node is started again whose machine vanished, or whose sandbox no engine could open. 0: never, for jobs that must not run twice in part.", least=0),
    Option("jobs.grace", "number", 10.0, "Between SIGTERM and SIGKILL when a step is stopped.", "seconds", least=0),
    Option("jobs.machine_patience", "number", 60.0, "A machine that has given no sign of life for so long has lost its jobs; each is started once more, elsewhere if it can be.", "seconds", least=1),
    Option("jobs.log_limit", "integer", 4 * GIB, "Largest log of one step; past it the step is stopped.", "bytes", least=1024),
    Option("jobs.service_log_limit", "integer", 16 * MIB, "What is kept of the log of one service container; many short lines count for more.", "bytes", least=1024),
    Option("jobs.sample_every", "number", 2.0, "How often to look what a running node takes of CPU, memory and disk, for its curves; longer jobs less often. 0: never.", "seconds", least=0),
    Option("jobs.skip_ci", "boolean", True, "Honour [skip ci] and [ci skip] in the head commit's message."),
    Option("workflows.longest_days", "number", 90.0, "A workflow that has not ended after this is canceled.", "days", least=0.001),
    Option("workflows.hold_days", "number", 90.0, "An approval that nobody has given after this is canceled, and what requires it does not run.", "days", least=0.001),
    Option("workflows.longest_lock_wait", "number", 18000.0, "A job that has waited so long for its serial group is canceled.", "seconds", least=1),
    Option("workflows.consumed_failures_count", "boolean", True, "A failed job fails its workflow also when another job requires that failure."),
    Option("github.api", "text", "https://api.github.com", "Base of GitHub's API; of GitHub Enterprise: https://HOST/api/v3."),
    Option("github.token", "text", "", "Token for commit statuses. Better in the environment: RONDO_GITHUB_TOKEN."),
    Option("git.timeout", "number", 600.0, "Longest git operation of the server.", "seconds", least=1),
    Option("git.patience", "number", 30.0, "How long a repository that cannot be reached is tried before its pipeline is errored.", "seconds", least=0),
    Option("git.known_hosts", "list", (), "Lines of an SSH known_hosts file for git servers, here and in jobs. Others are pinned when first met; GitHub's, GitLab's and Bitbucket's are known."),
    Option("git.largest_config", "integer", 4 * MIB, "Largest .circleci/config.yml that is read.", "bytes", least=1024),
    Option("aws.endpoint", "text", "", "Asked in the place of AWS's STS and ECR for logins to its registry. Empty: AWS."),
    Option("gcp.endpoint", "text", "", "Asked in the place of Google's STS and IAM for logins to its registries. Empty: Google."),
    Option("orbs.mirror", "text", "", "Folder of packed orbs, laid out NAMESPACE/NAME/VERSION.yml. Empty: none."),
    Option("orbs.public", "boolean", False, "Ask a public registry for orbs that neither our own registry nor the mirror has."),
    Option("orbs.public_url", "text", "https://circleci.com", "That registry; its GraphQL API is below."),
    Option("orbs.refresh", "number", 300.0, "How long its answer for an open version (1.2, volatile, dev:) holds. Exact ones hold for ever.", "seconds", least=0),
    Option("orbs.urls", "list", (), "Up to 5 prefixes that URLs of orbs may begin with: https, ending with /. Empty: no orbs by URL."),
    Option("orbs.networks", "list", (), 'Private networks that orbs may be fetched from nevertheless: "10.1.0.0/16".'),
    Option("orbs.timeout", "number", 20.0, "Time to fetch one orb.", "seconds", least=1),
    Option("orbs.longest", "number", 60.0, "After this time no more orbs are fetched for a config.", "seconds", least=1),
    Option("orbs.largest", "integer", 3_000_000, "Largest orb that is fetched.", "bytes", least=1024),
    Option("caches.quota", "integer", 10 * GIB, "What the caches of one project may take; past it the least recently used go.", "bytes", least=0),
    Option("artifacts.largest", "integer", 3 * GIB, "Largest file that is kept as an artifact.", "bytes", least=0),
    Option("artifacts.files", "integer", 50_000, "Files that one job may keep as artifacts; the rest is left out, with a warning.", least=0),
    Option("artifacts.job", "integer", 20 * GIB, "What the artifacts of one job may take.", "bytes", least=0),
    Option("artifacts.quota", "integer", 50 * GIB, "What the artifacts of one project may take; past it the oldest of ended jobs go.", "bytes", least=0),
    Option("workspaces.layer", "integer", 10 * GIB, "What one persist_to_workspace may add, compressed; a step with more fails.", "bytes", least=0),
    Option("workspaces.all", "integer", 50 * GIB, "What all jobs of one workflow may persist.", "bytes", least=0),
    Option("retention.every", "number", 60.0, "Time between two looks for what is too old, too large, or left over.", "seconds", least=1),
    Option("retention.pipelines_days", "number", 0.0, "Pipelines older than this go, with all that hangs on them. 0: never; else 90 or more, since they can be rerun until then.", "days", least=0),
    Option("retention.logs_days", "number", 365.0, "Logs of jobs that ended longer ago go. 0: never.", "days", least=0),
    Option("retention.logs_size", "integer", 0, "What all logs may take; past it the oldest go. 0: any size, as long as the disk has room.", "bytes", least=0),
    Option("retention.letters_days", "number", 30.0, "What was sent to the world, and events that started nothing, are kept so long.", "days", least=0),
    Option("disk.floor", "integer", 256 * MIB, "No new job starts with less free room in the data folder; caches and artifacts leave half of it.", "bytes", least=0),
    Option("drain.longest", "number", 30.0, "After SIGTERM: how long to wait for answers in flight. Jobs run on and are found again.", "seconds", least=0),
    Option("log.level", "text", "info", "What goes to standard error.", choices=("debug", "info", "warning", "error")),
)  # fmt: skip

_BY_NAME = {option.name: option for option in OPTIONS}


class Settings:
    """Read-only values by name: `settings.text("web.host")`. Asking for an undeclared one is a bug."""

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        self._values: dict[str, Value] = {option.name: option.default for option in OPTIONS}
        for name, value in (values or {}).items():
            assert name in _BY_NAME, name
            self._values[name] = value

    def text(self, name: str) -> str:
        value = self._values[name]
        assert isinstance(value, str), name
        return value

    def integer(self, name: str) -> int:
        value = self._values[name]
        assert isinstance(value, int), name
        return value

    def number(self, name: str) -> float:
        value = self._values[name]
        assert isinstance(value, int | float), name
        return float(value)

    def is_on(self, name: str) -> bool:
        value = self._values[name]
        assert isinstance(value, bool), name
        return value

    def items(self, name: str) -> tuple[str, ...]:
        value = self._values[name]
        assert isinstance(value, tuple), name
        return value

    def table(self, name: str) -> Mapping[str, str]:
        value = self._values[name]
        assert _BY_NAME[name].kind == "table", name
        return cast(Mapping[str, str], value)

    def tables(self, name: str) -> Mapping[str, Mapping[str, Plain]]:
        value = self._values[name]
        assert _BY_NAME[name].kind == "tables", name
        return cast(Mapping[str, Mapping[str, Plain]], value)

    def replaced(self, **changes: Value) -> Settings:
        """A copy with changes; `web__port=0` stands for `web.port`."""
        return Settings({**self._values, **{name.replace("__", "."): value for name, value in changes.items()}})


def load(path: Path | None, environment: Mapping[str, str], usual: Mapping[str, Value] | None = None) -> Settings:
    """The settings from `path` (None: no file) and the environment. Raises SettingsError with every problem at once.

    `usual` goes before the defaults, for a command that has others.
    """
    problems: list[str] = []
    values: dict[str, Value] = dict(usual or {})
    if path is not None:
        _from_file(path, values, problems)
    _from_environment(environment, values, problems)
    if problems:
        raise SettingsError(problems)
    return Settings(values)


def _from_file(path: Path, values: dict[str, Value], problems: list[str]) -> None:
    import tomllib  # not for those who have no file

    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        problems.append(f"{path}: there is no such file; make one from config.example.toml")
        return
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error}")
        return
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: not valid TOML: {error}")
        return
    for name, value in _flat(document):
        option = _BY_NAME.get(name)
        if option is None:
            problems.append(f"{path}: unknown option {name}{_did_you_mean(name)}")
        else:
            _take(option, value, str(path), values, problems)


def _flat(table: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Dotted names and values; the tables that are options themselves stay whole."""
    found: list[tuple[str, object]] = []
    for key, value in table.items():
        name = prefix + key
        is_section = any(option.name.startswith(name + ".") for option in OPTIONS)
        if isinstance(value, dict) and (value or is_section) and name not in _BY_NAME:
            found += _flat(value, name + ".")
        else:
            found.append((name, value))
    return found


def _from_environment(environment: Mapping[str, str], values: dict[str, Value], problems: list[str]) -> None:
    by_variable = {variable_of(option): option for option in OPTIONS}
    for variable, text in sorted(environment.items()):
        option = by_variable.get(variable)
        if option is not None:
            _take(option, _parsed(option, text), variable, values, problems)
        elif variable.startswith("RONDO_") and variable not in ("RONDO_CONFIG",):
            problems.append(f"environment: unknown option {variable}{_did_you_mean(variable, by_variable)}")


def variable_of(option: Option) -> str:
    return "RONDO_" + option.name.upper().replace(".", "_")


def _parsed(option: Option, text: str) -> object:
    """An environment variable's text as the option's type, or the text itself when it does not fit."""
    if option.kind == "text":
        return text
    if option.kind == "boolean":
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _take(option: Option, value: object, where: str, values: dict[str, Value], problems: list[str]) -> None:
    if option.kind == "tables":
        _take_tables(option, value, where, values, problems)
        return
    try:
        values[option.name] = _checked(option, value)
    except ValueError as error:
        problems.append(f"{where}: {option.name} {error}")


def _take_tables(option: Option, value: object, where: str, values: dict[str, Value], problems: list[str]) -> None:
    if not (isinstance(value, dict) and all(isinstance(table, dict) for table in value.values())):
        problems.append(f"{where}: {option.name} must be tables, each [{option.name}.NAME], not {value!r}")
        return
    kinds: dict[str, Kind] = {key: kind for key, kind, _, _ in MACHINE}
    tables: dict[str, dict[str, Plain]] = {}
    for name, table in value.items():
        tables[name] = {}
        for key, item in table.items():
            try:
                if key not in kinds:
                    raise ValueError(f"is unknown{_did_you_mean(key, kinds)}")
                tables[name][key] = cast(Plain, _checked(Option(key, kinds[key], "", "", least=0), item))
            except ValueError as error:
                problems.append(f"{where}: {option.name}.{name}.{key} {error}")
    values[option.name] = tables


def _checked(option: Option, value: object) -> Value:
    """The value as the option's type, or ValueError saying what it must be."""
    if option.kind in ("integer", "number"):
        return _checked_number(option, value)
    if option.kind == "boolean" and isinstance(value, bool):
        return value
    if option.kind == "text" and isinstance(value, str):
        if option.choices and value not in option.choices:
            raise ValueError(f"must be one of {', '.join(option.choices)}, not {value!r}")
        return value
    if option.kind == "list" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if option.kind == "table" and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        assert isinstance(option.default, Mapping)
        return cast(Mapping[str, str], {**option.default, **value})
    raise ValueError(f"must be {_KIND_WORDS[option.kind]}, not {value!r}")


def _checked_number(option: Option, value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, int if option.kind == "integer" else int | float):
        raise ValueError(f"must be {_KIND_WORDS[option.kind]}{_in_unit(option)}, not {value!r}")
    if option.least is not None and value < option.least:
        raise ValueError(f"must be at least {option.least:g}{_in_unit(option)}, not {value!r}")
    return value


_KIND_WORDS: Mapping[Kind, str] = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list of texts",
    "table": "a table of texts",
}


def _in_unit(option: Option) -> str:
    return f" ({option.unit})" if option.unit else ""


def _did_you_mean(name: str, known: Iterable[str] = _BY_NAME) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def example_file() -> str:
    """The text of config.example.toml: every option with its help and its default, commented out."""
    lines = [
        "# Every option of Rondo with its default. Remove a '#' to change one; `rondo serve --config FILE` reads it.",
        "# Each can come from the environment as well: RONDO_WEB_PORT for port in [web].",
        "# Made from appliance/settings.py by `make example`.",
    ]
    section = ""
    for option in OPTIONS:
        head, _, last = option.name.rpartition(".")
        if option.kind == "tables":
            lines += ["", *_help_lines(option), f"# [{option.name}.NAME]", *_machine_lines()]
            continue
        if option.kind == "table" and not head:
            lines += ["", *_help_lines(option), f"[{option.name}]", *_table_lines(option.default)]
            section = option.name
            continue
        if head != section:
            lines += ["", f"[{head}]"]
            section = head
        lines += ["", *_help_lines(option), f"# {last} = {_toml(option.default)}"]
    return "\n".join(lines) + "\n"


def _help_lines(option: Option) -> list[str]:
    extra = f" [{option.unit}]" if option.unit else ""
    extra += f" One of: {', '.join(option.choices)}." if option.choices else ""
    return [f"# {option.help}{extra}"]


def _machine_lines() -> list[str]:
    """Set in, so that nobody takes them for options of the section before."""
    return [f"#   {f'{key} = {example}':<40} # {words}" for key, _, example, words in MACHINE]


def _table_lines(table: Value) -> list[str]:
    assert isinstance(table, Mapping)
    return [f"# {name if name.isidentifier() else json.dumps(name)} = {json.dumps(text)}" for name, text in table.items()]


def _toml(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{}"
    return json.dumps(list(value) if isinstance(value, tuple) else value)
