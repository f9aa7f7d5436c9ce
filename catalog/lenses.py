"""Lenses as SQL: several layouts of the same rows in one store table (decision 0008; EVOLUTION 2).

A store table with lenses has, beside its columns, one residue column for every over column and

- `_r int[]`: ids of the over columns whose residue counts in this row; NULL for none,
- `_w int[]`: ids of the over columns that the statement assigned; NULL in a row at rest,
- `_l bigint`: the log position of the row's image, for layouts that are fed from a log.

A write through a version assigns the residue columns and `_w`; the triggers made here carry it
down to what the store keeps, and keep as residue only what `down` cannot give back. They are not
even called for rows that no lens has to do with. Pure: model in, SQL out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from catalog.model import Column, DocPath, Lens, Lensed, Native, Source, Stored, Table, Version
from catalog.readers import (
    MARKS,
    as_field,
    fill,
    read_over,
    read_under,
    residue,
    written_raw,
)
from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal, text_array

WROTE: Final = "_w"
POSITION: Final = "_l"
SYSTEM_COLUMNS: Final = (MARKS, WROTE, POSITION)
_TRIGGERS: Final = ("morph_lens_insert", "morph_lens_update")


def in_order(lenses: Iterable[Lens]) -> tuple[Lens, ...]:
    """The lenses, each after the ones it lies over; one of each id."""
    pending = {lens.id: lens for lens in lenses}
    ordered: list[Lens] = []
    placed: set[int] = set()
    while pending:
        ready = [
            lens
            for lens in pending.values()
            if all(source.lens not in pending for source in _below(lens))
        ]
        assert ready, "lenses lie over one another in a circle"
        ordered += ready
        placed |= {lens.id for lens in ready}
        pending = {key: lens for key, lens in pending.items() if key not in placed}
    return tuple(ordered)


def _below(lens: Lens) -> list[Lensed]:
    return [c.source for c in lens.under if isinstance(c.source, Lensed)]


def lenses_of(versions: Iterable[Version], table_id: int) -> tuple[Lens, ...]:
    """All lenses over a table, in order; every version has a lens in the same direction."""
    tables = (version.table_by_id(table_id) for version in versions)
    return in_order(lens for table in tables if table is not None for lens in table.lenses)


def needed(table: Table, lenses: Iterable[Lens]) -> Table:
    """The table with those of the lenses that its columns need."""
    known = {lens.id: lens for lens in lenses}
    wanted: dict[int, Lens] = {}
    pending = [c.source for c in table.columns if isinstance(c.source, Lensed)]
    while pending:
        lens = known[pending.pop().lens]
        if lens.id not in wanted:
            wanted[lens.id] = lens
            pending += _below(lens)
    return replace(table, lenses=in_order(wanted.values()))


def with_below(lenses: Sequence[Lens], ids: Collection[int]) -> tuple[Lens, ...]:
    """The lenses with these ids and those they lie over, in order."""
    known = {lens.id: lens for lens in lenses}
    wanted: dict[int, Lens] = {}
    pending = list(ids)
    while pending:
        lens = known[pending.pop()]
        wanted[lens.id] = lens
        pending += [source.lens for source in _below(lens)]
    return in_order(wanted.values())


# ---------------------------------------------------------------------------------- the flip


def _kept(column: Column) -> Stored | Native:
    """Where an under column goes when it becomes residue; in a foreign table where it lies in the
    layout that has it, which the flip leaves.
    """
    source = column.source
    if isinstance(source, Stored | Native):
        return source
    if isinstance(source, Lensed) and source.path:
        return Native(source.path, clean=False)
    return Stored(f"c{column.id}", column.type, field=_field(source))


def _field(source: Source) -> str:
    """The top-level key of the document that a column of the store's table holds."""
    if isinstance(source, DocPath):
        return source.path[0]
    return source.field if isinstance(source, Stored | Lensed) else ""


