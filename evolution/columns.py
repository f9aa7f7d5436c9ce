"""Reads a changed scratch table back into the model: which column became what.

Attribute numbers tell columns apart through renames and type changes; a number that is new is a new
column, one that is missing was dropped. Column ids are never reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backends.base import Description
from catalog.lenses import needed
from catalog.model import Column, DocPath, Lens, Lensed, Native, Seed, Source, Stored, Table
from catalog.readers import fill
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import FeatureNotSupported, MorphError
from evolution.foreign_columns import foreign_column, free_path
from evolution.introspect import ScratchColumn, ScratchTable
from evolution.operators.calls import Reshape
from evolution.operators.casts import base_type
from evolution.operators.change_type import Recipe, make_lens, plain_cast
from evolution.request import Note
from evolution.seeds.expressions import column_uses, parse_expression, splice
from rewrite.edits import replace_text

_INTEGERS = ("smallint", "integer", "bigint")
_DOCUMENT_WIDENINGS = frozenset(
    {
        ("smallint", "integer"),
        ("smallint", "bigint"),
        ("smallint", "numeric"),
        ("integer", "bigint"),
        ("integer", "numeric"),
        ("bigint", "numeric"),
    }
)
_SAME_BYTES = (
    {"timestamp without time zone", "timestamp with time zone"},
    {"cidr", "inet"},
)
"""Types that PostgreSQL may change without a rewrite, though their values are not the same."""
_DOCUMENT_HINT = (
    "ALTER COLUMN … TYPE … USING coalesce(column, value), with SET NOT NULL in the same statement, "
    "makes a column of its own of it."
)
_LENS_HINT = "Say it in the statement that changes the type: TYPE … USING coalesce(column, value)."
_DEFAULT_HINT = (
    "Give it a DEFAULT, which rows written through older versions get, or use "
    "SET morph.ddl_mode = direct."
)


@dataclass(slots=True)
class Reading:
    """What a statement changed, and what the store has to do for it."""

    next_id: int
    direct: bool = False
    several: bool = False  # there are older versions to think of
    store: list[str] = field(default_factory=list)
    widened: dict[int, str] = field(default_factory=dict)  # column id → new type in the store
    guarded: set[int] = field(default_factory=set)  # document columns with a wider type now
    kinds: list[str] = field(default_factory=list)
    notices: list[MorphError] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)  # renamed or dropped columns
    nullable: dict[int, bool] = field(default_factory=dict)  # column id → NOT NULL given or taken
    hidden: dict[int, bool] = field(default_factory=dict)  # the same, in the store alone
    stored: frozenset[str] = frozenset()  # new generated columns that are STORED
    seen: Description | None = None  # what the store says of a foreign table
    recipes: Mapping[int, Recipe] = field(default_factory=dict)  # of columns that are converted
    reshaping: Reshape | None = None  # columns that are shown in another form
    lenses: dict[int, list[Lens]] = field(default_factory=dict)  # table id → new ones
    loosened: set[int] = field(default_factory=set)  # over columns that are not NOT NULL any more
    converted: dict[int, dict[int, int]] = field(default_factory=dict)  # table id → old id → new id

    def new_id(self) -> int:
        """The next id of a column or constraint; ids are never used again."""
        self.next_id += 1
        return self.next_id - 1


def store_table(table: Table) -> str:
    """The qualified physical table."""
    return f"{STORE_SCHEMA}.{quote_ident(table.store)}"


def read_columns(
    table: Table,
    before: ScratchTable,
    after: ScratchTable,
    expressions: dict[str, str],
    reading: Reading,
) -> list[Column]:
    """The columns now; `expressions` are the client's of new virtual columns by column name."""
    old_by_number = {
        found.number: (column, found)
        for found, column in zip(before.columns, table.columns, strict=True)
    }
    rewritten = before.filenode != after.filenode
    columns: list[Column] = []
    reshaped: list[ScratchColumn] = []
    for found in after.columns:
        old, was = old_by_number.pop(found.number, (None, found))
        if old is None and reading.reshaping and found.name in reading.reshaping.names:
            reshaped.append(found)
        elif old is None:
            columns.append(_new_column(table, found, expressions, reading))
        else:
            columns.append(_kept_column(table, old, was, found, reading, rewritten))
    if reading.reshaping is not None and reshaped:
        columns += _reshape(table, reading.reshaping, reshaped, reading)
    gone = reading.reshaping.unders if reading.reshaping is not None else ()
    for column, _ in old_by_number.values():
        if column not in gone:
            _drop_column(table, column, reading)
    return _rename_in_seeds(table, columns, reading)


