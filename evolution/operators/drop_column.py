"""DROP COLUMN: its values stay in the store for older versions; rows written without it have its
last default there, else NULL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Seed, Table
from evolution.operators.base import Compatibility, Effect, converted_ids


class DropColumn:
    """See Operator."""

    kind: Final = "drop column"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old is None or new is None:
            return
        others = converted_ids(old, new)
        for column in old.columns:
            if new.column_by_id(column.id) is not None or column.id in others:
                continue
            virtual = isinstance(column.source, Seed)
            shown = virtual or column.default is not None or not column.not_null
            compatibility: Compatibility = "FULL" if shown else "BACKWARD"
            down = f"DEFAULT {column.default}" if column.default is not None else "NULL"
            yield Effect(self.kind, new.id, column.name, "not shown",
                         "computed" if virtual else down, "" if virtual else "its values",
                         frozenset(), frozenset({column.id}), compatibility,
                         "reader")  # fmt: skip