def _lensed(lens: Lens, column: Column) -> Lensed:
    """The source of an under column when it is shown by the mirror of the lens."""
    kept = _kept(column)
    path = kept.path if isinstance(kept, Native) else ()
    return Lensed(lens.id, field=_field(kept), path=path)


def mirror(lens: Lens) -> Lens:
    """The lens the other way round: what it showed is stored, what was stored is shown."""
    over = tuple(replace(c, source=_kept(c)) for c in lens.under)
    return Lens(lens.id, lens.over, over, lens.down, lens.up)


def swap(table: Table, promoted: Sequence[Lens]) -> Table:
    """The table of a version, of any version, after `promoted` changed roles; `promoted` are in
    order and have with them the lenses they lie over.
    """
    places: dict[int, Source] = {}
    for lens in promoted:
        for column in lens.over:
            places[column.id] = column.source
        for column in lens.under:
            places[column.id] = _lensed(lens, column)
    swapped = {lens.id for lens in promoted}
    lenses = [mirror(lens) for lens in promoted]
    lenses += [lens for lens in table.lenses if lens.id not in swapped]
    placed = [replace(lens, under=tuple(_moved(c, places) for c in lens.under)) for lens in lenses]
    columns = tuple(_moved(c, places) for c in table.columns)
    return needed(replace(table, columns=columns), placed)


def _moved(column: Column, places: dict[int, Source]) -> Column:
    source = places.get(column.id)
    if source is None:
        return column
    if isinstance(source, Stored | Lensed) and isinstance(column.source, Stored | Lensed):
        source = replace(source, plain=column.source.plain)
    return replace(column, source=_raw(source))


def _raw(source: Source) -> Source:
    return replace(source, raw=True) if isinstance(source, Stored) else source


def with_raw(table: Table, lenses: Iterable[Lens]) -> Table:
    """The table of any version when lenses are made over its columns: see Stored.raw."""
    ids = {c.id for lens in lenses for c in (*lens.under, *lens.over)}
    columns = tuple(replace(c, source=_raw(c.source)) if c.id in ids else c for c in table.columns)
    return table if columns == table.columns else replace(table, columns=columns)


def differ(left: str, right: str) -> str:
    """True when two values are not the very same: by image, because equality is not enough (1.5
    and 1.50), and some types have none.
    """
    return f"pg_catalog.record_image_ne(ROW({left}), ROW({right}))"


def shadow_columns(
    lenses: Sequence[Lens], promoted: Sequence[Lens], physical: Sequence[str], *, row: str = "t."
) -> list[tuple[str, str]]:
    """For each column of the store table the expression over a row of it that is the row's value
    after `promoted` changed roles. `lenses` are all of the table; `physical` are the names of its
    columns. No value is lost: what `down` cannot give back stays as residue.
    """
    over_ids = {c.id for lens in promoted for c in lens.over}
    under = {c.id: (lens, n) for lens in promoted for n, c in enumerate(lens.under)}
    values: dict[str, str] = {}
    marks = f"{row}{MARKS}"
    document = f"{row}_doc"
    for lens in promoted:
        for position, column in enumerate(lens.over):
            marks = f"pg_catalog.array_remove({marks}, {column.id})"
            if column.id not in under:
                values[residue(lens, position)] = read_over(lenses, lens, column.id, row=row)
    for lens, position in under.values():
        column = lens.under[position]
        now = read_under(lenses, lens, position, row=row)
        overs = [read_over(lenses, lens, c.id, row=row) for c in lens.over]
        lost = differ(fill(lens.down[position], overs), now)
        kept = _kept(column)
        assert isinstance(kept, Stored)
        values[kept.column] = f"CASE WHEN {lost} THEN {now} END"
        marks = f"{marks} || CASE WHEN {lost} THEN ARRAY[{column.id}] ELSE '{{}}'::int[] END"
        if isinstance(column.source, DocPath):
            document = f"({document} - {quote_literal(column.source.path[0])})"
    values[MARKS] = f"NULLIF({marks}, '{{}}'::int[])"
    values["_doc"] = document
    values[WROTE] = "NULL::int[]"
    assert over_ids, "nothing changes roles"
    return [(name, values.get(name, f"{row}{quote_ident(name)}")) for name in physical]


