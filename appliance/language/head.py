"""The top of a config, read without compiling it: what a door must know before it accepts parameters or a continuation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.language.compilation import Compilation
from appliance.language.elements import Parameter
from appliance.language.nodes import Map, Scalar
from appliance.language.options import Options
from appliance.language.parameters import PIPELINE_TYPES, check_arguments, declared
from appliance.language.problems import Exhausted, Frame
from appliance.language.schema import boolean, boolean_of
from appliance.language.source import read

_FILE = "config"


@dataclass(frozen=True)
class Head:
    """`is_config` is False for what is no config at all; `has_parameters` for one that cannot have any (version 2)."""

    is_config: bool = False
    has_parameters: bool = False
    is_setup: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def refused(self, given: Mapping[str, object]) -> list[str]:
        """What is wrong with these values for the pipeline parameters: undeclared ones, wrong types, too much text."""
        work = Compilation(Options(), {})
        check_arguments(work, self.parameters, given, Frame("", _FILE, 1, 1))
        return [problem.message for problem in work.problems.sorted(_FILE, work.line_of)]

    def is_default(self, name: str, value: object) -> bool:
        """Whether `value` is what the parameter is without anybody giving it one."""
        parameter = self.parameters.get(name)
        default = parameter.default if parameter is not None else None
        if not isinstance(default, Scalar) or parameter is None:
            return False
        if parameter.type == "boolean":
            return boolean_of(default) is value
        return default.text == str(value)


def read_head(source: str) -> Head:
    """The head of a config. One that is broken has an empty head: compiling it tells what is wrong."""
    work = Compilation(Options(), {})
    try:
        tree = read(source, _FILE, work.problems, work.limits)
    except (Exhausted, RecursionError):
        return Head()
    if not isinstance(tree, Map):
        return Head()
    version = tree.get("version")
    is_setup = boolean(tree.get("setup"), "`setup`", work.problems)
    if not isinstance(version, Scalar) or version.text.strip() != "2.1":
        return Head(is_config=True, is_setup=is_setup)
    found = declared(work, tree.get("parameters"), "the pipeline", PIPELINE_TYPES)
    return Head(is_config=True, has_parameters=True, is_setup=is_setup, parameters=found)
