"""Loading into a table that exists: every document finds its place, whatever it holds.

Values that fit go where the table has them. A value that does not fit stays in the document: the
column's readers get a guard, an event is recorded, and a new version shows the column in a type
that holds everything. New fields are columns of that new version. What breaks a rule of the table
(its key, NOT NULL, constraints) is a reject. All of it in the load's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from backends.embedded.append import (
    StoreColumn,
    Target,
    count_where,
    delete_known,
    delete_repeated,
    delete_where,
)
from backends.embedded.ingest import STAGING, cells_statement
from catalog.inference.infer import InferredTable, infer_table
from catalog.inference.kinds import Kind
from catalog.inference.rules import JSONB, families
from catalog.inference.statistics import PathStats, TableStats
from catalog.inference.widen import widen
from catalog.model import CatalogSnapshot, Stored, Table, Version
from catalog.naming import Path, full_name
from catalog.readers import field_of
from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal, text_array
from core.errors import MorphError, ObjectNotInPrerequisiteState, ProgramLimitExceeded
from engine.loading.cells import cell_columns
from engine.loading.drift import (
    Family,
    Grower,
    Growth,
    Reading,
    flipped,
    node_at,
    present,
    suspects,
)
from evolution.load_session import LoadEvent, LoadSession, event_statement, relation_names, shown
from evolution.publish import Operation, add_version, publish_in_place, table_statements

ORIGIN: Final = "drift"
REJECTS_MAX: Final = 10_000  # rows that constraints refuse one by one, before the load gives up
_SEARCH_PATH: Final = "SET LOCAL search_path = pg_catalog, public, pg_temp"
_EXACT_STORED: Final = frozenset({"bigint", "numeric", "text", "boolean", "jsonb"})

_STORE_COLUMNS: Final = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity = 'a',
  CASE WHEN a.attidentity <> '' THEN format('nextval(%L::regclass)',
    pg_get_serial_sequence(a.attrelid::regclass::text, a.attname))
  ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), '') END
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND a.attname <> '_doc' ORDER BY a.attnum"""


@dataclass(frozen=True, slots=True)
class _Brought:
    """The table as the new documents alone show it, with what of it older ones touch."""

    found: InferredTable
    taken: frozenset[str]
    occupied: frozenset[tuple[Path, Path]]
    unknown: frozenset[Path]


