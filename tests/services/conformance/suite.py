"""What every backend does alike (issue 4 point 6): one class of tests over each real server.

A subject plugs in by `subject_<kind>.py` and a line in subjects.py. The judge is the expression
IR's own evaluator over the rows that were put in, and PostgreSQL where it has no answer.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, ParamSpec

import pyarrow as pa
import pytest

from backends.base import (
    Aggregate,
    Grouping,
    RowChanges,
    ScanAsk,
    ScanPlan,
    Scope,
    judge_nothing,
)
from catalog.model import Column, Table
from core import expr as ir
from core.encoding import to_text_carrier
from core.errors import (
    FeatureNotSupported,
    QueryCanceled,
    SerializationFailure,
    UndefinedTable,
    UniqueViolation,
)
from core.expr import Expr
from core.types import type_by_name
from engine.exactness import judge_for
from tests.services.conformance.subject import MODEL, Row, Subject

BATCH_ROWS = 100
"""Rows of a batch in the suite's backends: small, so that scans have many."""
MANY = 1_050
FULL: Row = (
    "1",
    "Ärger\n",
    "-7",
    "0.5",
    "1.50",
    "t",
    "2024-02-29 12:30:00.123+00",
    "00010203-0405-0607-0809-0a0b0c0d0e0f",
)
ROWS: list[Row] = [
    FULL,
    ("2", "", "0", "-1.5", "0.10", "f", "1969-12-31 23:59:59.999+00", FULL[7]),
    ("3", "abc", "2147483647", "1e+300", "-12345678901234567890.5", "t", FULL[6], FULL[7]),
    ("4", "abd", "-2147483648", "5e-324", "0", "f", "0001-01-01 00:00:00+00", FULL[7]),
    ("5", None, None, None, None, None, None, None),
    ("-9", "a_c%", "5", "2", "2.50", None, None, None),
    ("9007199254740993", "z", "6", "-0", "7", "t", "9999-12-31 23:59:59+00", None),
]
P = ParamSpec("P")
Test = Callable[Concatenate[Any, Subject, P], Awaitable[None]]


def conforms(test: Test[P]) -> Test[P]:
    """A test that a subject's gap of that name makes strict: it must fail then."""

    @functools.wraps(test)
    async def checked(self: Any, subject: Subject, *args: P.args, **kwargs: P.kwargs) -> None:
        reason = subject.gaps.get(test.__name__.removeprefix("test_"))
        try:
            await test(self, subject, *args, **kwargs)
        except Exception:
            if reason is None:
                raise
            return
        assert reason is None, f"the gap of {subject.server} is closed: {reason}"

    return checked


def column(table: Table, name: str) -> Column:
    """The column of the model's name."""
    found = table.column(name)
    assert found is not None, name
    return found


def reference(table: Table, name: str) -> ir.ColumnRef:
    """The column in an expression."""
    found = column(table, name)
    return ir.ColumnRef(found.id, found.type)


def literal(table: Table, name: str, text: str | None) -> ir.Literal:
    """A constant of the column's type."""
    return ir.Literal(ir.base_type(column(table, name).type), text)


def plan_of(
    subject: Subject,
    table: Table,
    names: Sequence[str],
    predicate: Expr | None = None,
    *,
    push: bool = True,
    **ask: Any,
) -> ScanPlan:
    """The plan of a scan of some columns."""
    ids = tuple(column(table, name).id for name in names)
    judge = judge_for(subject.kind) if push else judge_nothing
    return subject.backend.plan_scan(table, ScanAsk(1, ids, predicate, judge=judge, **ask))


async def rows_of(
    subject: Subject, plan: ScanPlan, types: Sequence[str], scope: Scope | None = None
) -> list[Row]:
    """All rows as PostgreSQL's text."""
    rows: list[Row] = []
    async for batch in subject.backend.scan(plan, scope or deadline()):
        texts = [
            to_text_carrier(values, type_by_name(sql)).to_pylist()
            for values, sql in zip(batch.columns, types, strict=True)
        ]
        rows += list(zip(*texts, strict=True)) if texts else [()] * batch.num_rows
    return rows


async def scanned(
    subject: Subject, table: Table, names: Sequence[str], predicate: Expr | None = None, **ask: Any
) -> list[Row]:
    """The rows of a scan with what the plan left applied: what the engine makes of it."""
    plan = plan_of(subject, table, names, predicate, **ask)
    rows = await rows_of(subject, plan, [column(table, name).type for name in names])
    if plan.residual is None:
        return rows
    return [row for row in rows if holds(table, plan.residual, dict(zip(names, row, strict=True)))]