def _reshape(
    table: Table, asked: Reshape, found: list[ScratchColumn], reading: Reading
) -> list[Column]:
    """The columns that stand for others, read through one lens or at another path."""
    reading.kinds.append(asked.kind)
    reading.touched |= {c.id for c in asked.unders}
    shown = [stored_column(reading.new_id(), column) for column in found]
    if table.kind == "foreign":
        shown = [replace(c, source=Native(free_path(table, c.name, c.id))) for c in shown]
    columns, lens, statements = asked.carry_out(table, shown, reading.new_id)
    reading.store += statements
    if lens is not None:
        reading.lenses.setdefault(table.id, []).append(lens)
    return columns


def _drop_column(table: Table, column: Column, reading: Reading) -> None:
    """The store keeps the column; rows written without it get its default, else NULL."""
    reading.kinds.append("drop column")
    reading.touched.add(column.id)
    if isinstance(column.source, Lensed):
        _leave_to_store(table, column, column.source, reading)
        return
    if not isinstance(column.source, Stored) or column.identity:
        return
    target = f"ALTER TABLE {store_table(table)} ALTER COLUMN {quote_ident(column.source.column)}"
    if column.default is not None and not column.source.converts(column.type):
        reading.store.append(f"{target} SET DEFAULT {column.default}")
    elif column.not_null and column.default is None:
        key = table.primary_key
        if key is not None and column.id in key.columns:
            raise FeatureNotSupported(
                f'cannot drop column "{column.name}" of table "{table.name}": '
                "it is part of the primary key",
                hint="Rows need their key in every version.",
            )
        reading.hidden[column.id] = False
        reading.store.append(f"{target} DROP NOT NULL")
        reading.notices.append(
            Note(
                f'rows written without column "{column.name}" have NULL in it in older versions',
                hint="Set a default before you drop it, if they should have one.",
            )
        )


def _leave_to_store(table: Table, column: Column, source: Lensed, reading: Reading) -> None:
    """Rows that are written without a lensed column: what the store has gets its default's way
    back, where that is one column of the store.
    """
    default, lens = column.default, table.lens(source.lens)
    while len(lens.over) == len(lens.under) == 1:
        under = lens.under[0]
        default = fill(lens.down[0], (f"({default})",)) if default is not None else None
        if isinstance(under.source, Stored):
            target = f"ALTER TABLE {store_table(table)} ALTER COLUMN "
            target += quote_ident(under.source.column)
            if default is not None:
                reading.store.append(f"{target} SET DEFAULT {default}")
            else:
                if under.not_null:
                    reading.hidden[under.id] = False
                reading.store.append(f"{target} DROP NOT NULL")
            return
        if not isinstance(under.source, Lensed):
            return
        lens = table.lens(under.source.lens)


