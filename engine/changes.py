"""Writes to a foreign table: the client's statement runs over a staged copy, the difference goes
to the store (pure).

The copy is a temporary table with the table's own name, columns, defaults and constraints, so
PostgreSQL checks and words everything as for a table of its own. A column in front numbers the rows
as they were staged: afterwards a number that is missing is a deleted row, a row without number is
an inserted one, and of the others those were changed whose assigned columns have another value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from backends.base import RowChanges
from catalog.model import Column, Seed, Table, Version
from catalog.sqltext import quote_ident
from core.encoding.family import to_text_carrier
from core.errors import FeatureNotSupported
from core.types import PgType, type_by_name
from engine.federate import FederatedPlan
from engine.partitions import Place, partition_column, places_of
from engine.scan_copy import ScanColumns
from engine.virtual_columns import stored_columns, value_of
from rewrite.analysis import Analysis, StatementPlan
from rewrite.edits import render, replace_text
from rewrite.tree import Node, Tokens, ast

ROW_NUMBER = "_morph_row"


@dataclass(frozen=True, slots=True)
class Target:
    """The foreign table that a statement changes. `assigned` are the ids of the columns that it
    sets in rows that exist; `keeps_rows` is False for a plain INSERT, which reads none. `places`
    are where its rows lie: itself, or the partitions of a partitioned table.
    """

    table: Table
    assigned: tuple[int, ...]
    deletes: bool
    keeps_rows: bool
    places: tuple[Place, ...]

    def at(self, place: Place) -> Target:
        """What the statement does to one of the places; a row can leave a partition by UPDATE."""
        if not self.table.partitioned:
            return self
        leaves = self.deletes or bool(self.assigned)
        return replace(self, table=place.table, deletes=leaves, places=(place,))


def insert_target(table: Table, version: Version) -> Target:
    """A table that only gets rows."""
    places = _places(table, version)
    return Target(table, (), deletes=False, keeps_rows=False, places=places)


def _places(table: Table, version: Version) -> tuple[Place, ...]:
    places = places_of(table, version) if table.partitioned else (Place(table),)
    for place in places:
        _check(place.table)
    return places


def copy_from_text(analysis: Analysis | None, statement: StatementPlan, copy: str) -> str:
    """The client's COPY FROM with the copy in the table's place."""
    assert analysis is not None
    node, tokens = statement.node, Tokens(analysis.text)
    chain = tokens.name_chain(node.relation.location)
    names = "" if node.attlist else _column_list(statement.relations[0].resolved.table)
    edit = replace_text(chain[0].start, chain[-1].end, copy + names)
    padded = " " * statement.start + analysis.text[statement.start : statement.end]
    return render(padded, [edit]).text[statement.start :]


def _column_list(table: Table) -> str:
    return f" ({', '.join(quote_ident(c.name) for c in stored_columns(table))})"


def target_of(plan: FederatedPlan) -> Target:
    """What the statement does to its target; FeatureNotSupported for what no store can take."""
    assert plan.target is not None
    scan, ref = plan.scans[plan.target], plan.refs[plan.target]
    table, owner = scan.placed.table, ref.owner
    places = _places(table, ref.resolved.version)
    assigned = _assigned(owner, table)
    by = partition_column(table.definition) if table.partitioned else None
    for column in table.columns:
        key = any(column.id in place.table.key for place in places)
        if column.id in assigned and key and column.name != by:
            raise FeatureNotSupported(
                f'key column "{column.name}" of foreign table "{table.name}" cannot be changed',
                hint="Delete the row and insert another one.",
            )
    insert = isinstance(owner, ast.InsertStmt)
    return Target(
        table,
        assigned,
        deletes=isinstance(owner, ast.DeleteStmt | ast.MergeStmt),
        keeps_rows=not insert or owner.onConflictClause is not None,
        places=places,
    )


def _check(table: Table) -> None:
    if table.parent_path:
        raise FeatureNotSupported(
            f'table "{table.name}" shows the elements of an array and cannot be written',
            hint="Write the array of the parent's row.",
        )
    if not table.key:
        raise FeatureNotSupported(
            f'foreign table "{table.name}" has no key and cannot be written',
            hint="Name its key: CREATE FOREIGN TABLE … OPTIONS (key 'id').",
        )


def _assigned(owner: Node, table: Table) -> tuple[int, ...]:
    if isinstance(owner, ast.InsertStmt):
        clause = owner.onConflictClause
        items = list(clause.targetList or ()) if clause is not None else []
    elif isinstance(owner, ast.MergeStmt):
        items = [
            item
            for clause in owner.mergeWhenClauses
            if clause.commandType.name == "CMD_UPDATE"
            for item in clause.targetList or ()
        ]
    else:
        items = list(getattr(owner, "targetList", None) or ())
    names = {name for item in items for name in _names(item)}
    return tuple(column.id for column in stored_columns(table) if column.name in names)


def _names(item: Node) -> Iterable[str]:
    """The column that an assignment means: `a`, or "a.b" for a.b where there is one."""
    yield item.name
    parts = [part.sval for part in item.indirection or () if isinstance(part, ast.String)]
    for end in range(1, len(parts) + 1):
        yield ".".join([item.name, *parts[:end]])


# The staged copy


def create_texts(
    name: str, target: Target, names: Sequence[str], *, constraints: bool = True
) -> list[str]:
    """The temporary table; its name is the foreign table's, for PostgreSQL's messages. A copy of a
    partitioned table is partitioned the same way, so that PostgreSQL says where a row belongs;
    `names` are those of the partitions.
    """
    table = target.table
    parts = [_definition(table, column) for column in table.columns]
    if constraints:
        parts += _constraints(table)
    parts.append(f"{ROW_NUMBER} pg_catalog.int8")
    text = f"CREATE TEMPORARY TABLE {quote_ident(name)} ({', '.join(parts)})"
    if not table.partitioned or not constraints:
        return [f"{text} ON COMMIT DROP"]
    texts = [f"{text} PARTITION BY {table.definition} ON COMMIT DROP"]
    for own, place in zip(names, target.places, strict=True):
        keyed = foreign_key_text(place.table)
        texts.append(
            f"CREATE TEMPORARY TABLE {quote_ident(own)} PARTITION OF pg_temp.{quote_ident(name)} "
            f"(CONSTRAINT {quote_ident(f'{place.name}_pkey')} {keyed}) {place.bound} "
            "ON COMMIT DROP"
        )
    return texts


def foreign_key_text(table: Table) -> str:
    """The key of the store's rows as a constraint."""
    names = [quote_ident(c.name) for each in table.key if (c := table.column_by_id(each))]
    return f"PRIMARY KEY ({', '.join(names)})"


