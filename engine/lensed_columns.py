"""Columns of a foreign table that a version shows in another form than its store has them (pure;
decision 0008).

Other people's rows get no residue, so a lens is computed where the statement runs: the store is
asked for the *under* columns, which have names of their own in what is staged, and PostgreSQL
computes what is shown of them. A write goes down the same way. A value that does not come back the
same is refused before anything is written; a column that was given what its row shows already
leaves the store as it is (GetPut).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from catalog.lenses import differ
from catalog.model import Column, Lens, Lensed, Native, Seed, Table
from catalog.readers import as_field, fill
from catalog.sqltext import quote_ident, text_array
from core.errors import ValueNotKept

_NAME = "_morph_c"
OTHER_FORM = "has another form in the store"
PROMOTE_HINT = "Promote this version, or roll back to it; then its form is the one that is stored."


def not_kept(table: Table, column: Column, value: str | None, back: str | None) -> ValueNotKept:
    """The error for a value of a lensed column that would come back as another one."""
    unders = [u for u in under_columns(table) if u.id in unders_of(table, column)]
    forms = ", ".join(sorted({u.type for u in unders}))
    shown = "null" if back is None else back
    return ValueNotKept(
        f'the store cannot keep the value of column "{column.name}"',
        detail=f'Foreign table "{table.name}" has it as {forms} in its store: '
        f"{'null' if value is None else value} would come back as {shown}.",
        hint=PROMOTE_HINT,
    )


# ------------------------------------------------------------------ what the store has


def is_under(column: Column) -> bool:
    """Whether it is a column of the store that is not shown itself."""
    return column.name == f"{_NAME}{column.id}"


def is_whole_row(column: Column) -> bool:
    """Whether it shows all of a row, a document."""
    return isinstance(column.source, Native) and not column.source.path


def under_columns(table: Table) -> tuple[Column, ...]:
    """The store's columns below the lenses of a table, under their staged names."""
    found: dict[int, Column] = {}
    for lens in table.lenses:
        for column in lens.under:
            if isinstance(column.source, Native):
                name = f"{_NAME}{column.id}"
                found[column.id] = replace(column, name=name, not_null=False, default=None)
    return tuple(found.values())


def with_unders(table: Table) -> Table:
    """The table with the columns that its lenses read behind its own: what its store is asked by.
    A table without lenses is itself.
    """
    known = {column.id for column in table.columns}
    more = tuple(column for column in under_columns(table) if column.id not in known)
    return replace(table, columns=(*table.columns, *more)) if more else table


def as_stored(table: Table, column: Column) -> bool:
    """Whether the store of a foreign table has the column as it is shown."""
    source = column.source
    if isinstance(source, Native):
        return bool(source.path) or not table.lenses
    return not isinstance(source, Seed | Lensed)


def unders_of(table: Table, column: Column) -> frozenset[int]:
    """The ids of the store's columns that a lensed column is computed of."""
    source = column.source
    if not isinstance(source, Lensed):
        return frozenset((column.id,))
    return frozenset().union(*(unders_of(table, c) for c in table.lens(source.lens).under))


def lensed_columns(table: Table) -> tuple[Column, ...]:
    """The columns that are shown in another form."""
    return tuple(column for column in table.columns if isinstance(column.source, Lensed))


def shown_names(table: Table, column: Column) -> list[str]:
    """The names under which a version shows a column of the store."""
    if not is_under(column):
        return [column.name]
    return [c.name for c in lensed_columns(table) if column.id in unders_of(table, c)]


# ------------------------------------------------------------------ as SQL over staged names


def up_text(table: Table, column: Column) -> str:
    """What is shown of the store's columns; `column` may be one between two lenses."""
    source = column.source
    if not isinstance(source, Lensed):
        return quote_ident(f"{_NAME}{column.id}")
    lens = table.lens(source.lens)
    position = lens.over_column(column.id)
    value = fill(lens.up[position], [up_text(table, under) for under in lens.under])
    sql_type = lens.over[position].type
    # The type's length is said, because some expressions lose it.
    return f"({value})::{sql_type}" if "(" in sql_type else value


def document_text(table: Table, column: Column) -> str:
    """A column of whole rows with the shown forms in it instead of the stored ones."""
    text = quote_ident(column.name)
    for under in under_columns(table):
        assert isinstance(under.source, Native)
        if under.source.path:
            text = f"morph_catalog.put_path({text}, {text_array(under.source.path)}, NULL)"
    for shown in lensed_columns(table):
        assert isinstance(shown.source, Lensed)
        value = f"pg_catalog.to_jsonb({as_field(up_text(table, shown), shown.type)})"
        path = text_array(shown.source.path)
        text = f"morph_catalog.put_path({text}, {path}, {value})"
    return text


