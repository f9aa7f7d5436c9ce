"""A fault in the settings, with its place; and the error that carries all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import ConfigError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault: `line` and `column` count from 1, 0 = not in a file.

    `source` is the file, `environment variable NAME` or `flag NAME`; `key` is the dotted name of
    the setting, or empty. Neither message nor hint ever shows the value of a secret.
    """

    line: int
    column: int
    key: str
    message: str
    hint: str = ""
    source: str = ""

    def __str__(self) -> str:
        place = ":".join([self.source, *(str(n) for n in (self.line, self.column) if n)])
        parts = [place, self.key, self.message]
        text = ": ".join(part for part in parts if part)
        return f"{text} ({self.hint})" if self.hint else text


class SettingsError(ConfigError):
    """The settings cannot be used; `problems` holds every fault that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "an error without a problem"
        first, *others = problems
        super().__init__(
            _primary(first),
            detail="\n".join(f"{problem}." for problem in others),
            hint=first.hint,
        )
        self.problems = tuple(problems)


def _primary(problem: Problem) -> str:
    place = f"{problem.source} line {problem.line}" if problem.line else problem.source
    return ": ".join(part for part in (place, problem.key, problem.message) if part)