# ---------------------------------------------------------------------------------- the store


def lens_function(
    name: str,
    arguments: Sequence[str],
    result: str,
    expression: str,
    *,
    total: bool,
    settings: str = "",
) -> list[str]:
    """An expression of a lens as a function from the types `arguments` to `result`.

    `total`: NULL where the expression fails. A way back that a client wrote is such: what an older
    version cannot show must stop neither its readers nor the writers of the others. `settings` are
    SET clauses for an expression whose result depends on them.
    """
    quoted = f"morph_catalog.{quote_ident(name)}"
    value = fill(expression, [f"${n}" for n in range(1, len(arguments) + 1)])
    caught = " EXCEPTION WHEN data_exception THEN RETURN NULL;" if total else ""
    body = quote_literal(f"BEGIN RETURN {value};{caught} END")
    listed = ", ".join(arguments)
    return [
        f"CREATE FUNCTION {quoted}({listed}) RETURNS {result} LANGUAGE plpgsql IMMUTABLE "
        f"SET search_path = pg_catalog, pg_temp{settings} AS {body}",
        f"GRANT EXECUTE ON FUNCTION {quoted}({listed}) TO morph_client",
    ]


def lens_call(name: str, count: int = 1) -> str:
    """The call of a `lens_function` of so many arguments, as an expression of a lens."""
    arguments = ", ".join(f'"${n}"' for n in range(1, count + 1))
    return f"morph_catalog.{quote_ident(name)}({arguments})"


def layout_statements(store: str, lenses: Sequence[Lens]) -> list[str]:
    """Columns of the store's table that lenses need, those that are not there yet."""
    name = f"{STORE_SCHEMA}.{quote_ident(store)}"
    wanted = [f"{MARKS} int[]", f"{WROTE} int[]", f"{POSITION} bigint NOT NULL DEFAULT 0"]
    for lens in lenses:
        for n, column in enumerate(lens.over):
            wanted.append(f"{quote_ident(residue(lens, n))} {column.type}")
    clauses = ", ".join(f"ADD COLUMN IF NOT EXISTS {column}" for column in wanted)
    return [f"ALTER TABLE {name} {clauses}"]


def trigger_function(store: str) -> str:
    """The qualified name of the function that the triggers of a store table run."""
    return f"{STORE_SCHEMA}.{quote_ident(f'{store}_lenses')}"


def drop_trigger_statements(store: str) -> list[str]:
    """The opposite of `trigger_statements`."""
    name = f"{STORE_SCHEMA}.{quote_ident(store)}"
    drops = [f"DROP TRIGGER IF EXISTS {trigger} ON {name}" for trigger in _TRIGGERS]
    return [*drops, f"DROP FUNCTION IF EXISTS {trigger_function(store)}()"]


def has_raw(versions: Iterable[Version], table_id: int) -> bool:
    """True when a version writes columns of the table in the raw form, lenses or not."""
    tables = (version.table_by_id(table_id) for version in versions)
    return any(written_raw(c) for table in tables if table is not None for c in table.columns)


