"""The language of `.circleci/config.yml`: source text -> plan and problems. Pure; imports nothing else of ours."""

from appliance.language.compiler import Compiled, compile
from appliance.language.head import Head, read_head
from appliance.language.options import Limits, Options
from appliance.language.orbs import OrbDocument, OrbSource
from appliance.language.parameters import Untyped
from appliance.language.plan import Plan
from appliance.language.problems import Frame, Kind, Problem

__all__ = [
    "Compiled",
    "Frame",
    "Head",
    "Kind",
    "Limits",
    "Options",
    "OrbDocument",
    "OrbSource",
    "Plan",
    "Problem",
    "Untyped",
    "compile",
    "read_head",
]
