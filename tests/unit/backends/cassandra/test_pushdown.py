"""plan_scan of Cassandra: golden CQL, the split, order, limit and the edges (R0.5, R1.7).

The cases of tests/golden/pushdown/cassandra.txt are `statement` lines, each followed by what each
of its scans becomes. MORPH_UPDATE_GOLDEN=1 rewrites the file; the diff is to be reviewed.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pglast import parse_sql

from backends.base import EXACT, Aggregate, ExactWithRewrite, Grouping, OrderKey, ScanAsk
from backends.cassandra import schema
from backends.cassandra.facts import ColumnFacts, IndexFacts, TableFacts
from backends.cassandra.pushdown import NativeScan, plan_scan
from catalog.model import Column, Table
from core import expr as ir
from core.expr import Expr
from engine.exactness import judge_for
from engine.predicates import PlacedTable
from engine.scans import list_scans

GOLDEN = Path(__file__).parents[3] / "golden" / "pushdown" / "cassandra.txt"


def _facts(
    name: str, columns: str, indexes: tuple[IndexFacts, ...] = (), *, is_view: bool = False
) -> TableFacts:
    """`name type role;…` with roles pk, ck, ckd (descending), st and nothing."""
    roles = {"pk": "partition_key", "ck": "clustering", "ckd": "clustering", "st": "static"}
    made = []
    for part in columns.split(";"):
        column, cql, *role = part.split()
        word = role[0] if role else ""
        made.append(ColumnFacts(column, cql, roles.get(word, "regular"), word == "ckd"))  # type: ignore[arg-type]
    return TableFacts(
        "shop",
        name,
        tuple(made),
        tuple(each for each in made if each.role == "partition_key"),
        tuple(each for each in made if each.role == "clustering"),
        indexes,
        is_view,
    )


READINGS = _facts(
    "readings",
    "sensor int pk;day date pk;at timestamp ckd;seq int ckd;value double;note text;ok boolean;"
    "size decimal;tags set<text>;unit text st",
)
USERS = _facts(
    "users",
    "id uuid pk;name text;age int;born date;email text;score double;big bigint",
    (
        IndexFacts("users_name", "name", "sai"),
        IndexFacts("users_age", "age", "sai"),
        IndexFacts("users_email", "email", "secondary"),
    ),
)
WORDS = _facts("words", "lang text pk;word text ck;rank varint ck;ratio double")
FLOATS = _facts("floats", "id double pk;at double ck;code timeuuid ck")
ALL = {each.name: each for each in (READINGS, USERS, WORDS, FLOATS)}


def _table(number: int, facts: TableFacts) -> Table:
    columns = [
        replace(column, id=number * 100 + column.id) for column in schema.describe(facts).columns
    ]
    return Table(
        number,
        facts.name,
        "foreign",
        tuple(columns),
        instance="c",
        native=("shop", facts.name),
    )


TABLES = {name: _table(i, facts) for i, (name, facts) in enumerate(ALL.items(), 1)}
NAMES = {column.id: column.name for table in TABLES.values() for column in table.columns}
PARAMETERS = {1: "integer", 2: "integer[]", 3: "text"}
VALUES = {1: "7", 2: "{1,2,NULL,2}", 3: None}


def _resolve(schema_name: str, name: str) -> PlacedTable | None:
    found = TABLES.get(name) if schema_name in ("", "public") else None
    return None if found is None else PlacedTable(found, 2, "cassandra")


def _plans(statement: str) -> list[str]:
    lines = []
    filtering = statement.endswith("-- allow_filtering")
    for scan in list_scans(parse_sql(statement)[0], _resolve, PARAMETERS):
        facts = ALL[scan.placed.table.name]
        plan = plan_scan(scan.placed.table, scan.ask(VALUES), facts, allow_filtering=filtering)
        lines.append(f"  native   {plan.native}")
        if plan.taken is not None:
            lines.append(f"  taken    {ir.to_text(plan.taken, NAMES)}")
        if plan.residual is not None:
            lines.append(f"  residual {ir.to_text(plan.residual, NAMES)}")
        if plan.order_exact:
            lines.append("  ordered")
        lines += [f"  notice   {notice}" for notice in plan.notices]
        lines += [f"  kept     {reason}" for reason in scan.reasons + plan.reasons]
    return lines


# R0.5, R1.7: what each scan takes and what is left, as reviewed
def test_golden() -> None:
    text = GOLDEN.read_text()
    statements = [line for line in text.splitlines() if line and not line.startswith("  ")]
    made = "\n\n".join("\n".join([each, *_plans(each)]) for each in statements) + "\n"
    if os.environ.get("MORPH_UPDATE_GOLDEN"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


def _column(table: str, name: str) -> Column:
    found = TABLES[table].column(name)
    assert found is not None
    return found


def _ref(table: str, name: str) -> ir.ColumnRef:
    column = _column(table, name)
    return ir.ColumnRef(column.id, ir.base_type(column.type))


def _equals(table: str, name: str, kind: str, text: str | None) -> Expr:
    return ir.Compare("=", _ref(table, name), ir.Literal(kind, text))


def _ask(table: str, predicate: Expr | None = None, **more: object) -> ScanAsk:
    first = TABLES[table].columns[0].id
    return ScanAsk(2, (first,), predicate, judge=judge_for("cassandra"), **more)  # type: ignore[arg-type]


def _native(table: str, ask: ScanAsk) -> NativeScan:
    native = plan_scan(TABLES[table], ask, ALL[table]).native
    assert isinstance(native, NativeScan)
    return native


# R0.5: a store that is not told what is exact takes nothing
def test_without_a_judge_nothing_is_taken() -> None:
    predicate = _equals("words", "lang", "text", "en")
    ask = ScanAsk(2, (), predicate, 3, (OrderKey(_column("words", "word").id),))
    plan = plan_scan(TABLES["words"], ask, WORDS)
    assert plan.taken is None
    assert plan.residual == predicate
    assert not plan.limit_exact
    assert not plan.order_exact


# R0.5: a literal the key can never be equal to makes no request at all
@pytest.mark.parametrize(
    ("table", "column", "kind", "text"),
    [
        ("readings", "sensor", "bigint", "99999999999"),
        ("readings", "sensor", "integer", None),
        ("words", "lang", "text", ""),
        ("words", "lang", "text", "x" * 70_000),
        ("readings", "at", "timestamp with time zone", "2024-01-01 00:00:00.0001+00"),
        ("floats", "code", "uuid", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
        ("words", "rank", "numeric", "1.5"),
    ],
)
def test_impossible_equality_is_empty(table: str, column: str, kind: str, text: str | None) -> None:
    plan = plan_scan(TABLES[table], _ask(table, _equals(table, column, kind, text)), ALL[table])
    assert isinstance(plan.native, NativeScan)
    assert plan.native.access == "empty"
    assert plan.residual is None


# R0.5: PostgreSQL's two zeros are equal; Cassandra keeps them as two keys and orders them
def test_both_zeros() -> None:
    key = _equals("floats", "id", "double precision", "0")
    assert [str(each[0]) for each in _native("floats", _ask("floats", key)).binds] == [
        "0.0",
        "-0.0",
    ]
    for op, bound in (("<", -0.0), ("<=", 0.0), (">", 0.0), (">=", -0.0)):
        compare = ir.Compare(op, _ref("floats", "at"), ir.Literal("double precision", "0"))
        one = _equals("floats", "id", "double precision", "1")
        native = _native("floats", _ask("floats", ir.And((one, compare))))
        assert str(native.binds[0][1]) == str(bound), op


# R0.5: rows whose value PostgreSQL cannot hold do not meet a range, so they are dropped
def test_range_over_a_type_with_misfits_is_strict() -> None:
    one = _equals("words", "lang", "text", "en")
    above = ir.Compare(">", _ref("words", "word"), ir.Literal("text", "a"))
    native = _native("words", _ask("words", ir.And((one, above)), limit=5))
    assert native.selected == ("lang", "word")
    assert native.strict == (1,)
    assert native.shown == 1
    assert native.limit == 5


# R0.5: what may raise is taken in full or not at all
def test_whole() -> None:
    one = _equals("words", "lang", "text", "en")
    other = _equals("words", "ratio", "double precision", "1")
    plan = plan_scan(TABLES["words"], _ask("words", ir.And((one, other)), whole=True), WORDS)
    assert plan.taken is None
    assert plan.residual == ir.And((one, other))


# R0.5: nothing is planned for a table that is not known yet, and nothing is lost
def test_unknown_table_is_planned_later() -> None:
    predicate = _equals("words", "lang", "text", "en")
    plan = plan_scan(TABLES["words"], _ask("words", predicate, limit=1), None)
    assert plan.residual == predicate
    assert not plan.limit_exact
    assert isinstance(plan.native, NativeScan)
    assert not plan.native.known


# R0.5: rewrites that this store does not know are left
def test_unknown_rewrite_is_left() -> None:
    predicate = _equals("words", "lang", "text", "en")
    ask = replace(_ask("words", predicate), judge=lambda _: ExactWithRewrite("fold"))
    plan = plan_scan(TABLES["words"], ask, WORDS)
    assert plan.residual == predicate
    assert plan.reasons == ("Cassandra has no rewrite fold",)


# R0.5: forms CQL does not have stay, even when a judge calls them exact
@pytest.mark.parametrize(
    "predicate",
    [
        ir.Compare("<>", _ref("words", "lang"), ir.Literal("text", "a")),
        ir.Compare("=", _ref("words", "lang"), ir.Param(1, "text")),
        ir.Compare("=", ir.ColumnRef(999, "text"), ir.Literal("text", "a")),
        ir.Or((_equals("words", "lang", "text", "a"), _equals("words", "lang", "text", "b"))),
        ir.Not(_equals("words", "lang", "text", "a")),
        ir.IsNull(_ref("words", "lang")),
        ir.Compare("=", _ref("readings", "size"), ir.Literal("numeric", "1")),
        ir.Compare("<", _ref("floats", "code"), ir.Literal("uuid", "0" * 32)),
        ir.Compare("=", _ref("floats", "id"), ir.Literal("double precision", "NaN")),
        _equals("readings", "size", "bigint", "x"),
        _equals("readings", "size", "bigint", "0x10"),
        _equals("readings", "size", "bigint", "1_0"),
        ir.Compare(">", _ref("words", "rank"), ir.Literal("numeric", "x")),
        ir.In(_ref("words", "lang"), (ir.Literal("text[]", "{a"),), spread=True),
        ir.Compare("=", _ref("readings", "day"), ir.Literal("date", "tomorrow")),
        ir.Compare("=", _ref("readings", "day"), ir.Literal("date", "2024-02-30")),
        ir.Like(_ref("words", "word"), ir.Literal("text", "%a")),
        ir.Like(_ref("words", "word"), ir.Literal("text", "a_%")),
        ir.Like(_ref("words", "word"), ir.Literal("text", "a%"), insensitive=True),
        ir.Like(_ref("words", "word"), ir.Literal("text", "a\\")),
    ],
)
def test_what_cql_does_not_have_is_left(predicate: Expr) -> None:
    [name] = [
        table
        for table in TABLES
        if {c.id for c in TABLES[table].columns} & ir.column_ids(predicate)
    ] or ["words"]
    ask = replace(_ask(name, predicate), judge=lambda _: EXACT)
    plan = plan_scan(TABLES[name], ask, ALL[name])
    assert plan.residual == predicate
    assert plan.taken is None


# R0.5: a column shown as another type is not compared in the store
def test_other_declared_type_is_left() -> None:
    column = replace(_column("words", "word"), type="character varying(3)")
    table = TABLES["words"].with_column(column)
    predicate = ir.Compare(
        "=", ir.ColumnRef(column.id, "character varying(3)"), ir.Literal("text", "a")
    )
    plan = plan_scan(table, replace(_ask("words", predicate), judge=lambda _: EXACT), WORDS)
    assert plan.residual == predicate


def _grouping(*aggregates: tuple[str, Expr | None, str]) -> Grouping:
    return Grouping((), tuple(Aggregate(*each) for each in aggregates))


# R0.5: native aggregates only over named partitions, and only where every value fits
def test_aggregates() -> None:
    keys = ir.And(
        (
            ir.In(_ref("readings", "sensor"), (ir.Literal("integer", "1"),)),
            _equals("readings", "day", "date", "2024-01-01"),
        )
    )
    sequence = _ref("readings", "seq")
    wanted = _grouping(("count", None, "bigint"), ("max", sequence, "integer"))
    plan = plan_scan(TABLES["readings"], _ask("readings", keys, grouping=wanted), READINGS)
    assert plan.grouped
    assert plan.types == ("bigint", "integer")
    assert str(plan.native).startswith('SELECT count(*), max("seq") FROM "shop"."readings" WHERE')
    for predicate, grouping in (
        (None, wanted),
        (keys, _grouping(("count", _ref("readings", "note"), "bigint"))),
        (keys, _grouping(("sum", sequence, "bigint"))),
        (keys, _grouping(("max", _ref("readings", "at"), "timestamp with time zone"))),
        (keys, Grouping((sequence,), wanted.aggregates)),
    ):
        plan = plan_scan(
            TABLES["readings"], _ask("readings", predicate, grouping=grouping), READINGS
        )
        assert not plan.grouped


# R0.5: more keys than the limit are not looked up one by one
def test_too_many_keys_are_scanned() -> None:
    items = tuple(ir.Literal("integer", str(i)) for i in range(200))
    days = tuple(ir.Literal("date", f"2024-01-{i:02}") for i in range(1, 32))
    some = ir.And((ir.In(_ref("readings", "sensor"), items), ir.In(_ref("readings", "day"), days)))
    assert _native("readings", _ask("readings", some)).access == "keys"
    more = tuple(ir.Literal("integer", str(i)) for i in range(400))
    many = ir.And((ir.In(_ref("readings", "sensor"), more), ir.In(_ref("readings", "day"), days)))
    plan = plan_scan(TABLES["readings"], _ask("readings", many), READINGS)
    assert str(plan.native).endswith('token("sensor", "day") <= ?')
    assert plan.residual is not None