def _rename_in_seeds(table: Table, columns: list[Column], reading: Reading) -> list[Column]:
    renamed = {
        old.name: new.name
        for old in table.columns
        for new in columns
        if old.id == new.id and old.name != new.name
    }
    if not renamed:
        return columns
    reading.kinds.append("rename column")
    reading.touched |= {c.id for c in table.columns if c.name in renamed}
    result = []
    for column in columns:
        if isinstance(column.source, Seed):
            expression = rename_columns(column.source.expression, renamed)
            column = replace(column, source=replace(column.source, expression=expression))
        result.append(column)
    return result


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
    table: Table, column: ScratchColumn, expressions: dict[str, str], reading: Reading
) -> Column:
    column_id = reading.new_id()
    if column.generated:
        kept = column.name in reading.stored
        reading.kinds.append("add generated column" if kept else "add virtual column")
        seed = Seed(expressions[column.name], column=f"c{column_id}" if kept else "")
        return Column(column_id, column.name, column.type, seed, comment=column.comment)
    if table.kind == "foreign":
        reading.kinds.append("add column")
        return foreign_column(table, column_id, column, reading.seen)
    if table.kind != "table":
        raise FeatureNotSupported(
            f'cannot add a stored column to "{table.name}"',
            hint="GENERATED ALWAYS AS (…) VIRTUAL adds a virtual one.",
        )
    needs_value = column.not_null and column.default is None and not column.identity
    if needs_value and reading.several and not reading.direct:
        raise FeatureNotSupported(
            f'column "{column.name}" is NOT NULL without a default: '
            "older versions could not insert any more",
            hint=_DEFAULT_HINT,
        )
    reading.kinds.append("add column")
    name = f"c{column_id}"
    if needs_value:
        reading.hidden[column_id] = True
    reading.store.append(f"ALTER TABLE {store_table(table)} ADD COLUMN {definition(name, column)}")
    return stored_column(column_id, column)


