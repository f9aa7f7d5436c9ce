"""What a change of columns does to the store and to the versions that exist already.

Versions over a column that took a wider type read it as before. A conversion adds residue columns
and triggers to the store and nothing to other versions; with `morph.ddl_mode = direct` the values
are converted at once, in the same transaction: the column changes roles with its residue, and the
older versions read through the lens from the other side (decision 0008).
"""

from __future__ import annotations

from dataclasses import replace

from catalog import shapes
from catalog.lenses import (
    drop_trigger_statements,
    has_raw,
    layout_statements,
    lenses_of,
    mirror,
    shadow_columns,
    swap,
    trigger_statements,
    with_below,
    with_raw,
)
from catalog.model import Column, DocPath, Lens, Source, Stored, Table, Version
from catalog.readers import MARKS, residue
from catalog.sqltext import STORE_SCHEMA, quote_ident
from evolution.columns import Reading, loosened
from evolution.indexes import store_statement
from evolution.operators.moved_constraints import moved
from evolution.publish import rebuild_view_statements
from evolution.request import DdlRequest


def change_others(
    request: DdlRequest, versions: dict[int, Version], version: Version, reading: Reading
) -> tuple[Version, list[str]]:
    """The new version, and the statements for the store and for the views of other versions, which
    are changed in `versions`.
    """
    changed: dict[int, Version] = {}
    for number, seen in versions.items():
        tables = tuple(
            with_raw(_adjusted(table, reading), reading.lenses.get(table.id, ()))
            for table in seen.tables
        )
        if tables != seen.tables and number != request.pending:
            changed[number] = replace(seen, tables=tables)
    before = request.snapshot.versions
    now = {**before, **changed, version.number: version}
    store: list[str] = []
    if request.direct:
        for table_id in reading.lenses:
            now, work = _convert(now, version.number, table_id, reading.lenses[table_id])
            store += work
        changed = {n: v for n, v in now.items() if n not in (version.number, request.pending)}
        changed = {n: v for n, v in changed.items() if v is not before[n]}
    store += _triggers(before, now)
    versions.update(changed)
    snapshot = replace(request.snapshot, versions=versions)
    dropped = [s for v in changed.values() for s in shapes.drop_view_statements(v)]
    made = [s for v in changed.values() for s in rebuild_view_statements(snapshot, v)]
    made = [s for s in made if not s.startswith("DROP SCHEMA")]
    return now[version.number], [*dropped, *reading.store, *store, *made]


def _adjusted(table: Table, reading: Reading) -> Table:
    """The table of another version over columns that are wider in the store now, or may be NULL."""
    columns = tuple(replace(c, source=_wider(c, reading)) for c in table.columns)
    lenses = tuple(
        loosened(
            replace(lens, under=tuple(_under(c, reading) for c in lens.under)), reading.loosened
        )
        for lens in table.lenses
    )
    fresh = replace(table, columns=columns, lenses=lenses)
    return table if fresh == table else fresh


def _wider(column: Column, reading: Reading) -> Source:
    source = column.source
    if column.id in reading.widened and isinstance(source, Stored):
        return replace(source, type=reading.widened[column.id], plain=True)
    if column.id in reading.guarded and isinstance(source, DocPath):
        return replace(source, clean=False)
    return source


def _under(column: Column, reading: Reading) -> Column:
    source = _wider(column, reading)
    if isinstance(source, Stored) and column.id in reading.widened:
        return replace(column, type=source.type, source=replace(source, plain=False))
    return replace(column, source=source)


def _triggers(before: dict[int, Version], now: dict[int, Version]) -> list[str]:
    """Residue columns and triggers of the tables whose lenses are others now."""
    statements: list[str] = []
    stores = {t.id: t.store for v in now.values() for t in v.tables if t.store}
    for table_id, store in stores.items():
        lenses = lenses_of(now.values(), table_id)
        if lenses != lenses_of(before.values(), table_id):
            statements += layout_statements(store, lenses) if lenses else []
            raw = has_raw(now.values(), table_id)
            statements += trigger_statements(store, lenses, raw=raw)
    return statements


def _convert(
    versions: dict[int, Version], number: int, table_id: int, made: list[Lens]
) -> tuple[dict[int, Version], list[str]]:
    """All versions after the lenses, and those below them, changed roles in place; the statements
    convert every row, and leave the triggers to be made.
    """
    lenses = lenses_of(versions.values(), table_id)
    promoted = with_below(lenses, [lens.id for lens in made])
    table = versions[number].table_by_id(table_id)
    assert table is not None
    statements = layout_statements(table.store, [*lenses, *map(mirror, promoted)])
    swapped = {
        n: v.with_table(swap(shown, promoted)) if (shown := v.table_by_id(table_id)) else v
        for n, v in versions.items()
    }
    swapped = {n: versions[n] if v == versions[n] else v for n, v in swapped.items()}
    stored = swapped[number].table_by_id(table_id)
    assert stored is not None
    drops, adds = moved(swapped[number], stored, {c.id for lens in promoted for c in lens.over})
    statements += [*drop_trigger_statements(table.store), *drops]
    name = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
    kept = [residue(m, n) for m in map(mirror, promoted) for n in range(len(m.over))]
    statements += [
        f"ALTER TABLE {name} ALTER COLUMN {quote_ident(column)} DROP NOT NULL, "
        f"ALTER COLUMN {quote_ident(column)} DROP DEFAULT"
        for column in kept
    ]
    statements.append(_update(name, table, lenses, promoted, kept))
    under = {c.id for lens in promoted for c in lens.under}
    for lens in promoted:
        for n, column in enumerate(lens.over):
            if column.not_null and column.id not in under:
                target = quote_ident(residue(lens, n))
                statements.append(f"ALTER TABLE {name} ALTER COLUMN {target} SET NOT NULL")
    indexes = _indexes(swapped[number], table_id, name, promoted)
    return swapped, [*statements, *adds, *indexes]


def _update(
    name: str, table: Table, lenses: tuple[Lens, ...], promoted: tuple[Lens, ...], kept: list[str]
) -> str:
    columns = [*kept, MARKS]
    columns += [residue(lens, n) for lens in promoted for n in range(len(lens.over))]
    columns += ["_doc"] if table.has_doc else []
    values = shadow_columns(lenses, promoted, list(dict.fromkeys(columns)))
    sets = ", ".join(f"{quote_ident(c)} = {value}" for c, value in values)
    return f"UPDATE {name} t SET {sets}"


def _indexes(version: Version, table_id: int, name: str, promoted: tuple[Lens, ...]) -> list[str]:
    """Indexes over the converted columns are made again over what is stored now."""
    table = version.table_by_id(table_id)
    assert table is not None
    ids = {c.id for lens in promoted for c in lens.over}
    names = [c.name for c in table.columns if c.id in ids]
    statements: list[str] = []
    for index in table.indexes:
        if any(f'"{n}"' in index.definition or n in index.definition for n in names):
            statements += [
                f"DROP INDEX IF EXISTS {STORE_SCHEMA}.{quote_ident(index.store_name)}",
                store_statement(version, table, index, name),
            ]
    return statements
