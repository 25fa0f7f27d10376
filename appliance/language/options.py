"""Every switch and every limit of the compiler, each with its number here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds against configs that are bombs. Each is far above what the largest public configs need."""

    source_bytes: int = 3_000_000  # one file or orb
    nodes: int = 1_000_000  # after aliases are followed: a "billion laughs" ends here
    depth: int = 128  # of nested YAML collections; also what keeps our own recursion in bounds
    calls: int = 40  # commands calling commands
    jobs: int = 20_000  # in all workflows of one pipeline
    steps: int = 200_000  # in all jobs of one pipeline
    matrix: int = 512  # legs of one matrix
    requires: int = 500_000  # edges of one workflow, after matrices are spread out
    filled_nodes: int = 200_000  # of one list or map with its templates filled in
    visits: int = 500_000  # of steps, empty lists of them counted too
    templates: int = 150_000  # filled in: what a compilation costs grows with it
    template_bytes: int = 20_000_000  # text made by all substitutions of one compilation
    pattern_chars: int = 1_000  # a regular expression in filters and `matches`
    backtracking_chars: int = 200  # text given to a pattern that only the backtracking engine can read
    expression_chars: int = 10_000
    logic_depth: int = 100
    parameters: int = 100  # given by one trigger
    parameter_chars: int = 512
    orbs: int = 200  # imported by one config, nested ones included
    orb_depth: int = 10
    problems: int = 200  # reported; the rest is counted


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to compile. The defaults behave as CircleCI does.

    `coerce_environment`: booleans become 1 and 0, null `<nil>`, integers of 7 digits and more 1.234567e+06.
    `is_continuation`: this is the second config of a dynamic pipeline, so `setup: true` is refused.
    `check_unused`: also look for problems in jobs, commands and executors that no workflow reaches.
    """

    coerce_environment: bool = True
    is_continuation: bool = False
    check_unused: bool = True
    limits: Limits = Limits()
