"""Errors of generator expressions whose SQLSTATE `core/errors.py` has no class for yet.

PostgreSQL answers each of them itself for a stored generated column; the texts are its own
(check_agglevels_and_constraints(), transformWindowFuncCall(), transformParamRef() and
scanNSItemForColumn() in its parser).
"""

from __future__ import annotations

from core.errors import MorphError


class GroupingError(MorphError, sqlstate="42803"):
    """An aggregate where none is allowed."""


class WindowingError(MorphError, sqlstate="42P20"):
    """A window function where none is allowed."""


class UndefinedParameter(MorphError, sqlstate="42P02"):
    """A parameter where none can be given."""


class InvalidColumnReference(MorphError, sqlstate="42P10"):
    """A system column where none may be read."""