def _constraints(table: Table) -> list[str]:
    return [
        f"CONSTRAINT {quote_ident(c.name)} {c.definition}"
        for c in table.constraints
        if c.kind != "f"
    ]


def _definition(table: Table, column: Column) -> str:
    text = f"{quote_ident(column.name)} {column.type}"
    if isinstance(column.source, Seed):
        # Not VIRTUAL: that refuses user-defined functions (PostgreSQL 18), as generators are.
        return f"{text} GENERATED ALWAYS AS ({value_of(table, column)}) STORED"
    if column.default is not None:
        text += f" DEFAULT {column.default}"
    return text + (" NOT NULL" if column.not_null else "")


def load_columns(table: Table) -> ScanColumns:
    """What is loaded into the copy, and read back from it: the store's columns, and the number."""
    columns = stored_columns(table)
    names = (*(column.name for column in columns), ROW_NUMBER)
    return ScanColumns("", names, (*(column.type for column in columns), "bigint"))


def numbered(batches: Iterable[pa.RecordBatch], first: int) -> Iterator[pa.RecordBatch]:
    """Batches with the number of each row behind, from `first` on."""
    for batch in batches:
        numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
        first += batch.num_rows
        arrays = [*batch.columns, numbers]
        yield pa.RecordBatch.from_arrays(arrays, [f"n{n}" for n in range(len(arrays))])


def read_back_text(relation: str, table: Table, first: int, rows: int) -> ScanColumns:
    """The query for the copy's rows after the statement: those that were staged with the numbers
    from `first` on in their order, then all that came from elsewhere.
    """
    columns = load_columns(table)
    listed = ", ".join(map(quote_ident, columns.names))
    own = f"{ROW_NUMBER} BETWEEN {first} AND {first + rows - 1}"
    native = f"SELECT {listed} FROM {relation} ORDER BY ({own}) IS NOT TRUE, {ROW_NUMBER}"
    return ScanColumns(native, columns.names, columns.types)


# The difference


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of rows; `arrived` counts rows among the inserted that were others' before: of
    another partition, or under another key.
    """

    changes: RowChanges
    arrived: int = 0


def difference(
    target: Target, before: Sequence[pa.RecordBatch], after: Sequence[pa.RecordBatch], first: int
) -> Difference:
    """What became of the rows; `before` as they were staged under the numbers from `first` on,
    `after` with the numbers behind. A row with another number has come from elsewhere.
    """
    table = target.table
    ids = [column.id for column in stored_columns(table)]
    names = [f"c{each}" for each in ids]
    fields = [type_by_name(each) for each in load_columns(table).types]
    old = _table(before, names, fields)
    new = _table(after, [*names, ROW_NUMBER], fields)
    if old is None and new is None:
        return Difference(RowChanges())
    inserted = kept = None
    arrived = 0
    if new is not None:
        count = old.num_rows if old is not None else 0
        numbers = pc.subtract(new[ROW_NUMBER], first)
        new = new.set_column(len(names), ROW_NUMBER, numbers)
        own = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, count))
        own = pc.fill_null(own, False)
        if old is not None and set(target.assigned) & set(table.key):
            own = pc.and_(own, _same_key(target, old, new, own))
        fresh = new.filter(pc.invert(own))
        arrived = fresh.num_rows - fresh[ROW_NUMBER].null_count
        inserted = _batch(fresh.select(names))
        kept = new.filter(own)
    if old is None:
        return Difference(RowChanges(inserted=inserted), arrived)
    updated = was = None
    if kept is not None and target.assigned:
        updated, was = _updates(target, old, kept)
    deleted = _deletions(old, kept) if target.deletes else None
    changes = RowChanges(inserted=inserted, updated=updated, before=was, deleted=deleted)
    return Difference(changes, arrived)


def _same_key(target: Target, old: pa.Table, new: pa.Table, own: pa.ChunkedArray) -> pa.Array:
    """Row by row, whether one of the table's own still has its key."""
    was = old.take(pc.if_else(own, new[ROW_NUMBER], pa.scalar(0, pa.int64())))
    same = pa.array([True] * new.num_rows, pa.bool_())
    for column in stored_columns(target.table):
        if column.id in target.table.key:
            name = f"c{column.id}"
            same = pc.and_(
                same, pc.invert(_differ(was[name], new[name], type_by_name(column.type)))
            )
    return same


