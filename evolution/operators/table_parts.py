"""Tables that were divided and put together again, as they are in the model: no row moves.

How they are made is in evolution/split_table.py and evolution/merge_tables.py. `old` and `new` are
two tables here: the whole and a part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Table
from evolution.operators.base import Compatibility, Effect


class SplitTable:
    """CALL morph.split_table; see Operator."""

    kind: Final = "split table"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old and new and new.part and not new.part.keyed and old.part is None:
            up = f"the rows with {new.part.told}"
            yield _effect(self.kind, old, new, new.part.of, (up, "the union"), "FORWARD")


class MergeTables:
    """CALL morph.merge_tables; see Operator."""

    kind: Final = "merge tables"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old and new and old.part and not old.part.keyed and new.part is None:
            down = f"the rows with {old.part.told}"
            yield _effect(self.kind, old, new, old.part.of, ("the union", down), "BACKWARD")


class DecomposeTable:
    """CALL morph.decompose_table; see Operator."""

    kind: Final = "decompose table"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old and new and new.part and new.part.keyed and old.part is None:
            yield _effect(self.kind, old, new, old.id, ("key and columns", "the join"), "FULL")


class JoinTables:
    """CALL morph.join_tables; see Operator."""

    kind: Final = "join tables"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old and new and old.part and old.part.keyed and new.part is None:
            yield _effect(self.kind, old, new, new.id, ("the join", "key and columns"), "FULL")


def _effect(
    kind: str,
    old: Table,
    new: Table,
    whole: int,
    ways: tuple[str, str],
    compatibility: Compatibility,
) -> Effect:
    return Effect(
        kind=kind,
        table_id=new.id,
        subject=f"{old.name} -> {new.name}",
        up=ways[0],
        down=ways[1],
        residue="" if "join" in ways[0] + ways[1] else "rows that are in no part",
        reads=frozenset({whole}),
        writes=frozenset({whole, old.id, new.id}),
        compatibility=compatibility,
        deploy_first="reader",
    )
