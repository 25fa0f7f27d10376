"""The built-in steps: their keys, and how each becomes a step of the plan (spec 1.8)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from appliance.language import plan
from appliance.language.compilation import Compilation
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown, describe
from appliance.language.problems import Kind
from appliance.language.schema import (
    boolean,
    duration,
    environment,
    known_keys,
    map_of,
    one_of,
    text,
    texts,
    whole_number,
)

_WHEN = ("on_success", "always", "on_fail")
_RERUN_DELAY = re.compile(r"(10|[1-9])m|([1-9]\d{0,2})s")
_FINGERPRINT = re.compile(r"(?:MD5:)?(?:[0-9a-fA-F]{2}:){15}[0-9a-fA-F]{2}|SHA256:[A-Za-z0-9+/=]+")

RUN_KEYS = frozenset(
    [
        "command",
        "name",
        "shell",
        "environment",
        "background",
        "working_directory",
        "no_output_timeout",
        "when",
        "max_auto_reruns",
        "auto_rerun_delay",
    ]
)


def read_step(work: Compilation, name: str, key: Scalar, value: Node | None) -> plan.Step | None:
    """A built-in step from its arguments; None where a problem keeps it from being made."""
    return BUILTINS[name](work, key, value)


def _arguments(
    work: Compilation, key: Scalar, value: Node | None, keys: frozenset[str], required: tuple[str, ...] = ()
) -> Map | None:
    """The map of arguments, its keys looked over. None when there is none to read."""
    found = map_of(value, f"The arguments of {key.text}", work.problems)
    if found is None:
        if required and not isinstance(value, Unknown) and not _is_wrong_type(value):
            _missing(work, key, required[0])
        return None
    known_keys(found, f"`{key.text}`", keys, work.problems)
    for name in required:
        if name not in found.fields:
            _missing(work, key, name)
    return found


def _is_wrong_type(value: Node | None) -> bool:
    return isinstance(value, Sequence) or (isinstance(value, Scalar) and value.kind != "null")


def _missing(work: Compilation, key: Scalar, name: str) -> None:
    work.problems.error(key, "missing-key", f"The {key.text} step needs `{name}`.", expected=f"`{name}:`")


def _when(work: Compilation, found: Map, default: plan.When) -> plan.When:
    word = one_of(found.get("when"), "`when` of a step", _WHEN, work.problems, None)
    return plan.When(word) if word is not None else default


def _run(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    if isinstance(value, Scalar) and not (value.plain and value.kind == "null"):
        return plan.Run(command=value.text, name=_title(value.text))
    if isinstance(value, Unknown):
        return None
    if isinstance(value, Sequence):
        message = "A run step is a command or a map, not a list; write one run step for each."
        work.problems.error(value, "type", message, expected="`run: COMMAND` or `run: { command: … }`")
        return None
    found = _arguments(work, key, value, RUN_KEYS, ("command",))
    return _run_of(work, found) if found is not None else None


def _title(command: str) -> str:
    return command.rstrip("\n")


def _run_of(work: Compilation, found: Map) -> plan.Step | None:
    problems = work.problems
    fields = found.fields
    command = text(fields.get("command"), "`command`", problems)
    name = text(fields.get("name"), "`name`", problems) if "name" in fields else None
    background = "background" in fields and boolean(fields["background"], "`background`", problems)
    reruns, delay = _reruns(work, found, background)
    timeout = 600.0
    if "no_output_timeout" in fields:
        timeout = duration(fields["no_output_timeout"], "`no_output_timeout`", problems, 600.0)
    variables: dict[str, str] = {}
    if "environment" in fields:
        variables = environment(fields["environment"], problems, work.options.coerce_environment)
    when = _when(work, found, plan.When.ON_SUCCESS) if "when" in fields else plan.When.ON_SUCCESS
    if command is None:
        nothing = isinstance(fields.get("command"), Scalar)
        if nothing:
            message = "The `command` of a run step is empty."
            problems.error(found.keys["command"], "missing-key", message, expected="a shell command")
        return None
    return plan.Run(
        command=command,
        name=name if name else _title(command),
        shell=shell(work, fields.get("shell")),
        environment=variables,
        background=background,
        working_directory=text(fields.get("working_directory"), "`working_directory`", problems),
        no_output_timeout_s=timeout,
        when=when,
        max_auto_reruns=reruns,
        auto_rerun_delay_s=delay,
    )


def shell(work: Compilation, node: Node | None) -> str | None:
    """A shell, as text or as a list of words."""
    if isinstance(node, Sequence):
        return " ".join(texts(node, "`shell`", work.problems)) or None
    return text(node, "`shell`", work.problems) or None


def _reruns(work: Compilation, found: Map, background: bool) -> tuple[int, float]:
    reruns = 0
    if "max_auto_reruns" in found.fields:
        reruns = whole_number(found.get("max_auto_reruns"), "`max_auto_reruns`", work.problems, 0, 1, 5)
        if background:
            message = "A background step cannot be rerun: nobody waits for its end."
            work.problems.error(found.keys["max_auto_reruns"], "rerun", message)
    if "auto_rerun_delay" not in found.fields:
        return reruns, 0.0
    if "max_auto_reruns" not in found.fields:
        message = "`auto_rerun_delay` needs `max_auto_reruns` beside it."
        work.problems.error(found.keys["auto_rerun_delay"], "rerun", message, expected="`max_auto_reruns: 1`")
    return reruns, _rerun_delay(work, found.fields["auto_rerun_delay"])


def _rerun_delay(work: Compilation, node: Node) -> float:
    if isinstance(node, Unknown):
        return 0.0
    matched = _RERUN_DELAY.fullmatch(node.text) if isinstance(node, Scalar) else None
    seconds = 0 if matched is None else int(matched[2]) if matched[2] else int(matched[1]) * 60
    if not 0 < seconds <= 600:
        message = f"`auto_rerun_delay` cannot be {describe(node)}."
        work.problems.error(node, "rerun", message, expected="1s to 600s, or 1m to 10m")
        return 0.0
    return float(seconds)


def _deploy(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    message = "The deploy step is deprecated; it runs on the first node only, after all others."
    work.problems.add(Kind.DEPRECATED, key, "deploy", message, expected="a run step, in a job of its own")
    made = _run(work, key, value)
    if not isinstance(made, plan.Run):
        return None
    fields = {name: getattr(made, name) for name in plan.Run.__dataclass_fields__}
    fields["only_on_first_node"] = True
    return plan.Run(**fields)


def _checkout(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    found = _arguments(work, key, value, frozenset(["path", "method", "depth", "name", "when"]))
    if found is None:
        return plan.Checkout()
    problems = work.problems
    methods = ("blobless", "full", "shallow")
    method = one_of(found.get("method"), "The method of checkout", methods, problems, "blobless")
    depth = whole_number(found.get("depth"), "`depth`", problems, 1) if "depth" in found.fields else None
    if method == "shallow" and "depth" not in found.fields:
        message = "A shallow checkout needs a `depth`."
        problems.error(found.keys["method"], "missing-key", message, expected="`depth: 1`")
    elif method != "shallow" and depth is not None and not isinstance(found.get("method"), Unknown):
        message = "`depth` is for shallow checkouts only."
        problems.error(found.keys["depth"], "checkout", message, expected="`method: shallow`")
    return plan.Checkout(
        path=text(found.get("path"), "`path`", problems) or ".",
        method=method or "blobless",
        depth=depth,
        **_common(work, found, plan.When.ON_SUCCESS),
    )


def _common(work: Compilation, found: Map, when: plan.When) -> dict[str, Any]:
    """The arguments every built-in step may have: `name` and `when`."""
    common: dict[str, Any] = {"when": _when(work, found, when) if "when" in found.fields else when}
    name = text(found.get("name"), "`name`", work.problems) if "name" in found.fields else None
    if name:
        common["name"] = name
    return common


def _save_cache(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    keys = frozenset(["key", "paths", "name", "when"])
    found = _arguments(work, key, value, keys, ("key", "paths"))
    if found is None:
        return None
    cache_key = text(found.get("key"), "`key`", work.problems) or ""
    paths = texts(found.get("paths"), "`paths`", work.problems)
    return plan.SaveCache(key=cache_key, paths=paths, **_common(work, found, plan.When.ON_SUCCESS))


def _restore_cache(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    found = _arguments(work, key, value, frozenset(["key", "keys", "name", "when"]))
    if found is None or not found.fields.keys() & {"key", "keys"}:
        if not isinstance(value, Unknown) and not _is_wrong_type(value):
            message = "The restore_cache step needs `key` or `keys`."
            work.problems.error(key, "missing-key", message, expected="`key:` or `keys:`")
        return None
    first = texts(found.get("key"), "`key`", work.problems)
    others = texts(found.get("keys"), "`keys`", work.problems)
    return plan.RestoreCache(keys=first + others, **_common(work, found, plan.When.ON_SUCCESS))


def _store_artifacts(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    keys = frozenset(["path", "destination", "name", "when"])
    found = _arguments(work, key, value, keys, ("path",))
    if found is None:
        return None
    return plan.StoreArtifacts(
        path=text(found.get("path"), "`path`", work.problems) or "",
        destination=text(found.get("destination"), "`destination`", work.problems),
        **_common(work, found, plan.When.ALWAYS),
    )


def _store_test_results(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    found = _arguments(work, key, value, frozenset(["path", "name", "when"]), ("path",))
    if found is None:
        return None
    path = text(found.get("path"), "`path`", work.problems) or ""
    return plan.StoreTestResults(path=path, **_common(work, found, plan.When.ALWAYS))


def _persist(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    keys = frozenset(["root", "paths", "name", "when"])
    found = _arguments(work, key, value, keys, ("root", "paths"))
    if found is None:
        return None
    return plan.PersistToWorkspace(
        root=text(found.get("root"), "`root`", work.problems) or ".",
        paths=texts(found.get("paths"), "`paths`", work.problems),
        **_common(work, found, plan.When.ON_SUCCESS),
    )


def _attach(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    found = _arguments(work, key, value, frozenset(["at", "name", "when"]), ("at",))
    if found is None:
        return None
    at = text(found.get("at"), "`at`", work.problems) or "."
    return plan.AttachWorkspace(at=at, **_common(work, found, plan.When.ON_SUCCESS))


def _add_ssh_keys(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    found = _arguments(work, key, value, frozenset(["fingerprints", "name", "when"]))
    if found is None:
        return plan.AddSshKeys()
    listed = found.get("fingerprints")
    fingerprints = texts(listed, "`fingerprints`", work.problems)
    for item in listed.items if isinstance(listed, Sequence) else []:
        if isinstance(item, Scalar) and not _FINGERPRINT.fullmatch(item.text) and "$" not in item.text:
            message = f"{describe(item)} does not look like the fingerprint of a key."
            work.problems.warning(item, "fingerprint", message, expected="aa:bb:… (MD5) or SHA256:…")
    return plan.AddSshKeys(fingerprints=fingerprints, **_common(work, found, plan.When.ON_SUCCESS))


def _setup_remote_docker(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    keys = frozenset(["docker_layer_caching", "prefer_same_region", "version", "name", "when", "reusable", "exclusive"])
    found = _arguments(work, key, value, keys)
    if found is None:
        return plan.SetupRemoteDocker()
    return plan.SetupRemoteDocker(
        docker_layer_caching=boolean(found.get("docker_layer_caching"), "`docker_layer_caching`", work.problems),
        version=text(found.get("version"), "`version`", work.problems),
        **_common(work, found, plan.When.ON_SUCCESS),
    )


def _install_signing_bundle(work: Compilation, key: Scalar, value: Node | None) -> plan.Step | None:
    found = _arguments(work, key, value, frozenset(["name", "when"]))
    return plan.InstallSigningBundle(**(_common(work, found, plan.When.ON_SUCCESS) if found else {}))


BUILTINS: dict[str, Callable[[Compilation, Scalar, Node | None], plan.Step | None]] = {
    "run": _run,
    "deploy": _deploy,
    "checkout": _checkout,
    "save_cache": _save_cache,
    "restore_cache": _restore_cache,
    "store_artifacts": _store_artifacts,
    "store_test_results": _store_test_results,
    "persist_to_workspace": _persist,
    "attach_workspace": _attach,
    "add_ssh_keys": _add_ssh_keys,
    "setup_remote_docker": _setup_remote_docker,
    "install_signing_bundle": _install_signing_bundle,
}
