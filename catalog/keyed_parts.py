"""A table that shows some columns of the rows of another one, by the same key (EVOLUTION 2,
decompose): writes as SQL.

A row of it is there when one of its columns is not NULL. UPDATE is PostgreSQL's own, through the
version view; its key cannot be assigned, as it is the other table's. INSERT and DELETE are UPDATEs
of the store's row, which triggers of the view make: with the errors of a primary key and of a
foreign key to the other table. Pure: model in, SQL out.
"""

from __future__ import annotations

from collections.abc import Iterable

from catalog.model import Column, Stored, Table, Version
from catalog.readers import part_condition
from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal, whole_schema

_ROW = "r"


def _keyed(table: Table) -> bool:
    return table.part is not None and table.part.keyed


def shared_key(table: Table) -> frozenset[int]:
    """Ids of the key that such a table has with the other one; none of other tables."""
    key = table.primary_key if _keyed(table) else None
    return frozenset(key.columns) if key is not None else frozenset()


def _columns(table: Table, *, key: bool) -> list[tuple[Column, str]]:
    """Columns and their names in the store: those of the key, or the others."""
    shared = shared_key(table)
    return [
        (c, c.source.column)
        for c in table.columns
        if isinstance(c.source, Stored) and (c.id in shared) == key
    ]


def _all_rows(version: Version, table: Table) -> str:
    """The view through which the triggers write: all rows of the other table."""
    return f"{quote_ident(whole_schema(version.number))}.{quote_ident(f'~{table.id}')}"


def _function(version: Version, table: Table, event: str) -> str:
    name = f"p{table.id}_v{version.number}_{event}"
    return f"{STORE_SCHEMA}.{quote_ident(name)}()"


def keyed_statements(version: Version, table: Table) -> Iterable[str]:
    """What the version view needs for INSERT and DELETE."""
    if not _keyed(table):
        return
    assert table.part is not None
    stored = [name for key in (True, False) for _, name in _columns(table, key=key)]
    names = ", ".join(f"t.{quote_ident(n)}" for n in dict.fromkeys([*stored, *table.part.columns]))
    view = _all_rows(version, table)
    yield f"DROP VIEW IF EXISTS {view}"
    yield f"CREATE VIEW {view} AS SELECT {names} FROM {STORE_SCHEMA}.{quote_ident(table.store)} t"
    yield f"GRANT SELECT, UPDATE ON {view} TO morph_client"
    for event, body in (("insert", _insert(version, table)), ("delete", _delete(version, table))):
        yield (
            f"CREATE OR REPLACE FUNCTION {_function(version, table, event)} RETURNS trigger "
            f"LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS {quote_literal(body)}"
        )


def keyed_triggers(version: Version, table: Table, view: str) -> Iterable[str]:
    """The triggers of one of its version views."""
    if not _keyed(table):
        return
    for event in ("insert", "delete"):
        yield (
            f"CREATE TRIGGER morph_{event} INSTEAD OF {event.upper()} ON {view} FOR EACH ROW "
            f"EXECUTE FUNCTION {_function(version, table, event)}"
        )


def _same_key(table: Table, values: str) -> str:
    return " AND ".join(
        f"{_ROW}.{quote_ident(name)} = {values}.{quote_ident(c.name)}"
        for c, name in _columns(table, key=True)
    )


def _insert(version: Version, table: Table) -> str:
    """The row of the other table gets the columns, if it has none of them yet."""
    view, there = _all_rows(version, table), part_condition(table, row=f"{_ROW}.")
    sets = ", ".join(
        f"{quote_ident(name)} = NEW.{quote_ident(c.name)}" for c, name in _columns(table, key=False)
    )
    missing = "".join(_not_null(table, c) for c, _ in _columns(table, key=True))
    outer = next((c for c in table.constraints if c.kind == "f" and not c.store_name), None)
    other = version.table_by_id(table.rows_of)
    primary = table.primary_key
    unique = primary.name if primary is not None else ""
    foreign = outer.name if outer is not None else ""
    duplicate = f'duplicate key value violates unique constraint "{unique}"'
    orphan = f'insert or update on table "{table.name}" violates foreign key constraint "{foreign}"'
    absent = _key_text(
        table, f' is not present in table "{other.name if other is not None else ""}".'
    )
    outside = f'new row violates check option for view "{table.name}"'
    return f"""
BEGIN
{missing}UPDATE {view} {_ROW} SET {sets} WHERE {_same_key(table, "NEW")} AND NOT ({there});
IF FOUND THEN
  IF NOT EXISTS (SELECT FROM {view} {_ROW} WHERE {_same_key(table, "NEW")} AND ({there})) THEN
    RAISE with_check_option_violation USING MESSAGE = {_text(outside)};
  END IF;
  RETURN NEW;
END IF;
IF EXISTS (SELECT FROM {view} {_ROW} WHERE {_same_key(table, "NEW")}) THEN
  RAISE unique_violation USING MESSAGE = {_text(duplicate)},
    DETAIL = {_key_text(table, " already exists.")},
    CONSTRAINT = {_text(unique)}, TABLE = {_text(table.name)}, SCHEMA = 'public';
END IF;
RAISE foreign_key_violation USING MESSAGE = {_text(orphan)},
  DETAIL = {absent},
  CONSTRAINT = {_text(foreign)}, TABLE = {_text(table.name)}, SCHEMA = 'public';
END"""


def _not_null(table: Table, column: Column) -> str:
    message = (
        f'null value in column "{column.name}" of relation "{table.name}" violates not-null '
        "constraint"
    )
    return (
        f"IF NEW.{quote_ident(column.name)} IS NULL THEN RAISE not_null_violation USING "
        f"MESSAGE = {_text(message)}, COLUMN = {_text(column.name)}, "
        f"TABLE = {_text(table.name)}, SCHEMA = 'public'; END IF;\n"
    )


def _delete(version: Version, table: Table) -> str:
    """The row of the other table loses the columns. A row that somebody else changed since this
    statement read it cannot be looked at again, as DELETE of a table does it: 40001.
    """
    assert table.part is not None
    view, there = _all_rows(version, table), part_condition(table, row=f"{_ROW}.")
    stored = [name for _, name in _columns(table, key=False)]
    sets = ", ".join(
        f"{quote_ident(n)} = NULL" for n in dict.fromkeys([*stored, *table.part.columns])
    )
    unchanged = " AND ".join(
        f"NOT record_image_ne(ROW({_ROW}.{quote_ident(name)}), ROW(OLD.{quote_ident(c.name)}))"
        for c, name in _columns(table, key=False)
    )
    return f"""
BEGIN
UPDATE {view} {_ROW} SET {sets} WHERE {_same_key(table, "OLD")} AND ({there}) AND {unchanged};
IF FOUND THEN RETURN OLD; END IF;
IF EXISTS (SELECT FROM {view} {_ROW} WHERE {_same_key(table, "OLD")} AND ({there})) THEN
  RAISE serialization_failure USING
    MESSAGE = 'could not serialize access due to concurrent update';
END IF;
RETURN NULL;
END"""


def _text(value: str) -> str:
    return quote_literal(value).strip()


def _key_text(table: Table, tail: str) -> str:
    """`Key (id)=(1)` and what is with it, as an expression over NEW."""
    key = _columns(table, key=True)
    names = ", ".join(c.name for c, _ in key)
    values = ", ".join(f"NEW.{quote_ident(c.name)}" for c, _ in key)
    head, end = _text(f"Key ({names})=("), _text(f"){tail}")
    return f"concat({head}, concat_ws(', ', {values}), {end})"
