"""Problems as an editor shows them. A problem inside an orb stands where the config calls it, and points into the orb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lsprotocol import types

from appliance.language import Compiled, Frame, Kind, Problem
from appliance.lsp.places import Place, token_at

_SEVERITIES = {
    Kind.ERROR: types.DiagnosticSeverity.Error,
    Kind.DEPRECATED: types.DiagnosticSeverity.Warning,
    Kind.WARNING: types.DiagnosticSeverity.Warning,
    Kind.BAD_HABIT: types.DiagnosticSeverity.Information,
}

Locate = Callable[[Place], types.Location]
"""A place as the client counts and names it."""


def diagnostics_of(compiled: Compiled, file: str, locate: Locate) -> list[types.Diagnostic]:
    """All problems of a config, in its own order."""
    lines = {name: text.splitlines() for name, text in compiled.sources.items()}
    return [_diagnostic(problem, file, lines, locate) for problem in compiled.problems]


def failure(message: str, file: str, locate: Locate) -> types.Diagnostic:
    """That nothing could be said about a config, at its beginning."""
    at = locate(Place(file, 1, 1, 2))
    return types.Diagnostic(at.range, message, severity=types.DiagnosticSeverity.Error, source="rondo")


def _diagnostic(problem: Problem, file: str, lines: Mapping[str, Sequence[str]], locate: Locate) -> types.Diagnostic:
    def place(at: Problem | Frame) -> types.Location:
        return locate(token_at(lines.get(at.file, ()), at.file, at.line, at.column))

    shown: Problem | Frame = problem
    if problem.file != file:
        shown = next((frame for frame in problem.trail if frame.file == file), Frame("", file, 1, 1))
    related = [types.DiagnosticRelatedInformation(place(frame), f"in {frame.what}") for frame in problem.trail]
    if problem.file != file:
        related.append(types.DiagnosticRelatedInformation(place(problem), problem.message))
    return types.Diagnostic(
        range=place(shown).range,
        message=_message(problem, file),
        severity=_SEVERITIES[problem.kind],
        code=problem.code,
        source="rondo",
        tags=[types.DiagnosticTag.Deprecated] if problem.kind is Kind.DEPRECATED else None,
        related_information=related or None,
    )


def _message(problem: Problem, file: str) -> str:
    text = problem.message
    if problem.file != file:
        text = f"{problem.file}:{problem.line}: {text}"
    if problem.did_you_mean is not None:
        text += f' Did you mean "{problem.did_you_mean}"?'
    if problem.expected is not None:
        text += f"\nexpected: {problem.expected}"
    return text