def down_texts(table: Table, *, fresh: bool) -> dict[int, str]:
    """The store's columns, by id, of what a row shows. An over column that the version does not
    show keeps its value, and has none in a `fresh` row.
    """
    values = {column.id: quote_ident(column.name) for column in table.columns}
    for lens in reversed(table.lenses):
        overs = [values.get(c.id) or _unshown(table, lens, c, fresh=fresh) for c in lens.over]
        for under, down in zip(lens.under, lens.down, strict=True):
            values[under.id] = f"({fill(down, overs)})::{under.type}"
    return {column.id: values[column.id] for column in under_columns(table)}


def _unshown(table: Table, lens: Lens, column: Column, *, fresh: bool) -> str:
    if fresh:
        return f"NULL::{column.type}"
    return up_text(table, replace(column, source=Lensed(lens.id)))


def changed_text(table: Table, under: Column) -> str:
    """Whether a staged row shows another value now of what the store has in `under`."""
    shown = [c for c in lensed_columns(table) if under.id in unders_of(table, c)]
    now = ", ".join(quote_ident(column.name) for column in shown)
    return differ(now, ", ".join(up_text(table, column) for column in shown))


@dataclass(frozen=True, slots=True)
class Put:
    """Which rows of a copy go down. `fresh` is SQL that is true for new ones. `shown` are the ids
    of the lensed columns that are there; all that share a column of the store are, or none. Of rows
    for which `unread` is true there was nothing to show before: they have changed where `touched`.
    """

    fresh: str
    shown: frozenset[int]
    unread: str = ""
    touched: str = ""

    def columns(self, table: Table) -> list[Column]:
        """The store's columns below what is there."""
        below = (unders_of(table, c) for c in lensed_columns(table) if c.id in self.shown)
        ids = frozenset[int]().union(*below)
        return [column for column in under_columns(table) if column.id in ids]

    def changed(self, table: Table, under: Column) -> str:
        """Whether a row that was there has another value."""
        text = changed_text(table, under)
        if not self.unread:
            return text
        return f"CASE WHEN {self.unread} THEN {self.touched} ELSE {text} END"


def put_texts(table: Table, put: Put) -> dict[int, str]:
    """The store's columns, by id, after a statement."""
    new, kept = down_texts(table, fresh=True), down_texts(table, fresh=False)
    texts = {}
    for under in put.columns(table):
        name = quote_ident(under.name)
        texts[under.id] = (
            f"CASE WHEN {put.fresh} THEN {new[under.id]} WHEN {put.changed(table, under)} "
            f"THEN {kept[under.id]} ELSE {name} END"
        )
    return texts


def lost_text(table: Table, relation: str, put: Put) -> str:
    """The query for a row whose store could not give back what it shows: the number of the column
    among `lensed_columns`, the value, and what would come back; no row when there is none.
    """
    puts = put_texts(table, put)
    unders = put.columns(table)
    parts = []
    for number, column in enumerate(lensed_columns(table)):
        if column.id not in put.shown:
            continue
        own = [under for under in unders if under.id in unders_of(table, column)]
        items = [f"{puts[u.id]} AS {quote_ident(u.name)}" for u in own]
        changed = " OR ".join(f"({put.changed(table, under)})" for under in own)
        name, back = quote_ident(column.name), up_text(table, column)
        parts.append(
            f"SELECT {number}, ({name})::pg_catalog.text, ({back})::pg_catalog.text FROM "
            f"(SELECT {', '.join([name, *items])} FROM {relation} "
            f"WHERE {put.fresh} OR {changed}) AS _m WHERE {differ(name, back)}"
        )
    return f"{' UNION ALL '.join(parts)} LIMIT 1"


def alone(table: Table, column: Column) -> bool:
    """Whether one column of the store is what the column shows, and it shows nothing else."""
    source = column.source
    while isinstance(source, Lensed):
        lens = table.lens(source.lens)
        if not len(lens.under) == len(lens.over) == 1:
            return False
        source = lens.under[0].source
    return True


def unread_function(name: str, row: str, table: Table, columns: Iterable[Column]) -> str:
    """The definition of a function of a row of the relation `row`, as it is in the store: true when
    one of the columns cannot be shown.
    """
    listed = ", ".join(up_text(table, column) for column in columns)
    return (
        f"CREATE FUNCTION {name}(r {row}) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $morph$ "
        f"BEGIN PERFORM {listed} FROM (SELECT r.*) AS _m; RETURN false; "
        "EXCEPTION WHEN data_exception THEN RETURN true; END $morph$"
    )
