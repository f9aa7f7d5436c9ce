"""How a table of documents lies in the store: an inferred table becomes table models and DDL.

The key and every column whose type JSON has no form for are real columns `c<id>`; everything else
stays in `_doc` and is read from there (decision 0001). Pure: values in, models and SQL out.

Invariants: ids rise from `next_id` and are never reused; the columns of a table come in the order
in which inference found them, a generated key before all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from catalog.inference.infer import InferredChild, InferredColumn, InferredTable, KeyCandidate
from catalog.model import (
    Column,
    Constraint,
    DocPath,
    Element,
    Ordinality,
    ParentKey,
    Source,
    Stored,
    Table,
)
from catalog.naming import NAME_BYTES_MAX
from catalog.sqltext import STORE_SCHEMA, quote_ident

JSONB: Final = "jsonb"
PHYSICAL_MAX: Final = 45  # of fields: a whole document is put together by one call of a function

# Types that the readers of catalog/readers.py find inside of a document below the first level.
_NESTED: Final = frozenset(
    {
        "timestamp with time zone", "bytea", "uuid", "double precision", "numeric", "date",
        "timestamp without time zone", "time without time zone", "interval",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """A table with its child tables, and the next free id after them.

    `nullable` are the keys of physical columns for which a JSON null was seen: they keep it.
    """

    table: Table
    children: tuple[Table, ...]
    next_id: int
    nullable: frozenset[str] = frozenset()

    @property
    def tables(self) -> tuple[Table, ...]:
        """The parent first."""
        return (self.table, *self.children)


def lay_out(
    inferred: InferredTable, key: KeyCandidate, next_id: int, taken: Collection[str] = ()
) -> Layout:
    """The models of a new table; `taken` are names of relations and constraints beside it."""
    inferred = inferred.with_key(key)
    table_id, at = next_id, next_id + 1
    columns: list[Column] = []
    if not key.path:
        source = Stored(f"c{at}", key.pg_type)
        columns.append(Column(at, key.name, key.pg_type, source, not_null=True, identity="d"))
        at += 1
    for item in inferred.columns:
        columns.append(document_column(at, item, is_key=item.path == key.path))
        at += 1
    key_id = next(c.id for c in columns if c.name == key.name)
    table = Table(
        table_id,
        inferred.name,
        "table",
        tuple(columns),
        store=f"t{table_id}",
        has_doc=True,
        constraints=(_primary_key(table_id, inferred.name, key_id, key.name, taken),),
    )
    children = []
    for child in inferred.children:
        children.append(child_table(at, table, key_id, child))
        at = children[-1].columns[-1].id + 1
    nullable = frozenset(c.path[0] for c in inferred.columns if stays_physical(c) and c.nulls)
    return Layout(table, tuple(children), at, nullable)


def few_physical(inferred: InferredTable) -> tuple[InferredTable, dict[str, str]]:
    """The table with no more than PHYSICAL_MAX physical columns; the fields of the others, which
    are read from the document, with their types.
    """
    moved: dict[str, str] = {}
    columns = []
    keys = {key.path for key in inferred.keys}
    room = PHYSICAL_MAX
    for column in inferred.columns:
        if stays_physical(column) and column.path not in keys:
            room -= 1
            if room < 0:
                moved[column.path[0]] = nested_type(column)
                column = replace(column, pg_type=nested_type(column), physical=False)
        columns.append(column)
    return replace(inferred, columns=tuple(columns)), moved


def stays_physical(column: InferredColumn) -> bool:
    """True if the values get a column of their own: only a field of the document itself can."""
    return column.physical and len(column.path) == 1


def document_column(column_id: int, item: InferredColumn, *, is_key: bool = False) -> Column:
    """The column of a document's field."""
    if is_key or stays_physical(item):
        source: Source = Stored(f"c{column_id}", item.pg_type, item.path[0])
        return Column(column_id, item.name, item.pg_type, source, not_null=is_key)
    return Column(column_id, item.name, nested_type(item), DocPath(item.path, item.clean))


def nested_type(item: InferredColumn) -> str:
    """The type of a column that is read from the document.

    An array of instants, say, is jsonb below the first level: elements have no reader there.
    """
    if not item.physical or item.pg_type in _NESTED:
        return item.pg_type
    return JSONB


def child_table(table_id: int, parent: Table, key_id: int, child: InferredChild) -> Table:
    """The table of an array of documents, read from the parent's documents."""
    key = parent.column_by_id(key_id)
    assert key is not None
    columns = [
        Column(table_id + 1, child.parent_key, key.type, ParentKey(key_id), not_null=True),
        Column(table_id + 2, child.ordinality, "bigint", Ordinality(), not_null=True),
    ]
    columns += [
        Column(table_id + 3 + n, item.name, nested_type(item), Element(item.path, item.clean))
        for n, item in enumerate(child.columns)
    ]
    return Table(
        table_id,
        child.name,
        "child",
        tuple(columns),
        parent_id=parent.id,
        parent_path=child.path,
    )


def constraint_name(table: str, suffix: str, taken: Collection[str]) -> str:
    """`<table>_<suffix>` as PostgreSQL makes it: the table's part is cut, digits settle ties."""
    digits = 0
    while True:
        tail = f"_{suffix}{digits or ''}"
        head = table.encode()[: NAME_BYTES_MAX - len(tail.encode())].decode(errors="ignore")
        if (name := head + tail) not in taken:
            return name
        digits += 1


def store_name(table_id: int, name: str) -> str:
    """The name of an index or constraint in the store schema, where it must be unique."""
    return f"i{table_id}_{name}".encode()[:NAME_BYTES_MAX].decode(errors="ignore")


def _primary_key(
    table_id: int, table: str, key_id: int, key: str, taken: Collection[str]
) -> Constraint:
    name = constraint_name(table, "pkey", {*taken, table})
    definition = f"PRIMARY KEY ({quote_ident(key)})"
    return Constraint(name, "p", (key_id,), definition, store_name(table_id, name))


def store_table(table: Table) -> str:
    """The qualified name of the store's table."""
    return f"{STORE_SCHEMA}.{quote_ident(table.store)}"


def physical(table: Table) -> list[tuple[Column, Stored]]:
    """The columns that the store's table really has."""
    return [(c, c.source) for c in table.columns if isinstance(c.source, Stored)]


def create_statement(table: Table) -> str:
    """The store's table, without constraints (they come after the rows)."""
    columns = []
    for column, source in physical(table):
        identity = " GENERATED BY DEFAULT AS IDENTITY" if column.identity else ""
        null = " NOT NULL" if column.not_null else ""
        columns.append(f"{quote_ident(source.column)} {source.type}{identity}{null}")
    columns.append("_doc jsonb NOT NULL DEFAULT '{}'")
    return f"CREATE TABLE {store_table(table)} ({', '.join(columns)})"


def constraint_statements(table: Table) -> Iterable[str]:
    """The constraints of the store's table."""
    for constraint in table.constraints:
        columns = ", ".join(
            quote_ident(source.column)
            for column, source in physical(table)
            if column.id in constraint.columns
        )
        yield (
            f"ALTER TABLE {store_table(table)} ADD CONSTRAINT "
            f"{quote_ident(constraint.store_name)} PRIMARY KEY ({columns})"
        )