def stored_column(column_id: int, column: ScratchColumn) -> Column:
    """The model's column for a physical column c<id>."""
    return Column(
        column_id,
        column.name,
        column.type,
        Stored(f"c{column_id}", column.type),
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
        text += f" GENERATED {how} AS IDENTITY{column.sequence}"
    elif column.default is not None:
        text += f" DEFAULT {column.default}"
    return text + (" NOT NULL" if column.not_null else "")


def _kept_column(
    table: Table,
    old: Column,
    was: ScratchColumn,
    column: ScratchColumn,
    reading: Reading,
    rewritten: bool,
) -> Column:
    if isinstance(old.source, Seed):
        return _kept_seed(old, was, column, reading)
    changed = replace(old, name=column.name, comment=column.comment)
    if old.id in reading.recipes:
        return _converted(table, old, was, column, reading)
    if column.type != was.type:
        reading.kinds.append("change type")
        source = _change_type(table, old, column.type, reading, rewritten)
        changed = replace(changed, type=column.type, source=source)
    if column.identity != was.identity:
        raise FeatureNotSupported(
            f'the identity of column "{old.name}" belongs to the store and cannot be changed',
            hint="SET DEFAULT gives a version a default of its own.",
        )
    if column.default != was.default:
        reading.kinds.append("set default" if column.default is not None else "drop default")
        if not isinstance(old.source, Stored | Lensed | Native) and column.default is not None:
            raise FeatureNotSupported(
                f'column "{old.name}" cannot have a default: it lies in the document',
                hint=_DOCUMENT_HINT,
            )
        changed = replace(changed, default=column.default)
    if column.not_null != was.not_null:
        _change_null(table, old, column.not_null, reading)
        changed = replace(changed, not_null=column.not_null)
    return changed


def _kept_seed(old: Column, was: ScratchColumn, column: ScratchColumn, reading: Reading) -> Column:
    if (column.default, column.not_null, column.identity) != (
        was.default,
        was.not_null,
        was.identity,
    ):
        raise FeatureNotSupported(
            f'virtual column "{old.name}" takes no default and no NOT NULL',
            hint="Drop it and add it again with another expression.",
        )
    if column.type != was.type:
        reading.kinds.append("change type")
    return replace(old, name=column.name, type=column.type, comment=column.comment)


def _converted(
    table: Table, old: Column, was: ScratchColumn, column: ScratchColumn, reading: Reading
) -> Column:
    """The column with its values in another form: a new id, because the old one stays what it is
    for the versions that show the old form.
    """
    reading.kinds.append("change type")
    if column.not_null != was.not_null:
        reading.kinds.append("set not null" if column.not_null else "drop not null")
        if not column.not_null:
            _loosen_source(table, old, reading)
        elif not reading.recipes[old.id].fills:
            _change_null(table, old, True, reading)
            reading.kinds.pop()
    number = reading.new_id()
    made = Column(
        number, column.name, column.type, old.source,
        not_null=column.not_null, default=column.default, comment=column.comment,
    )  # fmt: skip
    recipe = reading.recipes[old.id]
    shown, lens, statements = make_lens(table, old, made, recipe, reading.new_id())
    reading.store += statements
    if recipe.forgets:
        reading.notices.append(
            Note(
                f'rows written from now on have NULL in column "{column.name}" in older versions',
                hint="SET morph.back gives them a value.",
            )
        )
    reading.lenses.setdefault(table.id, []).append(lens)
    reading.converted.setdefault(table.id, {})[old.id] = number
    return shown


def with_lenses(table: Table, reading: Reading) -> Table:
    """The table with the lenses that its columns need, new ones and old ones."""
    lenses = (*table.lenses, *reading.lenses.get(table.id, ()))
    lenses = tuple(loosened(lens, reading.loosened) for lens in lenses)
    return needed(table, lenses) if lenses else table


def loosened(lens: Lens, ids: set[int]) -> Lens:
    """The lens after DROP NOT NULL of these over columns."""
    over = tuple(replace(c, not_null=c.not_null and c.id not in ids) for c in lens.over)
    return replace(lens, over=over)


def _loosen_source(table: Table, column: Column, reading: Reading) -> None:
    """What the store keeps of the column may be NULL from now on, down to its own column."""
    source = column.source
    if isinstance(source, Stored):
        if column.not_null:
            reading.nullable[column.id] = False
            reading.store.append(
                f"ALTER TABLE {store_table(table)} ALTER COLUMN {quote_ident(source.column)} "
                "DROP NOT NULL"
            )
    elif isinstance(source, Lensed):
        lens = table.lens(source.lens)
        reading.loosened.add(column.id)
        for under in lens.under:
            _loosen_source(table, under, reading)


def _change_null(table: Table, old: Column, not_null: bool, reading: Reading) -> None:
    reading.kinds.append("set not null" if not_null else "drop not null")
    if isinstance(old.source, Lensed):
        if not_null:
            raise FeatureNotSupported(
                f'column "{old.name}" shows values that the store keeps in another form: '
                "NOT NULL cannot be set alone",
                hint=_LENS_HINT,
            )
        _loosen_source(table, old, reading)
        return
    if isinstance(old.source, Native):
        return  # declared of what this version writes: the rows belong to others, too
    if not isinstance(old.source, Stored):
        raise FeatureNotSupported(
            f'cannot change NOT NULL of column "{old.name}": it lies in the document',
            hint=_DOCUMENT_HINT,
        )
    reading.nullable[old.id] = not_null
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


def needs_data_work(
    column: Column, was: ScratchColumn, now: ScratchColumn, using: str | None, rewritten: bool
) -> bool:
    """True when a type change converts values: it is no wider form of what the store has, or
    USING is more than the plain cast that some tools always write. `using` is None where the
    statement does not change the type.
    """
    if isinstance(column.source, Seed) or using is None:
        return False
    if not plain_cast(using, column.name):
        return True
    if now.type == was.type:
        return False
    if {base_type(column.type), base_type(now.type)} in _SAME_BYTES:
        return True
    source = column.source
    if isinstance(source, Stored):
        widened = not rewritten and source.type == column.type
        return not (widened or source.type == now.type or _wider_integer(source.type, now.type))
    return not (isinstance(source, DocPath) and (column.type, now.type) in _DOCUMENT_WIDENINGS)


def _change_type(
    table: Table, old: Column, new_type: str, reading: Reading, rewritten: bool
) -> Source:
    """The source under a wider type (see `needs_data_work`)."""
    source = old.source
    if isinstance(source, Stored):
        if not rewritten and source.type == old.type:
            reading.widened[old.id] = new_type
            reading.store.append(
                f"ALTER TABLE {store_table(table)} ALTER COLUMN "
                f"{quote_ident(source.column)} TYPE {new_type}"
            )
            return replace(source, type=new_type)
        return source
    assert isinstance(source, DocPath), source
    # Older versions show NULL for what only the new type can hold.
    reading.guarded.add(old.id)
    return source