class Appender:
    """One load into one existing table; the rows are staged, the catalog is locked."""

    def __init__(
        self, session: LoadSession, snapshot: CatalogSnapshot, table: Table, stats: TableStats
    ) -> None:
        self._session = session
        self._snapshot = snapshot
        self._head = snapshot.version(snapshot.head)
        self._table = table
        self._stats = stats
        self._family = Family(table.id, snapshot.versions)
        self._events: list[LoadEvent] = []

    async def append(self) -> None:
        """Move the staged rows, and publish what they changed."""
        readings = suspects(self._family, self._stats)
        target = await self._target()
        await self._refuse_unreadable(readings)
        await self._refuse_missing(target)
        await self._refuse_duplicates(target)
        brought = await self._brought()
        if not target.has_doc:
            target = await self._extended(target, brought)
        await self._insert(target)
        if not (await self._counts(["true"]))[0]:
            return
        misfits = await self._misfits(readings, target)
        snapshot = await self._guard(misfits)
        await self._publish(snapshot, brought, misfits)
        await self._session.tx.apply(
            [*map(event_statement, self._events), f"ANALYZE {target.table}"]
        )

    async def _counts(self, conditions: Sequence[str]) -> list[int]:
        counts: list[int] = []
        for start in range(0, len(conditions), 100):
            rows = await self._session.fetch(count_where(conditions[start : start + 100]))
            counts += [int(str(n)) for n in rows[0]]
        return counts

    # What the store has

    async def _target(self) -> Target:
        connection = self._session.connection
        store = f"{STORE_SCHEMA}.{quote_ident(self._table.store)}"
        rows = await connection.fetch(_STORE_COLUMNS, store)
        fields = self._fields()
        defaults = self._defaults()
        columns = tuple(
            self._store_column(
                name, pg_type, fields[name], not_null, defaults.get(name, default), always
            )
            for name, pg_type, not_null, always, default in rows
            if name in fields
        )
        primary = self._table.primary_key
        key = tuple(
            c.source.column
            for c in self._table.columns
            if primary and c.id in primary.columns and isinstance(c.source, Stored)
        )
        has_doc = any(t.has_doc for t in self._family.all_members())
        return Target(self._table.store, columns, key, has_doc)

    def _fields(self) -> dict[str, str]:
        """The field of every store column, as the newest version that shows it has it."""
        fields: dict[str, str] = {}
        for number in sorted(self._snapshot.versions):
            table = self._snapshot.versions[number].table_by_id(self._table.id)
            for column in table.columns if table else ():
                if isinstance(column.source, Stored):
                    fields[column.source.column] = field_of(column)
        return fields

    def _defaults(self) -> dict[str, str]:
        """The newest version's own defaults; the store's are for what it does not show."""
        return {
            c.source.column: c.default or ""
            for c in self._table.columns
            if isinstance(c.source, Stored) and not c.identity
        }

    def _store_column(
        self, name: str, pg_type: str, key: str, not_null: bool, default: str, always: bool
    ) -> StoreColumn:
        hidden, node = node_at(self._stats, (), (key,))
        certain = not hidden
        nulls = hidden
        if node is not None:
            nulls = bool(node.counts.keys() & {Kind.NULL, Kind.EMPTY})
            nulls = nulls or node.total < self._stats.documents
            certain = pg_type in _EXACT_STORED and _fits(pg_type, node)
        elif certain:
            nulls = True
        return StoreColumn(name, pg_type, key, not_null, default, always, certain, nulls)

    # Rejects

    async def _refuse_unreadable(self, readings: Sequence[Reading]) -> None:
        unguarded = [r for r in readings if r.raises != "false"]
        for reading, count in zip(
            unguarded, await self._counts([r.raises for r in unguarded]), strict=True
        ):
            if count:
                reason = f'the value of "{reading.name}" cannot be read as {reading.type}'
                await self._session.take_out(delete_where(reading.raises), reason)

    async def _refuse_missing(self, target: Target) -> None:
        for column in target.columns:
            hidden, node = node_at(self._stats, (), (column.key,))
            never = node is None and not hidden
            sure = bool(column.default) if never else column.certain and not column.nulls
            if column.not_null and not sure:
                reason = f'no value that fits "{column.key}" ({column.type}), which is NOT NULL'
                condition = f"({column.given}) IS NULL"
                if column.default:
                    condition += f" AND s.doc ? {quote_literal(column.key)}"
                await self._session.take_out(delete_where(condition), reason)
            if not target.has_doc and not column.certain:
                reason = f'the value of "{column.key}" does not fit {column.type}'
                await self._session.take_out(delete_where(column.misfit), reason)

    async def _refuse_duplicates(self, target: Target) -> None:
        keys = target.key_columns
        seen = [node_at(self._stats, (), (c.key,)) != (False, None) for c in keys]
        if not all(seen) or not keys or len(keys) != len(target.key):
            return
        session = self._session
        values = [c.given for c in keys]
        names = shown(c.key for c in keys)
        replacing = session.conflict == "replace"
        repeated = delete_repeated(values, keep_last=replacing)
        if session.conflict != "reject":
            await session.leave_out(repeated)
        else:
            await session.take_out(repeated, f"the key {names} was in this load before")
        if session.conflict == "reject":
            await session.take_out(delete_known(target), f"the key {names} exists already")
        elif session.conflict == "skip":
            await session.leave_out(delete_known(target))

    # What does not fit, and what is new

    async def _misfits(self, readings: Sequence[Reading], target: Target) -> list[Reading]:
        stored = [c for c in target.columns if not c.certain]
        counts = await self._counts([r.misfit for r in readings] + [c.misfit for c in stored])
        found = []
        told: set[tuple[Path, Path]] = set()
        for reading, count in zip(readings, counts[: len(readings)], strict=True):
            if count:
                found.append(reading)
                if (reading.array, reading.path) not in told:
                    told.add((reading.array, reading.path))
                    self._tell_misfit((*reading.array, *reading.path), reading, count)
        for column, count in zip(stored, counts[len(readings) :], strict=True):
            if count:
                self._tell_misfit(
                    (column.key,), Reading((), (column.key,), column.type, True), count
                )
        return found

    def _tell_misfit(self, path: Path, reading: Reading, count: int) -> None:
        _, node = node_at(self._stats, reading.array, reading.path)
        seen = ", ".join(f"{family} {n}" for family, n in families(node.counts)) if node else ""
        detail = (
            f"{count} document{'s hold' if count > 1 else ' holds'} a value that does not fit "
            f"{reading.type}"
            f"{f' (seen: {seen})' if seen else ''}: kept in the document"
        )
        self._events.append(
            LoadEvent(self._table.id, self._table.name, path, "misfit", detail, count)
        )
        self._session.note(f"{reading.name}: {detail}")

    async def _brought(self) -> _Brought:
        """Look at what is new before the rows are among the old ones."""
        taken = relation_names(self._snapshot)
        found = infer_table(self._table.name, self._stats, taken=taken)
        grower = self._grower(found)
        occupied = await self._occupied(grower.new_paths())
        unknown = await self._unknown(found)
        new_cells = {c.path[0] for c in grower.new_columns()}
        cells = {k: t for k, t in cell_columns(found).items() if k in new_cells}
        if cells:
            await self._session.tx.apply([cells_statement(cells)])
        return _Brought(found, frozenset(taken), frozenset(occupied), frozenset(unknown))

    def _growth(
        self, brought: _Brought, misfits: Sequence[Reading], *, retype: bool = True
    ) -> Growth | None:
        return self._grower(brought.found).grow(
            max(self._snapshot.versions) + 1,
            misfits if retype else (),
            brought.occupied,
            brought.taken,
            brought.unknown if retype else (),
        )

    def _grower(self, found: InferredTable) -> Grower:
        return Grower(self._family, self._head, found, self._stats, self._snapshot.next_id)

    async def _occupied(self, paths: Sequence[tuple[Path, Path]]) -> set[tuple[Path, Path]]:
        """New paths at which older documents hold something."""
        found: set[tuple[Path, Path]] = set()
        store = f"{STORE_SCHEMA}.{quote_ident(self._table.store)}"
        for start in range(0, len(paths), 100):
            part = paths[start : start + 100]
            tests = ", ".join(
                f"pg_catalog.bool_or({present('t._doc', array, path)})" for array, path in part
            )
            (row,) = await self._session.fetch(f"SELECT {tests} FROM {store} t")
            found |= {path for path, there in zip(part, row, strict=True) if there}
        return found

    async def _unknown(self, found: InferredTable) -> set[Path]:
        """Columns that held nothing but nulls and empty arrays so far."""
        typed = {c.path for c in found.columns if c.known and c.pg_type != JSONB}
        paths = {r.path for r in self._family.readings() if r.type == JSONB and not r.array} & typed
        if not paths:
            return set()
        names = {full_name(path): path for path in paths}
        told = await self._session.fetch(
            "SELECT DISTINCT path FROM morph_catalog.events WHERE kind = 'unknown_type' "
            f"AND table_id = {self._table.id} AND path IN ({', '.join(map(quote_literal, names))})"
        )
        unknown = set()
        for (name,) in told:
            path = names[str(name)]
            ((held,),) = await self._session.fetch(
                f"SELECT EXISTS (SELECT FROM {STORE_SCHEMA}.{quote_ident(self._table.store)} t "
                f"WHERE t._doc #> {text_array(path)} NOT IN ('null', '[]'))"
            )
            if not held:
                unknown.add(path)
        return unknown

    async def _extended(self, target: Target, brought: _Brought) -> Target:
        """A table without documents gets store columns for new fields before the rows come."""
        growth = self._growth(brought, ())
        if growth is None:
            return target
        await self._session.tx.apply(growth.store)
        table = growth.version.table_by_id(self._table.id)
        assert table is not None
        known = {c.id for c in self._table.columns}
        columns = [
            StoreColumn(c.source.column, c.source.type, c.source.field)
            for c in table.columns
            if c.id not in known and isinstance(c.source, Stored)
        ]
        return replace(target, columns=(*target.columns, *columns))

    # Moving the rows

    async def _insert(self, target: Target) -> None:
        session = self._session
        replacing = session.conflict == "replace"
        left = (await self._counts(["true"]))[0]
        if await self._try_insert(target, None, replacing=replacing) is None:
            session.report.documents += left
            return
        await session.connection.execute(f"CREATE INDEX ON {STAGING} (ordinal)")
        low, high = await session.connection.fetchrow(
            f"SELECT min(ordinal), max(ordinal) FROM {STAGING}"
        )
        refused = await self._insert_halves(target, low, high, replacing=replacing)
        session.report.documents += left - refused

    async def _try_insert(
        self, target: Target, bounds: tuple[int, int] | None, *, replacing: bool
    ) -> str | None:
        """None if it went well, else why it did not."""
        statement = target.insert_statement(replacing=replacing, bounds=bounds)
        try:
            async with self._session.connection.transaction():
                await self._session.tx.apply([_SEARCH_PATH, statement])
        except (
            asyncpg.IntegrityConstraintViolationError,
            asyncpg.DataError,
            asyncpg.ProgramLimitExceededError,
            asyncpg.RaiseError,
        ) as error:
            return self._in_clients_names(str(error.args[0]))
        return None

    def _in_clients_names(self, message: str) -> str:
        """The store's names in a message as the names that clients know."""
        table = self._table
        names = {table.store: table.name}
        names |= {c.store_name: c.name for c in table.constraints}
        names |= {i.store_name: i.name for i in table.indexes}
        names |= {c.source.column: c.name for c in table.columns if isinstance(c.source, Stored)}
        for store, name in names.items():
            message = message.replace(f'"{store}"', f'"{name}"')
        return message

    async def _insert_halves(self, target: Target, low: int, high: int, *, replacing: bool) -> int:
        """Insert what can be inserted between two ordinals; how many rows were refused."""
        refused = 0
        waiting = [(low, high)]
        while waiting:
            first, last = waiting.pop()
            reason = await self._try_insert(target, (first, last), replacing=replacing)
            if reason is None:
                continue
            if first < last:
                middle = (first + last) // 2
                waiting += [(middle + 1, last), (first, middle)]
                continue
            refused += await self._session.take_out(delete_where(f"s.ordinal = {first}"), reason)
            if refused > REJECTS_MAX:
                raise ProgramLimitExceeded(
                    f"the rules of the table refuse more than {REJECTS_MAX} documents",
                    detail=f"The last one: {reason}.",
                    hint="Nothing was loaded. Load into another table and look at them there.",
                )
        return refused

    # Publishing

    async def _guard(self, misfits: Sequence[Reading]) -> CatalogSnapshot:
        """Let the columns of versions that exist read NULL where a value does not fit."""
        changed = flipped(self._family, misfits)
        if not changed:
            return self._snapshot
        versions = {number: version for number, (version, _) in changed.items()}
        snapshot = replace(self._snapshot, versions={**self._snapshot.versions, **versions})
        statements: list[str] = []
        for version, tables in changed.values():
            statements += guard_statements(snapshot, version, tables)
        return await publish_in_place(
            self._session.tx, self._snapshot, versions, statements, [],
            next_id=self._snapshot.next_id,
        )  # fmt: skip

    async def _publish(
        self, snapshot: CatalogSnapshot, brought: _Brought, misfits: Sequence[Reading]
    ) -> None:
        growth = self._growth(brought, misfits)
        if growth is None or await self._try_version(snapshot, growth):
            return
        self._session.note("types stay as they are: views or indexes of this version need them")
        growth = self._growth(brought, misfits, retype=False)
        if growth is None or await self._try_version(snapshot, growth):
            return
        if growth.store:
            raise ObjectNotInPrerequisiteState(
                f'the new fields of "{self._table.name}" could not be published as a new version'
            )
        detail = "the new fields could not be shown in a new version: they are in the document"
        name = self._table.name
        self._events.append(LoadEvent(self._table.id, name, (), "unpublished", detail, 0))
        self._session.note(detail)

    async def _try_version(self, snapshot: CatalogSnapshot, growth: Growth) -> bool:
        session = self._session
        operations = [
            Operation(change.kind, change.relation, change.ddl, ORIGIN) for change in growth.changes
        ]
        version = _with_guards(growth.version, snapshot)
        try:
            async with session.connection.transaction():
                await add_version(session.tx, snapshot, version, operations, next_id=growth.next_id)
        except (asyncpg.PostgresError, MorphError):
            return False
        session.report.version = version.number
        for change in growth.changes:
            _, node = node_at(self._stats, (), change.path)
            detail = f"version {version.number}: {change.ddl}"
            count = node.total if node else 0
            self._events.append(
                LoadEvent(change.table_id, change.relation, change.path,
                          change.kind.replace(" ", "_"), detail, count)
            )  # fmt: skip
        session.note(f"version {version.number}: " + shown(change.ddl for change in growth.changes))
        return True