def trigger_statements(store: str, lenses: Sequence[Lens], *, raw: bool = False) -> list[str]:
    """Make the triggers of a store table for its lenses (in order), none without. `raw` (see
    `has_raw`): where the last lens has gone, they go on setting `_w` back.

    INSERT needs them only when such columns were assigned, UPDATE also for rows with residue.
    """
    statements = drop_trigger_statements(store)
    if not (lenses or raw):
        return statements
    name, function = f"{STORE_SCHEMA}.{quote_ident(store)}", trigger_function(store)
    body = quote_literal(_body(lenses)).strip()
    insert, update = _TRIGGERS
    return [
        *statements,
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql "
        f"SET search_path = pg_catalog, pg_temp AS {body}",
        f"CREATE TRIGGER {insert} BEFORE INSERT ON {name} FOR EACH ROW "
        f"WHEN (NEW.{WROTE} IS NOT NULL) EXECUTE FUNCTION {function}()",
        f"CREATE TRIGGER {update} BEFORE UPDATE ON {name} FOR EACH ROW "
        f"WHEN (NEW.{WROTE} IS NOT NULL OR OLD.{MARKS} IS NOT NULL) "
        f"EXECUTE FUNCTION {function}()",
    ]


def _body(lenses: Sequence[Lens]) -> str:
    """The function: first what was written goes down, top lens first; then residue of values that
    another layout replaced is cleared, bottom lens first. The second part evaluates no `up`, so a
    write that has nothing to do with a lens cannot fail by it.
    """
    declared: list[str] = []
    for lens in lenses:
        declared += [f"o{c.id} {c.type}; " for c in lens.over]
        declared += [f"u{lens.id}_{c.id} {c.type}; " for c in lens.under]
        declared += [f"x{c.id} boolean := false; " for c in lens.over]
    written = "".join(_written(lenses, lens) for lens in reversed(lenses))
    cleared = "".join(_cleared(lens) for lens in lenses)
    return (
        f"DECLARE w int[] := NEW.{WROTE}; c boolean; {''.join(declared)}\nBEGIN\n"
        f"IF w IS NOT NULL THEN\n{written}END IF;\n"
        f"IF TG_OP = 'UPDATE' THEN IF OLD.{MARKS} IS NOT NULL THEN\n"
        f"w := coalesce(w, '{{}}');\n{cleared}END IF; END IF;\n"
        f"NEW.{WROTE} := NULL;\nNEW.{MARKS} := nullif(NEW.{MARKS}, '{{}}');\nRETURN NEW;\nEND"
    )


def _ids(columns: Iterable[Column]) -> str:
    return "'{" + ",".join(str(c.id) for c in columns) + "}'::int[]"


def _written(lenses: Sequence[Lens], lens: Lens) -> str:
    lines = [f"IF w && {_ids(lens.over)} THEN"]
    for n, column in enumerate(lens.over):
        stored = f"NEW.{quote_ident(residue(lens, n))}"
        read = read_over(lenses, lens, column.id, row="NEW.")
        lines.append(
            f"IF {column.id} = ANY(w) THEN o{column.id} := {stored}; "
            f"ELSE o{column.id} := {read}; END IF;"
        )
        if column.not_null:
            lines.append(_not_null(column, residue(lens, n)))
    overs = [f"o{c.id}" for c in lens.over]
    unders = [f"u{lens.id}_{c.id}" for c in lens.under]
    lines += ["c := false;", *_as_it_was(lenses, lens, overs), "IF NOT c THEN"]
    for name, down in zip(unders, lens.down, strict=True):
        lines.append(f"{name} := {fill(down, overs)};")
    for n, column in enumerate(lens.over):
        lines += _keep_residue(lens, n, column, unders)
    for name, column in zip(unders, lens.under, strict=True):
        lines.append(_store_under(lenses, column, name))
    return "\n".join([*lines, "END IF;", "END IF;", ""])


def _as_it_was(lenses: Sequence[Lens], lens: Lens, overs: Sequence[str]) -> list[str]:
    """`c` becomes true for what was written and is what the row showed before: then nothing below
    changes, though `down` may have another form of the same value (GetPut). What could not be read
    before, because `up` has no value for it, is a change.
    """
    before = ", ".join(read_over(lenses, lens, c.id, row="OLD.") for c in lens.over)
    restored = [
        f"NEW.{stored} := OLD.{stored};"
        for stored in (quote_ident(residue(lens, n)) for n in range(len(lens.over)))
    ]
    for column in lens.under:
        if isinstance(column.source, DocPath):
            path = text_array(column.source.path)
            restored.append(
                f"NEW._doc := morph_catalog.put_path(NEW._doc, {path}, OLD._doc #> {path});"
            )
    return [
        "IF TG_OP = 'UPDATE' THEN",
        f"BEGIN c := NOT {differ(', '.join(overs), before)};",
        "EXCEPTION WHEN data_exception THEN c := false; END;",
        f"IF c THEN {' '.join(restored)} END IF;",
        "END IF;",
    ]


