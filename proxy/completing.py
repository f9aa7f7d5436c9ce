"""RETURNING of what stores fill in: sequences, defaults, generated columns, what triggers do.

The statement has run over the staged copy and its changes are written, in a transaction of the
store that is still open. Where a store gave rows back that are not as they were sent, the statement
answers once more, over the copy as it was, and each row that it writes becomes the store's own. An
INSERT takes the completed rows for its source; elsewhere a trigger of the copy puts them in. So the
source of an INSERT runs once, but functions in an UPDATE or MERGE that are volatile run twice.
"""

from __future__ import annotations

from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from backends.base import WriteResult
from catalog.sqltext import quote_ident, quote_literal
from core.encoding.family import to_text_carrier
from core.types import PgType, type_by_name
from engine.changes import ROW_NUMBER, Difference, Target, create_texts, load_columns
from proxy.piles import Limits
from proxy.row_spool import Spool
from proxy.session_store import SessionStore
from proxy.staged_copy import StagedCopy, load_rows
from proxy.temporary_tables import temporary

_numbers = count(1)


class Completion:
    """The rows of one statement as the stores have them now; `differs` when one is not as sent."""

    def __init__(self, target: Target, limits: Limits, memory_max: int) -> None:
        self.differs = False
        self._target = target
        self._fields = [type_by_name(each) for each in load_columns(target.table).types]
        self._spool = Spool(limits, memory_max)
        self._inserted = 0

    def take(self, found: Difference, result: WriteResult | None) -> None:
        """What was sent to a store, and what it said."""
        changes, after = found.changes, found.after
        if after is None:
            return
        if changes.inserted is not None and after.inserted is not None:
            sent = changes.inserted
            first = self._inserted + 1
            self._inserted += sent.num_rows
            given = pa.array(range(-first, -first - sent.num_rows, -1), pa.int64())
            numbers = pc.if_else(pc.is_null(after.inserted), given, after.inserted)
            self._add(sent, result.inserted if result is not None else None, numbers)
        if after.updated is not None and after.numbers is not None:
            back = result.updated if result is not None else None
            self._add(after.updated, back, after.numbers)

    def _add(self, sent: pa.RecordBatch, back: pa.RecordBatch | None, numbers: pa.Array) -> None:
        if back is not None and not self.differs:
            self.differs = not _same(sent, back, self._fields)
        rows = sent if back is None else back
        arrays = [*rows.columns, numbers]
        named = [f"n{n}" for n in range(len(arrays))]
        self._spool.add(pa.RecordBatch.from_arrays(arrays, named))

    async def load(self, store: SessionStore) -> str:
        """The rows with their numbers as a temporary table, as statements call it."""
        name = f"_morph_completed{next(_numbers)}"
        for text in create_texts(name, self._target, (), constraints=False):
            await store.fetch(text)
        await load_rows(store, self._target, temporary(name), self._spool.batches())
        return temporary(name)

    def close(self) -> None:
        """Give up the rows."""
        self._spool.close()


def _same(sent: pa.RecordBatch, back: pa.RecordBatch, fields: list[PgType]) -> bool:
    if sent.num_rows != back.num_rows:
        return False
    columns = zip(sent.columns, back.columns, fields, strict=False)  # the last one is the number's
    return all(_text(one, field).equals(_text(other, field)) for one, other, field in columns)


def _text(column: pa.Array, field: PgType) -> pa.Array:
    return to_text_carrier(column, field).cast(pa.string())


class Completing:
    """A trigger on the copy, through which every row that is written becomes the completed one.

    A staged row is known by its number. A new one has the number that it was proposed with, or else
    they are counted: the statement makes them in the same order again.
    """

    def __init__(self, copy: StagedCopy, completed: str) -> None:
        self._copy = copy
        self._completed = completed
        self._name = f"_morph_complete{next(_numbers)}"

    async def create(self) -> None:
        """Makes it."""
        store, function = self._copy.store, temporary(self._name)
        counter = f"{quote_literal(function)}::pg_catalog.regclass"
        await store.fetch(f"CREATE TEMPORARY SEQUENCE {quote_ident(self._name)}")
        await store.fetch(
            f"CREATE FUNCTION {function}() RETURNS pg_catalog.trigger LANGUAGE plpgsql AS "
            f"$morph$ DECLARE c {self._completed}%ROWTYPE; n pg_catalog.int8; BEGIN "
            f"IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN n := OLD.{ROW_NUMBER}; "
            f"ELSE n := COALESCE(NEW.{ROW_NUMBER}, OPERATOR(pg_catalog.-) "
            f"pg_catalog.nextval({counter})); END IF; "
            f"SELECT m.* INTO c FROM {self._completed} AS m "
            f"WHERE m.{ROW_NUMBER} OPERATOR(pg_catalog.=) n; "
            "IF FOUND THEN NEW := c; END IF; RETURN NEW; END $morph$"
        )
        await store.fetch(
            f"CREATE TRIGGER {quote_ident(self._name)} BEFORE INSERT OR UPDATE ON "
            f"{self._copy.relation} FOR EACH ROW EXECUTE FUNCTION {function}()"
        )

    async def drop(self) -> None:
        """Takes it away; the end of a transaction would leave the function."""
        store = self._copy.store
        await store.fetch(f"DROP FUNCTION {temporary(self._name)}() CASCADE")
        await store.fetch(f"DROP SEQUENCE {temporary(self._name)}")