def _fits(pg_type: str, node: PathStats) -> bool:
    verdict = widen(pg_type, node, physical=True)
    return verdict.outcome == "fits" and verdict.certain


def _with_guards(version: Version, snapshot: CatalogSnapshot) -> Version:
    """The new version with the guards that its parent got just now, but for its own new types."""
    parent = snapshot.versions[version.parent]
    for table in parent.tables:
        fresh = version.table_by_id(table.id)
        if fresh is None:
            continue
        old = {c.id: c for c in table.columns}
        columns = tuple(
            replace(c, source=old[c.id].source) if c.id in old and c.type == old[c.id].type else c
            for c in fresh.columns
        )
        version = version.with_table(replace(fresh, columns=columns))
    return version


def guard_statements(
    snapshot: CatalogSnapshot, version: Version, tables: Sequence[Table]
) -> list[str]:
    """The version views of tables whose columns changed their readers only: replaced in place, so
    that views over them stay.
    """
    create = "CREATE VIEW "
    return [
        s.replace(create, "CREATE OR REPLACE VIEW ", 1) if s.startswith(create) else s
        for s in table_statements(snapshot, version, tables)
        if s.startswith((create, "SET LOCAL"))
        and not s.startswith(f"{create}{quote_ident('public')}.")
    ]