def deadline(seconds: float = 30.0) -> Scope:
    """A scope that ends."""
    return Scope(deadline=asyncio.get_running_loop().time() + seconds)


def holds(table: Table, predicate: Expr, row: dict[str, str | None]) -> bool:
    """Whether PostgreSQL would keep the row."""
    values = {
        column(table, name).id: ir.literal_value(literal(table, name, text))
        for name, text in row.items()
    }
    return ir.evaluate(predicate, values) is True


def batch_of(table: Table, names: Sequence[str], rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as RowChanges has them, as text."""
    arrays = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, [f"c{column(table, name).id}" for name in names])


def numbered(count: int) -> list[Row]:
    """Many rows."""
    return [(str(n), f"n{n}", str(n % 7), None, None, None, None, None) for n in range(count)]


def predicates(table: Table) -> list[Expr]:
    """Conditions over each column and their negations, alone and together."""
    made: list[Expr] = []
    for name in MODEL:
        here = reference(table, name)
        made.append(ir.IsNull(here))
        texts = list(dict.fromkeys(row[list(MODEL).index(name)] for row in ROWS))
        constants = [literal(table, name, text) for text in texts]
        ops = ("=", "<>") if name in ("paid", "ref") else ir.COMPARISONS
        made += [ir.Compare(op, here, constant) for op in ops for constant in constants[:4]]
        made.append(ir.In(here, tuple(constants)))
    name = reference(table, "name")
    made += [ir.Like(name, ir.Literal("text", text)) for text in ("ab%", "%c", "a\\_c\\%", "")]
    made += [ir.Not(each) for each in made]
    pairs = zip(made[::3], made[1::5], strict=False)
    for one, other in pairs:
        made += [ir.And((one, other)), ir.Or((one, other)), ir.Not(ir.And((one, ir.Not(other))))]
    return made


class Conformance:
    """The tests; `subject` is a fixture of test_conformance.py."""

    @conforms
    async def test_server(self, subject: Subject) -> None:
        """R1.6: who answered, and what was probed."""
        info = await subject.backend.server(deadline())
        assert info.product
        assert info.version

    @conforms
    async def test_types(self, subject: Subject) -> None:
        """R1.3: every value comes out as it was put in, NULL among them."""
        table = await subject.make("types", ROWS)
        found = await rows_of(
            subject, plan_of(subject, table, list(MODEL)), [column(table, n).type for n in MODEL]
        )
        assert sorted(found, key=str) == sorted(ROWS, key=str)

    @conforms
    async def test_description(self, subject: Subject) -> None:
        """R1.8: the columns, the key, the table's place, its size."""
        table = await subject.make("described", ROWS)
        assert [column(table, name).name for name in MODEL] == list(MODEL)
        assert table.key == (column(table, "id").id,)
        assert column(table, "id").not_null
        listed = await subject.backend.list_tables(subject.namespace, deadline())
        assert "described" in [each.native[-1] for each in listed]
        found = await subject.backend.statistics(table, deadline())
        assert found.rows >= 0
        assert found.row_bytes > 0

    @conforms
    async def test_rows_without_columns(self, subject: Subject) -> None:
        """R0.5: count(*) alone wants no column and the right number of rows."""
        table = await subject.make("counted", numbered(MANY))
        assert len(await rows_of(subject, plan_of(subject, table, ()), ())) == MANY
        some = ir.Compare("<", reference(table, "id"), literal(table, "id", "10"))
        names = ["id"] if plan_of(subject, table, (), some).residual is not None else []
        assert len(await scanned(subject, table, names, some)) == 10

    @conforms
    async def test_predicates(self, subject: Subject) -> None:
        """R0.5: pushed or not, the answer is PostgreSQL's."""
        table = await subject.make("filtered", ROWS)
        names = list(MODEL)
        pushed = 0
        for predicate in predicates(table):
            wanted = [
                row for row in ROWS if _judged(table, predicate, dict(zip(names, row, strict=True)))
            ]
            plan = plan_of(subject, table, names, predicate)
            pushed += plan.taken is not None
            found = await scanned(subject, table, names, predicate)
            assert sorted(found, key=str) == sorted(wanted, key=str), f"{predicate}\n{plan.native}"
        assert pushed > 0

    @conforms
    async def test_parts_are_the_whole(self, subject: Subject) -> None:
        """R0.5: taken and residual together are the predicate; without a judge nothing is taken."""
        table = await subject.make("split", ROWS[:1])
        call = ir.Call("lower", (reference(table, "name"),), "text")
        odd = ir.Compare("=", call, ir.Literal("text", "x"))
        plain = ir.Compare("=", reference(table, "id"), literal(table, "id", "1"))
        plan = plan_of(subject, table, ["id", "name"], ir.And((plain, odd)))
        assert set(ir.split_and(plan.taken)) | set(ir.split_and(plan.residual)) == {plain, odd}
        plan = plan_of(subject, table, ["id"], plain, push=False)
        assert plan.taken is None
        assert plan.residual == plain

    @conforms
    async def test_paging(self, subject: Subject) -> None:
        """Issue 4.9: batches are bounded, and all rows come once."""
        table = await subject.make("paged", numbered(MANY))
        seen: list[int] = []
        async for batch in subject.backend.scan(plan_of(subject, table, ["id"]), deadline()):
            assert 0 < batch.num_rows <= BATCH_ROWS
            seen += [int(value) for value in batch.column(0).to_pylist()]
        assert sorted(seen) == list(range(MANY))

    @conforms
    async def test_limit(self, subject: Subject) -> None:
        """R0.5: a limit that the store takes is exact, also over a predicate."""
        table = await subject.make("limited", numbered(MANY))
        some = ir.Compare("<", reference(table, "id"), literal(table, "id", "500"))
        for predicate in (None, some):
            for limit in (0, 1, BATCH_ROWS, BATCH_ROWS + 1, 499):
                plan = plan_of(subject, table, ["id"], predicate, limit=limit)
                rows = await rows_of(subject, plan, [column(table, "id").type])
                assert len(set(rows)) == len(rows)
                if plan.limit_exact:
                    assert len(rows) == limit
                if plan.residual is None and predicate is not None:
                    assert all(int(row[0] or 0) < 500 for row in rows)

    @conforms
    async def test_keys(self, subject: Subject) -> None:
        """R0.5: a semi-join's keys are found, and a point read finds its row."""
        table = await subject.make("keyed", numbered(MANY))
        wanted = [str(n) for n in range(0, MANY, 3)]
        array = ir.Literal("bigint[]", "{" + ",".join([*wanted, "-77"]) + "}")
        member = ir.In(reference(table, "id"), (array,), spread=True)
        plan = plan_of(subject, table, ["id"], member)
        assert plan.residual is None, plan.reasons
        found = await rows_of(subject, plan, [column(table, "id").type])
        assert sorted(row[0] or "" for row in found) == sorted(wanted)

    @conforms
    async def test_grouping(self, subject: Subject) -> None:
        """PEERS 3.2: groups are PostgreSQL's, and nothing has one row of NULLs."""
        table = await subject.make("grouped", [*numbered(50), *_with_nulls(50, 60)])
        await subject.backend.server(deadline())
        qty = reference(table, "qty")
        aggregates = (
            Aggregate("count", None, "bigint"),
            Aggregate("count", qty, "bigint"),
            Aggregate("max", reference(table, "id"), "bigint"),
        )
        plan = plan_of(subject, table, (), grouping=Grouping((qty,), aggregates))
        assert plan.grouped, plan.reasons
        wanted = [(str(k), *_group(k)) for k in range(7)] + [(None, "10", "0", "59")]
        assert sorted(await rows_of(subject, plan, plan.types), key=str) == sorted(wanted, key=str)
        none = ir.Compare("=", reference(table, "id"), literal(table, "id", "-1"))
        plan = plan_of(subject, table, (), none, grouping=Grouping((), aggregates))
        if plan.grouped:
            assert await rows_of(subject, plan, plan.types) == [("0", "0", None)]

    @conforms
    async def test_early_end(self, subject: Subject) -> None:
        """Issue 4.5: a scan that is closed ends, and the next one is whole."""
        table = await subject.make("closed", numbered(MANY))
        for _ in range(12):
            scan = subject.backend.scan(plan_of(subject, table, ["id"]), deadline())
            await anext(scan)
            await scan.aclose()  # type: ignore[attr-defined]
        assert len(await scanned(subject, table, ["id"])) == MANY

    @conforms
    async def test_many_scans_at_once(self, subject: Subject) -> None:
        """R2.4: more scans than connections wait and are whole."""
        table = await subject.make("busy", numbered(MANY))
        found = await asyncio.gather(*(scanned(subject, table, ["id"]) for _ in range(12)))
        assert [len(rows) for rows in found] == [MANY] * 12

    @conforms
    async def test_deadline(self, subject: Subject) -> None:
        """R0.7: a deadline that has passed is 57014, and nothing is broken by it."""
        table = await subject.make("late", numbered(MANY))
        with pytest.raises(QueryCanceled):
            await rows_of(
                subject, plan_of(subject, table, ["id"]), [column(table, "id").type], deadline(-1)
            )
        assert len(await scanned(subject, table, ["id"])) == MANY

    @conforms
    async def test_unknown_table(self, subject: Subject) -> None:
        """Issue 4: a table that is not there is 42P01, never empty."""
        table = subject.nowhere(await subject.make("here", ROWS[:1]))
        with pytest.raises(UndefinedTable):
            await scanned(subject, table, ["id"])
        with pytest.raises(UndefinedTable):
            await subject.backend.describe(table.native, deadline())

    @conforms
    async def test_writes(self, subject: Subject) -> None:
        """Issue 4: rows are inserted, changed and deleted, and say so."""
        table = await subject.make("written", ROWS)
        names = list(MODEL)
        new = ("77", *FULL[1:])
        changes = RowChanges(inserted=batch_of(table, names, [new]))
        assert (await subject.backend.apply(table, changes, deadline())).rows == 1
        changes = RowChanges(
            updated=batch_of(table, ["id", "name", "qty"], [("1", "new", None)]),
            before=batch_of(table, ["id", "name", "qty"], [FULL[:3]]),
        )
        assert (await subject.backend.apply(table, changes, deadline())).rows == 1
        changes = RowChanges(deleted=batch_of(table, names, [ROWS[2]]))
        assert (await subject.backend.apply(table, changes, deadline())).rows == 1
        wanted = [("1", "new", None, *FULL[3:]), *ROWS[1:2], *ROWS[3:], new]
        found = await scanned(subject, table, names)
        assert sorted(found, key=str) == sorted(wanted, key=str)

    @conforms
    async def test_duplicate_key(self, subject: Subject) -> None:
        """Issue 4: a key that exists is 23505, and its row stays as it was."""
        table = await subject.make("unique", ROWS)
        rows: list[Row] = [("1", "other", *FULL[2:])]
        with pytest.raises(UniqueViolation):
            await subject.backend.apply(
                table, RowChanges(inserted=batch_of(table, list(MODEL), rows)), deadline()
            )
        assert sorted(await scanned(subject, table, list(MODEL)), key=str) == sorted(ROWS, key=str)

    @conforms
    async def test_conflict(self, subject: Subject) -> None:
        """Issue 4.10: a row that is no longer as it was read is 40001, and stays."""
        table = await subject.make("contended", ROWS)
        changes = RowChanges(
            updated=batch_of(table, ["id", "qty"], [("1", "9")]),
            before=batch_of(table, ["id", "qty"], [("1", "8")]),
        )
        with pytest.raises(SerializationFailure):
            await subject.backend.apply(table, changes, deadline())
        gone = RowChanges(deleted=batch_of(table, list(MODEL), [("1", "else", *FULL[2:])]))
        with pytest.raises(SerializationFailure):
            await subject.backend.apply(table, gone, deadline())
        assert sorted(await scanned(subject, table, list(MODEL)), key=str) == sorted(ROWS, key=str)

    @conforms
    async def test_transactions(self, subject: Subject) -> None:
        """Issue 4.10: ROLLBACK undoes, COMMIT keeps, nobody else sees it before."""
        table = await subject.make("atomic", ROWS[:1])
        for end, rows in (("rollback", 1), ("commit", 2)):
            transaction = await subject.backend.begin(
                deadline(), isolation="read committed", read_only=False
            )
            scope = Scope(deadline=deadline().deadline, transaction=transaction)
            new = batch_of(table, list(MODEL), [("77", *FULL[1:])])
            await subject.backend.apply(table, RowChanges(inserted=new), scope)
            plan = plan_of(subject, table, ["id"])
            types = [column(table, "id").type]
            assert len(await rows_of(subject, plan, types, scope)) == 2
            assert len(await rows_of(subject, plan, types)) == 1
            await getattr(transaction, end)(deadline().deadline)
            assert len(await rows_of(subject, plan, types)) == rows

    @conforms
    async def test_without_transactions_begin_says_so(self, subject: Subject) -> None:
        """Issue 4.10: never a transaction that keeps rows at ROLLBACK."""
        if "transactions" not in subject.gaps:
            transaction = await subject.backend.begin(
                deadline(), isolation="read committed", read_only=True
            )
            await transaction.rollback(None)
            return
        with pytest.raises(FeatureNotSupported):
            await subject.backend.begin(deadline(), isolation="read committed", read_only=False)


def _with_nulls(first: int, last: int) -> list[Row]:
    return [(str(n), None, None, None, None, None, None, None) for n in range(first, last)]


def _group(key: int) -> tuple[str, str, str]:
    members = [n for n in range(50) if n % 7 == key]
    return str(len(members)), str(len(members)), str(max(members))


def _judged(table: Table, predicate: Expr, row: dict[str, str | None]) -> bool:
    return holds(table, predicate, row)
