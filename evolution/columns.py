"""Reads a changed scratch table back into the model: which column became what.

Attribute numbers tell columns apart through renames and type changes; a number that is new is a new
column, one that is missing was dropped. Column ids are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from catalog.model import Column, DocPath, Seed, Stored, Table
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import FeatureNotSupported
from evolution.introspect import ScratchColumn, ScratchTable
from evolution.seeds.expressions import column_uses, parse_expression, splice
from rewrite.edits import replace_text

_INTEGERS = ("smallint", "integer", "bigint")
_SHADOW_HINT = (
    "Changes that need data work are tried in a shadow table; this build does not have them yet."
)


@dataclass(slots=True)
class Reading:
    """The new columns and what the store has to do for them."""

    columns: list[Column] = field(default_factory=list)
    store: list[str] = field(default_factory=list)
    widened: dict[int, str] = field(default_factory=dict)  # column id → new type in the store
    next_id: int = 0
    kinds: list[str] = field(default_factory=list)


def store_table(table: Table) -> str:
    """The qualified physical table."""
    return f"{STORE_SCHEMA}.{quote_ident(table.store)}"


def read_columns(
    table: Table,
    before: ScratchTable,
    after: ScratchTable,
    seeds: dict[str, str],
    next_id: int,
) -> Reading:
    """Compare; `seeds` are the client's expressions of new virtual columns by column name."""
    reading = Reading(next_id=next_id)
    old_by_number = dict(zip((c.number for c in before.columns), table.columns, strict=True))
    rewritten = before.filenode != after.filenode
    for column in after.columns:
        old = old_by_number.pop(column.number, None)
        if old is None:
            reading.columns.append(_new_column(table, column, seeds, reading))
        else:
            reading.columns.append(_kept_column(table, old, column, reading, rewritten))
    if old_by_number:
        reading.kinds.append("drop column")
        _check_dropped(reading.columns, list(old_by_number.values()))
    _rename_in_seeds(table, reading)
    return reading


def _check_dropped(columns: list[Column], dropped: list[Column]) -> None:
    gone = {c.id: c.name for c in dropped}
    for column in columns:
        if isinstance(column.source, Seed):
            for needed in column.source.depends:
                if needed in gone:
                    raise FeatureNotSupported(
                        f'cannot drop column "{gone[needed]}" because virtual column '
                        f'"{column.name}" depends on it',
                        hint=f'Drop "{column.name}" first.',
                    )


def _rename_in_seeds(table: Table, reading: Reading) -> None:
    renamed = {
        old.name: new.name
        for old in table.columns
        for new in reading.columns
        if old.id == new.id and old.name != new.name
    }
    if not renamed:
        return
    reading.kinds.append("rename column")
    for position, column in enumerate(reading.columns):
        if isinstance(column.source, Seed):
            expression = rename_columns(column.source.expression, renamed)
            source = replace(column.source, expression=expression)
            reading.columns[position] = replace(column, source=source)


def rename_columns(expression: str, renamed: dict[str, str]) -> str:
    """A seed's expression with columns renamed, everything else as it was written."""
    parsed = parse_expression(expression)
    edits = [
        replace_text(use.start, use.end, quote_ident(renamed[use.names[-1]]))
        for use in column_uses(parsed)
        if use.names[-1] in renamed
    ]
    text = splice(parsed, edits).strip()
    return text[1:-1].strip() if text.startswith("(") and text.endswith(")") else text


def _new_column(
    table: Table, column: ScratchColumn, seeds: dict[str, str], reading: Reading
) -> Column:
    column_id = reading.next_id
    reading.next_id += 1
    if column.generated:
        reading.kinds.append("add virtual column")
        return Column(
            column_id, column.name, column.type, Seed(seeds[column.name]), comment=column.comment
        )
    if table.kind != "table":
        raise FeatureNotSupported(f'cannot add a stored column to "{table.name}"')
    reading.kinds.append("add column")
    name = f"c{column_id}"
    reading.store.append(f"ALTER TABLE {store_table(table)} ADD COLUMN {definition(name, column)}")
    return Column(
        column_id,
        column.name,
        column.type,
        Stored(name, column.type),
        not_null=column.not_null,
        default=column.default,
        comment=column.comment,
        identity=column.identity,  # type: ignore[arg-type]
    )


def definition(name: str, column: ScratchColumn) -> str:
    """The column's definition for the store."""
    text = f"{quote_ident(name)} {column.type}"
    if column.identity:
        how = "ALWAYS" if column.identity == "a" else "BY DEFAULT"
        text += f" GENERATED {how} AS IDENTITY"
    elif column.default is not None:
        text += f" DEFAULT {column.default}"
    return text + (" NOT NULL" if column.not_null else "")


def _kept_column(
    table: Table, old: Column, column: ScratchColumn, reading: Reading, rewritten: bool
) -> Column:
    source = old.source
    if column.type != old.type:
        reading.kinds.append("change type")
        source = _change_type(table, old, column.type, reading, rewritten)
    default = column.default if not isinstance(old.source, Seed) else None
    if default != old.default and not isinstance(old.source, Seed):
        reading.kinds.append("set default" if default is not None else "drop default")
    if column.not_null != old.not_null:
        _change_null(table, old, column.not_null, reading)
    return replace(
        old,
        name=column.name,
        type=column.type,
        source=source,
        default=default,
        not_null=column.not_null,
        comment=column.comment,
    )


def _change_null(table: Table, old: Column, not_null: bool, reading: Reading) -> None:
    if not isinstance(old.source, Stored):
        raise FeatureNotSupported(
            f'cannot change NOT NULL of column "{old.name}": it lies in the document',
            hint=_SHADOW_HINT,
        )
    reading.kinds.append("set not null" if not_null else "drop not null")
    verb = "SET" if not_null else "DROP"
    reading.store.append(
        f"ALTER TABLE {store_table(table)} ALTER COLUMN {quote_ident(old.source.column)} "
        f"{verb} NOT NULL"
    )


def _wider_integer(old_type: str, new_type: str) -> bool:
    """Reads cast up exactly, writes cast down with 22003 when the store's type cannot hold it."""
    if old_type not in _INTEGERS or new_type not in _INTEGERS:
        return False
    return _INTEGERS.index(new_type) > _INTEGERS.index(old_type)


def _change_type(
    table: Table, old: Column, new_type: str, reading: Reading, rewritten: bool
) -> Stored | DocPath | Seed:
    source = old.source
    if isinstance(source, Stored):
        if not rewritten:
            reading.widened[old.id] = new_type
            reading.store.append(
                f"ALTER TABLE {store_table(table)} ALTER COLUMN "
                f"{quote_ident(source.column)} TYPE {new_type}"
            )
            return replace(source, type=new_type)
        if _wider_integer(old.type, new_type):
            return source
    if isinstance(source, DocPath) and (old.type, new_type) == ("bigint", "numeric"):
        return source
    if isinstance(source, Seed):
        return source
    raise FeatureNotSupported(
        f'changing column "{old.name}" from {old.type} to {new_type} needs data work',
        hint=_SHADOW_HINT,
    )
