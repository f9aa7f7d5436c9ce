"""Every entry of the exactness table for PostgreSQL, against a real server of another version, in a
database that sorts by a language (R0.5, R1.7, issue 4.5).

The rows are those of tests/differential/test_exactness_table.py, in both servers. What a client
would write for an entry is evaluated by the private PostgreSQL, in a session with another TimeZone,
and what the backend makes of it by the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import asyncpg
import pytest
import pytest_asyncio

from backends.base import Aggregate, Exact, ExactWithRewrite, Grouping, OrderKey, ScanAsk
from backends.postgres.pushdown import NativeScan, plan_scan
from catalog.model import Column, Native, Table
from catalog.sqltext import quote_literal
from core import expr as ir
from core.expr import Expr, base_type
from engine.exactness import TABLE, TYPES, Entry, ExactnessTable, judge_for
from tests.differential import test_exactness_table as source
from tests.services.postgres.stores import Store, open_store
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services
JUDGE = judge_for("postgres")
judge = source.oracle
"""The private PostgreSQL with the rows of the differential test, in a transaction."""
UTC = "({}) AT TIME ZONE 'UTC'"


@pytest_asyncio.fixture(scope="module")
async def store(
    postgres_store: RunningServer,
    judge: asyncpg.Connection,
) -> AsyncIterator[Store]:
    """The rows in a database of their own; without infinite intervals, which are new in 17."""
    for name in ("a_interval", "b_interval"):
        await judge.execute(f"UPDATE plain SET {name} = NULL WHERE NOT isfinite({name})")
    async with open_store(postgres_store, "morph_exact") as opened:
        columns = source._columns()
        listed = ", ".join(f"{name} {source.SQL_TYPES[short]}" for name, short in columns)
        await opened.table("plain", f"id int PRIMARY KEY, {listed}")
        slots = ", ".join(
            f"${i}::text::{source.SQL_TYPES[short]}" for i, (_, short) in enumerate(columns, 2)
        )
        finite = {number for number, (_, short) in enumerate(columns) if short == "interval"}
        rows = []
        for number in range((source.WIDTH + 1) ** 2):
            values = enumerate(source._row(number))
            row = [None if n in finite and "infinity" in (v or "") else v for n, v in values]
            rows.append((number, *row))
        await opened.connection.executemany(f"INSERT INTO plain VALUES ($1, {slots})", rows)
        await opened.connection.execute(source.ATTEMPT)
        await opened.connection.execute("SET timezone = 'UTC'")
        yield opened


def plain(store: Store) -> Table:
    """The store's table with the ids of the differential test's."""
    described = store.tables["plain"]
    number = {**source.COLUMN_IDS, "id": 1}
    columns = []
    for column in described.columns:
        assert isinstance(column.source, Native)
        columns.append(
            Column(number[column.name], column.name, column.type, column.source, column.not_null)
        )
    return Table(5, "plain", "foreign", tuple(columns), native=("public", "plain"), key=(1,))


class PostgresHarness(source.Harness):
    """Compares entries between the judge and the store."""

    def __init__(self, judge: asyncpg.Connection, store: Store, table: ExactnessTable) -> None:
        super().__init__(judge, table)
        self.store = store
        self.plain = plain(store)
        self.judged = judge_for("postgres", table)

    def native(self, expr: Expr) -> str:
        """The SQL that the backend makes of a value: it is asked for as a condition."""
        condition = ir.Compare("is not distinct from", expr, expr)
        plan = plan_scan(self.plain, ScanAsk(1, (1,), condition, judge=lambda _: source.EXACT))
        if plan.residual is not None:
            self.refused(f"{ir.to_text(expr, source.NAMES)}: not rendered", plan.reasons)
            return ""
        where = str(plan.native).split(" WHERE (", 1)[1].removesuffix(")")
        half = (len(where) - len(" IS NOT DISTINCT FROM ")) // 2
        assert where[:half] == where[-half:], where
        return where[:half]

    def refused(self, what: str, reasons: tuple[str, ...]) -> None:
        """Literals in forms of their own may stay here; nothing else."""
        if not all(reason.startswith("a literal of type interval") for reason in reasons):
            self.found.append(f"{what}: {reasons}")

    async def _compare_values(
        self, entry: Entry, expr: Expr, reference: str, rendered: str
    ) -> None:
        native = self.native(expr)
        if not native:
            return
        if entry.result == "timestamp with time zone":
            native, reference = UTC.format(native), UTC.format(reference)
        question = "SELECT attempt('plain', {})"
        wanted = await self.connection.fetchval(question.format(quote_literal(reference)))
        seen = await self.store.connection.fetchval(question.format(quote_literal(native)))
        if seen != wanted:
            differ = [
                (row, w, s) for row, (w, s) in enumerate(zip(wanted, seen, strict=True)) if w != s
            ]
            self.found.append(f"{reference}: {native}: (row, judge, store) {differ[:5]}")

    async def compare_conditions(self, forms: Iterable[tuple[Expr, str]]) -> None:
        for expr, condition in forms:
            plan = plan_scan(self.plain, ScanAsk(1, (1,), expr, judge=self.judged))
            if plan.residual is not None:
                self.refused(f"{condition}: not taken", plan.reasons)
                continue
            wanted = f"SELECT id FROM plain WHERE {condition} ORDER BY id"
            judged = [row[0] for row in await self.connection.fetch(wanted)]
            native = f"SELECT id FROM ({plan.native}) s ORDER BY id"
            seen = [row[0] for row in await self.store.connection.fetch(native)]
            if seen != judged:
                odd = sorted(set(seen) ^ set(judged))
                self.found.append(f"{condition}: other rows {odd[:5]}: {plan.native}")


def proven(*kinds: str) -> list[Entry]:
    """The entries that are said to be exact for PostgreSQL."""
    return [
        entry
        for entry in TABLE.entries
        if entry.kind in kinds
        and isinstance(entry.verdicts.get("postgres"), Exact | ExactWithRewrite)
    ]


@pytest.mark.parametrize("kind", ["operator", "predicate", "function", "cast"])
async def test_every_operator_function_and_cast(  # R0.5
    judge: asyncpg.Connection,
    store: Store,
    kind: str,
) -> None:
    entries = proven(kind)
    assert entries
    harness = PostgresHarness(judge, store, TABLE)
    for entry in entries:
        await harness.check(entry)
    assert "\n".join(harness.found) == ""


@pytest.mark.parametrize("short", list(TYPES))
async def test_literals_of_every_type(  # R0.5
    judge: asyncpg.Connection,
    store: Store,
    short: str,
) -> None:
    harness = PostgresHarness(judge, store, TABLE)
    taken = 0
    for text in source.literal_conditions(short):
        pushed = harness.translate(text, {})
        if pushed is None:
            continue
        plan = plan_scan(harness.plain, ScanAsk(1, (1,), pushed.expr, judge=harness.judged))
        if plan.residual is None:  # some literals stay here: they say so in `reasons`
            taken += 1
            await harness.compare_conditions([(pushed.expr, text)])
    assert harness.found == []
    assert taken > 5


async def test_every_ordering(judge: asyncpg.Connection, store: Store) -> None:  # R0.5
    table = plain(store)
    entries = proven("ordering")
    assert len(entries) > 10
    for entry in entries:
        name = f"a_{source.SHORT[entry.arguments[0]]}"
        for descending, nulls_first in ((False, False), (True, True), (False, True), (True, False)):
            order = (OrderKey(source.COLUMN_IDS[name], descending, nulls_first), OrderKey(1))
            plan = plan_scan(table, ScanAsk(1, (1,), None, 100, order, JUDGE))
            assert plan.order_exact, (name, plan.reasons)
            assert plan.limit_exact
            words = f"{'DESC' if descending else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}"
            wanted = f"SELECT id FROM plain ORDER BY {name} {words}, id LIMIT 100"
            seen = await store.connection.fetch(str(plan.native))
            assert seen == await judge.fetch(wanted), name


async def test_every_aggregate(judge: asyncpg.Connection, store: Store) -> None:  # R0.5
    table = plain(store)
    entries = proven("aggregate")
    assert len(entries) > 30
    for entry in entries:
        names = [f"a_{source.SHORT[each]}" for each in entry.arguments]
        argument = ir.ColumnRef(source.COLUMN_IDS[names[0]], entry.arguments[0]) if names else None
        for distinct in (False, True) if names else (False,):
            await compare_aggregate(judge, store, table, entry, argument, distinct)


async def compare_aggregate(
    judge: asyncpg.Connection,
    store: Store,
    table: Table,
    entry: Entry,
    argument: ir.ColumnRef | None,
    distinct: bool,
) -> None:
    """One aggregate over all rows, and in groups."""
    key = ir.ColumnRef(source.COLUMN_IDS["b_bool"], "boolean")
    given = source_name(argument)
    call = f"{entry.name}({'DISTINCT ' if distinct else ''}{given})"
    for keys in ((), (key,)):
        grouping = Grouping(keys, (Aggregate(entry.name, argument, entry.result, distinct),))
        plan = plan_scan(table, ScanAsk(1, (), judge=JUDGE, grouping=grouping))
        assert plan.grouped, call
        assert isinstance(plan.native, NativeScan)
        first = "b_bool::text, " if keys else ""
        by = "GROUP BY b_bool ORDER BY b_bool" if keys else ""
        wanted = f"SELECT {first}{call}::text FROM plain {by}"
        columns = ("k, " if keys else "") + "v"
        texts = ("k::text, " if keys else "") + "v::text"
        native = f"SELECT {texts} FROM ({plan.native}) s({columns}) {'ORDER BY k' if keys else ''}"
        assert await attempt(store.connection, native) == await attempt(judge, wanted), call
        kind = await judge.fetchval(f"SELECT pg_typeof({call})::text FROM plain WHERE false")
        assert plan.types[-1] == base_type(kind), call


def source_name(argument: ir.ColumnRef | None) -> str:
    """A column of the differential test by its reference."""
    if argument is None:
        return "*"
    return next(n for n, number in source.COLUMN_IDS.items() if number == argument.column_id)


async def attempt(connection: asyncpg.Connection, text: str) -> object:
    """The rows, or the SQLSTATE."""
    try:
        async with connection.transaction():
            return [tuple(row) for row in await connection.fetch(text)]
    except asyncpg.PostgresError as error:
        return error.sqlstate


async def test_a_wrong_entry_is_found(judge: asyncpg.Connection, store: Store) -> None:  # R0.5
    """The test of the test: what depends on the locale, said to be exact, is found out."""
    key = ("function", "lower", ("text",))
    others = [e for e in TABLE.entries if (e.kind, e.name, e.arguments) != key]
    lower = Entry(*key, "text", True, {"postgres": source.EXACT})
    harness = PostgresHarness(judge, store, ExactnessTable([*others, lower]))
    await harness.check(lower)
    assert harness.found