def _table(
    batches: Sequence[pa.RecordBatch], names: list[str], fields: Sequence[PgType]
) -> pa.Table | None:
    """One table; a column whose batches have several carriers is carried as text."""
    batches = [batch for batch in batches if batch.num_rows]
    if not batches:
        return None
    columns = []
    for n in range(len(names)):
        parts = [batch.column(n) for batch in batches]
        if len({str(part.type) for part in parts}) > 1:
            parts = [to_text_carrier(part, fields[n]) for part in parts]
        columns.append(pa.chunked_array(parts))
    return pa.table(columns, names)


def _batch(rows: pa.Table) -> pa.RecordBatch | None:
    if not rows.num_rows:
        return None
    return rows.combine_chunks().to_batches()[0]


def _updates(
    target: Target, old: pa.Table, kept: pa.Table
) -> tuple[pa.RecordBatch | None, pa.RecordBatch | None]:
    """The rows whose assigned columns changed: keys and new values, and what was read of them."""
    was = old.take(kept[ROW_NUMBER])
    assigned = [f"c{each}" for each in target.assigned]
    changed = pa.array([False] * kept.num_rows, pa.bool_())
    for column in stored_columns(target.table):
        name = f"c{column.id}"
        if name in assigned:
            differ = _differ(was[name], kept[name], type_by_name(column.type))
            changed = pc.or_(changed, differ)
    names = list(dict.fromkeys([*(f"c{each}" for each in target.table.key), *assigned]))
    return _batch(kept.filter(changed).select(names)), _batch(was.filter(changed).select(names))


def _differ(old: pa.ChunkedArray, new: pa.ChunkedArray, field: PgType) -> pa.ChunkedArray:
    """Row by row; what Arrow cannot compare counts as changed, which costs a write at most."""
    if old.type != new.type:
        old, new = _as_text(old, field), _as_text(new, field)
    try:
        unequal = pc.not_equal(old, new)
    except pa.ArrowNotImplementedError:
        return pa.chunked_array([pa.array([True] * len(old), pa.bool_())])
    null = pc.not_equal(pc.is_null(old), pc.is_null(new))
    return pc.or_(pc.fill_null(unequal, False), null)


def _as_text(column: pa.ChunkedArray, field: PgType) -> pa.ChunkedArray:
    return pa.chunked_array([to_text_carrier(part, field) for part in column.chunks], pa.string())


def _deletions(old: pa.Table, kept: pa.Table | None) -> pa.RecordBatch | None:
    numbers = pa.array(range(old.num_rows), pa.int64())
    if kept is None:
        return _batch(old)
    gone = pc.invert(pc.is_in(numbers, value_set=kept[ROW_NUMBER].combine_chunks()))
    return _batch(old.filter(gone))


# INSERT … ON CONFLICT: what is proposed must be known before the rows that it may meet are read


def conflict_texts(plan: FederatedPlan, relations: Sequence[str], proposed: str) -> tuple[str, str]:
    """(the INSERT into `proposed` without ON CONFLICT and RETURNING, the INSERT of the proposed
    rows with both); `relations` name the staged copy as the target.
    """
    assert plan.target is not None
    ref = plan.refs[plan.target]
    table = plan.scans[plan.target].placed.table
    columns = ", ".join(quote_ident(c.name) for c in stored_columns(table))
    at = ref.owner.onConflictClause.location
    first = list(relations)
    first[plan.target] = proposed
    propose, _ = plan.split_text(first, at)
    _, rest = plan.split_text(relations, at)
    target = f"{relations[plan.target]} AS {quote_ident(ref.alias)}"
    return propose, f"INSERT INTO {target} ({columns}) SELECT {columns} FROM {proposed} {rest}"


def conflict_columns(plan: FederatedPlan, target: Target) -> tuple[int, ...]:
    """The ids of the columns by which rows are looked for that a proposed row may meet: the first
    of a unique constraint's is enough, as more rows than needed do no harm.
    """
    assert plan.target is not None
    table = plan.scans[plan.target].placed.table
    unique = [c.columns for c in table.constraints if c.kind in ("p", "u")]
    keys = unique or [place.table.key for place in target.places]
    return tuple(dict.fromkeys(columns[0] for columns in keys))