def _not_null(column: Column, stored: str) -> str:
    return (
        f"IF o{column.id} IS NULL THEN RAISE not_null_violation USING MESSAGE = format("
        f'\'null value in column "%s" of relation "%s" violates not-null constraint\', '
        f"{quote_literal(stored)}, TG_TABLE_NAME), COLUMN = {quote_literal(stored)}, "
        "TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA; END IF;"
    )


def _keep_residue(lens: Lens, position: int, column: Column, unders: Sequence[str]) -> list[str]:
    stored = f"NEW.{quote_ident(residue(lens, position))}"
    lost = differ(fill(lens.up[position], unders), f"o{column.id}")
    without = f"NEW.{MARKS} := array_remove(NEW.{MARKS}, {column.id});"
    return [
        without,
        f"BEGIN c := {lost}; EXCEPTION WHEN data_exception THEN c := true; END;",
        f"IF c THEN {stored} := o{column.id}; "
        f"NEW.{MARKS} := array_append(NEW.{MARKS}, {column.id}); "
        f"PERFORM morph_catalog.inexact({column.id}, {quote_literal(column.name)});",
        f"ELSE {stored} := NULL; END IF;",
    ]


def _store_under(lenses: Sequence[Lens], column: Column, value: str) -> str:
    source = column.source
    if isinstance(source, Stored):
        return f"NEW.{quote_ident(source.column)} := {value};"
    if isinstance(source, Lensed):
        below = next(lens for lens in lenses if lens.id == source.lens)
        stored = quote_ident(residue(below, below.over_column(column.id)))
        return f"NEW.{stored} := {value}; w := w || {column.id};"
    assert isinstance(source, DocPath)
    json = f"to_jsonb({as_field(value, column.type)})"
    return (
        f"NEW._doc := morph_catalog.put_path(NEW._doc, {text_array(source.path)}, "
        f"CASE WHEN {value} IS NOT NULL THEN {json} END);"
    )


def _cleared(lens: Lens) -> str:
    """`x<id>` tells whether an over column is another value now, judged by what is stored."""
    changed = " OR ".join(_under_changed(c) for c in lens.under)
    lines = [f"c := {changed};", f"IF c AND NOT w && {_ids(lens.over)} THEN"]
    for n, column in enumerate(lens.over):
        lines.append(
            f"NEW.{quote_ident(residue(lens, n))} := NULL; "
            f"NEW.{MARKS} := array_remove(NEW.{MARKS}, {column.id});"
        )
    lines.append("END IF;")
    for n, column in enumerate(lens.over):
        stored = quote_ident(residue(lens, n))
        lines.append(
            f"x{column.id} := c OR {differ(f'OLD.{stored}', f'NEW.{stored}')} OR "
            f"coalesce({column.id} = ANY(OLD.{MARKS}), false) <> "
            f"coalesce({column.id} = ANY(NEW.{MARKS}), false);"
        )
    return "\n".join([*lines, ""])


def _under_changed(column: Column) -> str:
    source = column.source
    if isinstance(source, Stored):
        stored = quote_ident(source.column)
        return f"({differ(f'OLD.{stored}', f'NEW.{stored}')})"
    if isinstance(source, Lensed):
        return f"x{column.id}"
    assert isinstance(source, DocPath)
    path = text_array(source.path)
    return f"({differ(f'OLD._doc #> {path}', f'NEW._doc #> {path}')})"
