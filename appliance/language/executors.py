"""Where a job runs: docker, machine and macos, and an executor merged with the job that names it (spec 1.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.language import plan
from appliance.language.compilation import Compilation
from appliance.language.elements import ABSENT, Element, Scope, own_scope
from appliance.language.nodes import Map, Node, Scalar, Sequence, Unknown, describe, flat
from appliance.language.parameters import bind
from appliance.language.problems import Kind
from appliance.language.schema import boolean, boolean_of, environment, known_keys, map_of, text, texts
from appliance.language.steps import shell

TYPES = ("docker", "machine", "macos")
EXECUTOR_KEYS = frozenset(
    [
        "docker",
        "machine",
        "macos",
        "environment",
        "working_directory",
        "shell",
        "resource_class",
        "parameters",
        "description",
        "parallelism",
    ]
)
_IMAGE_KEYS = frozenset(["image", "name", "entrypoint", "command", "user", "environment", "auth", "aws_auth", "gcp_auth"])
_MACHINE_KEYS = frozenset(["image", "docker_layer_caching", "enabled", "resource_class", "shell", "reusable", "exclusive"])
_MACOS_KEYS = frozenset(["xcode", "code_signing", "resource_class", "shell"])

_SIZES = frozenset(["small", "medium", "medium+", "large", "xlarge", "2xlarge", "2xlarge+"])
_LINUX = _SIZES | frozenset(f"{size}.gen{n}" for size in _SIZES for n in (1, 2, 3))
_OTHER_PREFIXES = {
    "docker": ("windows.", "macos.", "m4pro.", "m2pro.", "m1.", "gpu."),
    "machine": ("macos.", "m4pro.", "m2pro."),
    "macos": ("windows.", "arm.", "gpu."),
}
_KNOWN_PREFIXES = ("arm.", "windows.", "macos.", "m4pro.", "m2pro.", "m1.", "gpu.")
_FIRST_XCODE_WITHOUT_INTEL = 15


@dataclass
class Place:
    """Where a job runs, before it is a job of the plan."""

    executor: plan.Executor | None = None
    resource_class: str | None = None
    shell: str | None = None
    working_directory: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    parallelism: Node | None = None
    is_unknown: bool = False  # it depends on arguments not given yet


def read_place(work: Compilation, body: Map) -> Place:
    """What one map (an executor's or a job's own keys) says of the place."""
    problems = work.problems
    fields = body.fields
    place = Place()
    kinds = [kind for kind in TYPES if kind in fields and not _is_off(fields[kind])]
    if len(kinds) > 1:
        message = f"Only one of docker, machine and macos can be used; here are {' and '.join(kinds)}."
        problems.error(body.keys[kinds[1]], "executor", message, expected="one of them")
    if "resource_class" in fields:
        place.resource_class = text(fields["resource_class"], "`resource_class`", problems)
    if "shell" in fields:
        place.shell = shell(work, fields["shell"])
    if "working_directory" in fields:
        place.working_directory = text(fields["working_directory"], "`working_directory`", problems)
    if "environment" in fields:
        place.environment = environment(fields["environment"], problems, work.options.coerce_environment)
    place.parallelism = fields.get("parallelism")
    if kinds:
        _READERS[kinds[0]](work, body, fields[kinds[0]], place)
    return place


def _is_off(node: Node) -> bool:
    return isinstance(node, Scalar) and (node.kind == "null" or (node.kind == "bool" and boolean_of(node) is False))


def _docker(work: Compilation, body: Map, node: Node, place: Place) -> None:
    if isinstance(node, Unknown):
        place.is_unknown = True
        return
    if isinstance(node, Map) and "image" in node.fields:
        node = Sequence(node.file, node.line, node.column, [node])
        message = "`docker` is a list of images; put a `-` before the first key."
        work.problems.error(node, "type", message, expected="`docker: [{ image: … }]`")
    if not isinstance(node, Sequence) or not node.items:
        message = f"`docker` must be a list of images, not {describe(node)}."
        work.problems.error(body.keys["docker"], "type", message, expected="`- image: NAME`")
        return
    images = []
    for item in flat(node):
        if isinstance(item, Unknown):
            place.is_unknown = True
        else:
            image = _image(work, item)
            if image is not None:
                images.append(image)
    if images:
        place.executor = plan.Docker(images=tuple(images))
    else:
        place.is_unknown = True


def _image(work: Compilation, item: Node) -> plan.DockerImage | None:
    problems = work.problems
    if not isinstance(item, Map):
        message = f"An item of `docker` must be a map, not {describe(item)}."
        problems.error(item, "type", message, expected="`- image: NAME`")
        return None
    fields = item.fields
    known_keys(item, "a docker image", _IMAGE_KEYS, problems)
    image = text(fields.get("image"), "`image`", problems)
    if image is None:
        if not isinstance(fields.get("image"), Unknown):
            problems.error(item, "missing-key", "An item of `docker` needs an `image`.", expected="`image:`")
            return None
        image = ""
    variables: dict[str, str] = {}
    if "environment" in fields:
        variables = environment(fields["environment"], problems, work.options.coerce_environment)
    return plan.DockerImage(
        image=image,
        name=text(fields.get("name"), "`name`", problems),
        entrypoint=_words(work, fields.get("entrypoint"), "`entrypoint`"),
        command=_words(work, fields.get("command"), "`command`"),
        user=text(fields.get("user"), "`user`", problems),
        environment=variables,
        auth=_auth(work, item),
        aws_auth=_login(work, fields.get("aws_auth"), "aws_auth"),
        gcp_auth=_login(work, fields.get("gcp_auth"), "gcp_auth"),
    )


def _words(work: Compilation, node: Node | None, what: str) -> tuple[str, ...] | None:
    """A command line: a list of words, or a text cut at blanks as a shell would."""
    if node is None or isinstance(node, Unknown):
        return None
    if isinstance(node, Scalar):
        return None if node.kind == "null" else _split(node.text)
    return texts(node, what, work.problems)


_WORD = re.compile(r"""(?:[^\s"']+|"[^"]*"|'[^']*')+""")


def _split(line: str) -> tuple[str, ...]:
    """Words of a command line; an unbalanced quote stands for itself."""
    if line.count('"') % 2 or line.count("'") % 2:
        return tuple(line.split())
    return tuple(re.sub(r""""([^"]*)"|'([^']*)'""", r"\1\2", word) for word in _WORD.findall(line))


def _auth(work: Compilation, item: Map) -> plan.RegistryAuth | None:
    found = map_of(item.get("auth"), "`auth`", work.problems)
    if found is None:
        return None
    missing = [name for name in ("username", "password") if name not in found.fields]
    if missing:
        message = f"`auth` needs {' and '.join(missing)}."
        work.problems.error(item.keys["auth"], "missing-key", message, expected="username and password")
        return None
    username = text(found.get("username"), "`username`", work.problems) or ""
    password = text(found.get("password"), "`password`", work.problems) or ""
    return plan.RegistryAuth(username=username, password=password)


def _login(work: Compilation, node: Node | None, what: str) -> Mapping[str, str] | None:
    found = map_of(node, f"`{what}`", work.problems)
    if found is None:
        return None
    return {key.text: text(value, f"`{key.text}` of {what}", work.problems) or "" for key, value in found.items()}


def _machine(work: Compilation, body: Map, node: Node, place: Place) -> None:
    problems = work.problems
    if isinstance(node, Unknown):
        place.is_unknown = True
        return
    if isinstance(node, Scalar):
        if boolean_of(node) is not True and node.text != "default":
            message = f"`machine` must be true or a map, not {describe(node)}."
            problems.error(node, "type", message, expected="`machine: { image: … }` or `machine: true`")
        place.executor = plan.Machine()
        return
    found = map_of(node, "`machine`", problems)
    if found is None:
        return
    known_keys(found, "`machine`", _MACHINE_KEYS, problems)
    _nested_class(work, body, found, place)
    if "shell" in found.fields and place.shell is None:
        place.shell = shell(work, found.fields["shell"])
    place.executor = plan.Machine(
        image=text(found.get("image"), "`image`", problems),
        docker_layer_caching=boolean(found.get("docker_layer_caching"), "`docker_layer_caching`", problems),
    )


def _nested_class(work: Compilation, body: Map, found: Map, place: Place) -> None:
    """A `resource_class` inside `machine` or `macos` counts like one beside it."""
    if "resource_class" not in found.fields:
        return
    if "resource_class" in body.fields:
        message = "`resource_class` stands both inside and beside the executor."
        work.problems.error(found.keys["resource_class"], "resource-class", message, expected="one of them")
        return
    place.resource_class = text(found.get("resource_class"), "`resource_class`", work.problems)


def _macos(work: Compilation, body: Map, node: Node, place: Place) -> None:
    if isinstance(node, Unknown):
        place.is_unknown = True
        return
    found = map_of(node, "`macos`", work.problems)
    if found is None or "xcode" not in found.fields:
        if isinstance(node, Map):
            message = "`macos` needs the version of Xcode."
            work.problems.error(body.keys["macos"], "missing-key", message, expected='`xcode: "16.2"`')
        return
    known_keys(found, "`macos`", _MACOS_KEYS, work.problems)
    _nested_class(work, body, found, place)
    if "shell" in found.fields and place.shell is None:
        place.shell = shell(work, found.fields["shell"])
    xcode = text(found.get("xcode"), "`xcode`", work.problems)
    place.executor = plan.Macos(xcode=xcode or "")


_READERS = {"docker": _docker, "machine": _machine, "macos": _macos}


def check_class(work: Compilation, place: Place, at: Node) -> None:
    """Report a resource class that belongs to another kind of executor."""
    name = place.resource_class
    if name is None or place.executor is None or "/" in name or name == "":
        return
    kind = {plan.Docker: "docker", plan.Machine: "machine", plan.Macos: "macos"}[type(place.executor)]
    if _is_foreign(name, kind, place.executor):
        message = f"The resource class {name} does not exist for {kind}."
        work.problems.error(at, "resource-class", message, expected=_EXPECTED[kind])
    elif name not in _LINUX and not name.startswith(_KNOWN_PREFIXES) and "$" not in name:
        message = f"{name} is not one of CircleCI's resource classes; this appliance must know it by that name."
        work.problems.add(Kind.WARNING, at, "resource-class", message, word=name, choices=_LINUX)


_EXPECTED = {
    "docker": "small, medium, medium+, large, xlarge, 2xlarge, 2xlarge+ or arm.*",
    "machine": "medium, large, xlarge, 2xlarge, 2xlarge+, arm.*, windows.* or gpu.*",
    "macos": "m4pro.medium, m4pro.large or macos.*",
}


def _is_foreign(name: str, kind: str, executor: plan.Executor) -> bool:
    if name.startswith(_OTHER_PREFIXES[kind]):
        return True
    if isinstance(executor, plan.Macos):
        # Intel Macs had plain sizes; with the Xcodes that came after them there are none.
        major = executor.xcode.partition(".")[0]
        return name in _LINUX and major.isdigit() and int(major[:4]) >= _FIRST_XCODE_WITHOUT_INTEL
    if isinstance(executor, plan.Machine) and name.startswith("windows.") and executor.image:
        return "windows" not in executor.image
    return False


def resolve(work: Compilation, body: Map, scope: Scope, is_reached: bool = True) -> Place:
    """The place of a job: its executor's keys, each replaced by the job's own; environments are merged."""
    own = read_place(work, body)
    reference = body.get("executor")
    base = _named(work, reference, scope, is_reached) if reference is not None else None
    place = own if base is None else _merged(work, body, base, own)
    at = body.get("resource_class") or body.get("machine") or body.get("macos") or reference or body
    if place.resource_class is not None and (own.resource_class is not None or own.executor is not None):
        check_class(work, place, at)
    return place


def _merged(work: Compilation, body: Map, base: Place, own: Place) -> Place:
    if own.executor is not None:
        kind = next(kind for kind in TYPES if kind in body.fields)
        message = f"The job has an `executor` and its own `{kind}`; its own counts."
        work.problems.add(Kind.WARNING, body.keys[kind], "two-executors", message)
    return Place(
        executor=own.executor or base.executor,
        resource_class=own.resource_class or base.resource_class,
        shell=own.shell or base.shell,
        working_directory=own.working_directory or base.working_directory,
        environment={**base.environment, **own.environment},
        parallelism=own.parallelism or base.parallelism,
        is_unknown=own.is_unknown or base.is_unknown,
    )


def _named(work: Compilation, reference: Node, scope: Scope, is_reached: bool) -> Place:
    """The place an `executor:` names, with the arguments it gives."""
    unknown = Place(is_unknown=True)
    scope = own_scope(reference, scope)
    arguments: dict[str, tuple[Scalar, Node]] = {}
    name: Node | None = reference
    if isinstance(reference, Map):
        name = reference.get("name")
        arguments = {key.text: (key, value) for key, value in reference.items() if key.text != "name"}
        if name is not None and name.scope is not None:
            scope = name.scope
        if name is None and len(reference.fields) == 1:  # `executor: { NAME: { arguments } }`
            ((name, inner),) = reference.items()
            arguments = {key.text: (key, value) for key, value in inner.items()} if isinstance(inner, Map) else {}
    if isinstance(name, Unknown):
        return unknown
    if isinstance(name, Map):  # `executor: {name: << parameters.executor >>}` with a map given
        return _named(work, name, scope, is_reached)
    if not isinstance(name, Scalar) or name.kind == "null":
        message = "`executor` must be the name of an executor, or a map with `name` and its arguments."
        work.problems.error(reference, "type", message, expected="`executor: NAME`")
        return unknown
    element = scope.find("executor", name.text)
    if not isinstance(element, Element):
        if element is not ABSENT:
            choices = list(scope.references("executor"))
            scope.report_unknown(work.problems, "executor", name, choices, is_reached)
        return unknown
    bound = bind(work, element, arguments, name, scope, is_reached=is_reached)
    return executor_place(work, element, bound, name)


def executor_place(work: Compilation, element: Element, bound: Mapping[str, Node], at: Scalar) -> Place:
    """The place that a definition of an executor describes, its parameters filled in."""
    names = element.scope.names.with_parameters(bound)
    with work.problems.through(element.title, at):
        body = work.fill(element.body, names)
        assert isinstance(body, Map)
        place = read_place(work, body)
        if place.executor is None and not place.is_unknown:
            message = f"The {element.title} has none of docker, machine and macos."
            work.problems.error(element.key, "executor", message, expected="one of them")
            place.is_unknown = True
        check_class(work, place, body.get("resource_class") or element.key)
    return place
