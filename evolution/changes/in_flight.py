"""DDL while a change is in flight: what needs data work is registered for the controller, and what
touches a table under a shadow sends that change back to its beginning.

A shadow follows columns, indexes and constraints that its live table gets. What DDL takes away from
the store's table or changes there otherwise, it does not: the shadow is thrown away and begun again
after COMMIT (a rebase). After a promotion the old layout stands for the rollback, and such DDL is
refused until it is contracted.
DDL that changes only what versions show touches no store table and is never in the way.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from backends.stores import LAYOUT_KINDS
from catalog.model import CatalogSnapshot, Table, Version
from catalog.sqltext import STORE_SCHEMA
from core.errors import FeatureNotSupported, ObjectNotInPrerequisiteState
from evolution.changes import events
from evolution.changes.records import (
    Note,
    Record,
    announce_statement,
    load_records,
    move,
    register_statement,
    shadow_tables,
)
from evolution.changes.states import SHADOWED, Phase, words
from evolution.layouts.base import ShadowTable
from evolution.layouts.by_store import is_foreign
from evolution.servers import read_instances
from evolution.transaction import Row, Transaction

SHADOW_MODES: Final = ("auto", "shadow")
_STORE: Final = (
    rf'.*?\b{STORE_SCHEMA}\."?(?:[ik](?P<of>\d+)_|t(?P<table>\d+)(?:s\d+)*\b)(?P<what>.*)'
)
_ALTERS_STORE: Final = re.compile(
    rf"\s*(?:ALTER\s+TABLE|DROP\s+INDEX){_STORE}", re.IGNORECASE | re.DOTALL
)
_FOLLOWED: Final = re.compile(
    r'"?\s+(?:ADD\s|VALIDATE\s|ALTER\s+(?:COLUMN\s+)?\S+\s+(?:SET\s+NOT\s+NULL|TYPE\s))',
    re.IGNORECASE,
)
_T = TypeVar("_T")


def changed_table(statement: str) -> int:
    """The id of the table that a statement of the control plane alters in a way which its shadow
    does not follow, 0 for none.
    """
    match = _ALTERS_STORE.match(statement)
    if match is None or _FOLLOWED.match(match["what"]):
        return 0
    return int(match["table"] or match["of"])


class _Watched:
    """A transaction that remembers which store tables it changed."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.changed: set[int] = set()

    async def apply(self, statements: Sequence[str]) -> None:
        """See Transaction."""
        self.changed |= {changed_table(s) for s in statements} - {0}
        await self._tx.apply(statements)

    async def fetch(self, sql: str) -> list[Row]:
        """See Transaction."""
        return await self._tx.fetch(sql)


async def beside_changes(
    tx: Transaction, work: Callable[[Transaction], Awaitable[_T]], *, apart: int = 0
) -> _T:
    """Run DDL, and then rebase the changes whose tables it altered, but for the change `apart`.
    ObjectNotInPrerequisiteState (55000) when one of them keeps an old layout that must not be lost.
    """
    records = [
        r
        for r in await load_records(tx)
        if not r.over and r.phase is not Phase.ANALYZED and r.change_id != apart
    ]
    if not records:
        return await work(tx)
    watched = _Watched(tx)
    result = await work(watched)
    for record in records:
        tables = [t for t in record.tables if t.table_id in watched.changed]
        if tables:
            await _rebase(tx, record, tables[0].name)
    return result


async def _rebase(tx: Transaction, record: Record, name: str) -> None:
    if record.phase not in SHADOWED:
        raise ObjectNotInPrerequisiteState(
            f'change {record.change_id} keeps two layouts of table "{name}"',
            detail=f"It is {words(record.phase)}; this DDL changes what the store holds.",
            hint=f"CALL morph.contract({record.change_id}) gives up its rollback, "
            f"CALL morph.rollback({record.change_id}) and then morph.discard the change."
            if record.phase is Phase.PROMOTED
            else "Try again when it is over.",
        )
    reason = f'DDL changed table "{name}"'
    await move(tx, record, events.Rebase(reason), Note(reason=reason, wanted=record.wanted))


async def require_no_change(tx: Transaction, table: Table) -> None:
    """ObjectNotInPrerequisiteState (55000) while a change keeps two layouts of a foreign table:
    where it lies is the change's to say.
    """
    for record in await load_records(tx):
        if not record.over and any(
            t.table_id in (table.id, table.parent_id) for t in record.tables
        ):
            raise ObjectNotInPrerequisiteState(
                f'change {record.change_id} keeps two layouts of foreign table "{table.name}"',
                detail=f"It is {words(record.phase)}.",
                hint=f"CALL morph.contract({record.change_id}) or "
                f"morph.discard({record.change_id}) ends it.",
            )


async def _with_layouts(
    tx: Transaction, version: Version, tables: Sequence[ShadowTable]
) -> list[ShadowTable]:
    """Those whose stores keep more than one layout; others go on being converted on reading."""
    instances = await read_instances(tx)
    kinds = {t.id: instances[t.instance].kind for t in version.tables if t.instance in instances}
    return [t for t in tables if not is_foreign(t) or kinds.get(t.table_id) in LAYOUT_KINDS]


async def register(
    tx: Transaction, before: CatalogSnapshot, after: CatalogSnapshot, mode: str, *, pending: bool
) -> None:
    """Leave the data work of a new version to the controller, from COMMIT on. `pending`: the
    transaction had made this version already by an earlier statement.
    """
    number = after.head
    if mode not in SHADOW_MODES or (number == before.head and not pending):
        return
    tables = shadow_tables(after, number, every=mode == "shadow")
    if any(map(is_foreign, tables)):
        tables = await _with_layouts(tx, after.versions[number], tables)
    if len({is_foreign(table) for table in tables}) > 1:
        names = ", ".join(f'"{table.name}"' for table in tables)
        raise FeatureNotSupported(
            f"one change cannot convert tables of several stores: {names}",
            detail="Their layouts could not change at one moment.",
            hint="Change them in two transactions.",
        )
    statements = []
    if tables:
        parent = after.versions[number].parent
        statements = [register_statement(number, parent, tables), announce_statement(number)]
    elif pending:
        statements = [f"DELETE FROM morph_catalog.shadows WHERE change_id = {number}"]
    if statements:
        await tx.apply(statements)
