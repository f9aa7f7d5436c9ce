"""The form in which a store's entries of the exactness table are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backends.base import Exactness

Kind = Literal["operator", "predicate", "function", "cast", "value", "aggregate", "ordering"]


@dataclass(frozen=True, slots=True)
class StoreVerdicts:
    """Entries of engine/exactness.py that share a store's verdict.

    `lines` in its notation without result and without `!`: names separated by spaces, type tuples
    by `|`, a line each: `= <> <(int4,int4|int8,int8)`.
    """

    backend: str
    kind: Kind
    lines: str
    verdict: Exactness
