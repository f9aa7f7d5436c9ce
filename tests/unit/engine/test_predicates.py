"""Conditions of clients as IR, and the reasons why not (R0.3, R0.5)."""

from __future__ import annotations

import pytest
from pglast import parse_sql

from catalog.model import Column, DocPath, Seed, Stored, Table
from core import expr as ir
from engine import predicates
from engine.predicates import NameScope, PlacedTable, Pushable, Refused, split_conjuncts, translate


def _table(number: int, table_name: str, /, **columns: str) -> PlacedTable:
    made = tuple(
        Column(number * 100 + i, column, kind.replace("_", " "), DocPath((column,)))
        for i, (column, kind) in enumerate(columns.items())
    )
    return PlacedTable(Table(number, table_name, "table", made, f"t{number}", True), 2)


ORDERS = _table(
    1,
    "orders",
    id="bigint",
    qty="integer",
    name="text",
    sku="character_varying(20)",
    code="character(3)",
    price="numeric(10,2)",
    day="date",
    at="timestamp_with_time_zone",
    doc="jsonb",
    paid="boolean",
    ratio="real",
    weight="double_precision",
    mood="mood",
    tags="text[]",
    span="interval",
)
LINES = _table(2, "lines", id="bigint", amount="integer")
PARAMETERS = {1: "integer", 2: "integer[]", 3: "text[]", 4: "numeric(10,2)"}
NAMES = {c.id: c.name for c in ORDERS.table.columns} | {
    c.id: f"l.{c.name}" for c in LINES.table.columns
}
SCOPE = NameScope({"o": ORDERS, "l": LINES}, PARAMETERS)


def _translate(text: str, scope: NameScope = SCOPE) -> Pushable | Refused:
    return translate(parse_sql(f"SELECT WHERE {text}")[0].stmt.whereClause, scope)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("qty > 5", "qty > 5"),
        ("o.qty = -5", "qty = -5"),
        ("qty = '5'", "qty = 5"),
        ("5 < qty", "5 < qty"),
        ("qty != 1.5", "qty <> '1.5'::numeric"),
        ("o.id = 2147483648", "o.id = '2147483648'::bigint"),
        ("o.id = -9223372036854775808", "o.id = '-9223372036854775808'::bigint"),
        ("price > 9223372036854775808", "price > '9223372036854775808'::numeric"),
        ("weight < 1e3", "weight < '1e3'::numeric"),
        ("name = 'it''s'", "name = 'it''s'::text"),
        ("sku = 'a'", "sku = 'a'::character varying"),
        ("code = 'a '", "code = 'a '::bpchar"),
        ("price = '1.5'", "price = '1.5'::numeric"),
        ("price = '1.555'::numeric(10,1)", "price = '1.555'::numeric(10,1)"),
        ("day < '2024-01-01'", "day < '2024-01-01'::date"),
        ("day < date '2024-01-01'", "day < '2024-01-01'::date"),
        ("day = 'infinity'", "day = 'infinity'::date"),
        ("at >= '2024-01-01 10:00:00.5+02'", None),
        ("paid", "paid"),
        ("NOT paid", "not paid"),
        ("paid = 'yes'", "paid = true"),
        ("paid IS NOT FALSE", "paid is distinct from false"),
        ("paid IS UNKNOWN", "paid is null"),
        ("name IS NOT NULL", "not (name is null)"),
        ("qty IS DISTINCT FROM NULL", "qty is distinct from null::integer"),
        ("qty BETWEEN 1 AND 2", "(qty >= 1) and (qty <= 2)"),
        ("qty NOT BETWEEN 1 AND 2", "(qty < 1) or (qty > 2)"),
        ("qty IN (1, '2', NULL)", "qty in (1, 2, null::integer)"),
        ("qty NOT IN (1)", "not (qty in (1))"),
        ("qty = ANY ($2)", "qty = any $2::integer[]"),
        ("o.id = ANY ($2)", "o.id = any $2::integer[]"),
        ("sku = ANY ($3)", "sku = any $3::text[]"),
        ("qty <> ALL ('{1,2}')", "not (qty = any '{1,2}'::integer[])"),
        ("name = ANY (ARRAY['a', 'b'])", "name in ('a'::text, 'b'::text)"),
        ("qty = $1", "qty = $1::integer"),
        ("qty = $1::int", "qty = $1::integer"),
        ("price > $4", "price > $4::numeric"),
        ("name LIKE 'a%'", "name like 'a%'::text"),
        ("name NOT LIKE 'a!%' ESCAPE '!'", "not (name like 'a!%'::text escape '!')"),
        ("sku ILIKE '_'", "sku ilike '_'::text"),
        ("name ~ '^a'", "name ~ '^a'::text"),
        ("doc -> 'a' ->> 'b' = 'x'", "doc->'a'->>'b' = 'x'::text"),
        ("doc @> '{\"a\": 1}'", "doc @> '{\"a\": 1}'::jsonb"),
        ("doc ? 'k'", "doc ? 'k'::text"),
        ("qty + 1 = 2", "(qty + 1) = 2"),
        ("-qty = 2", "(-qty) = 2"),
        ("name || 'x' = 'ax'", "(name || 'x'::text) = 'ax'::text"),
        ("lower(name) = 'a'", "lower(name) = 'a'::text"),
        ("pg_catalog.length(sku) = 1", "length(sku) = 1"),
        ("substring(name FROM 1 FOR 2) = 'a'", "substring(name, 1, 2) = 'a'::text"),
        ("trim(name) = 'a'", "btrim(name) = 'a'::text"),
        ("position('a' IN name) = 1", "position(name, 'a'::text) = 1"),
        ("extract(year FROM at) = 2024", "extract('year'::text, at) = 2024"),
        ("date_trunc('day', at) = '2024-01-01'", None),
        ("coalesce(name, '') = ''", "coalesce(name, ''::text) = ''::text"),
        ("nullif(qty, 0) = 1", "nullif(qty, 0) = 1"),
        ("greatest(qty, 1) = 1", "greatest(qty, 1) = 1"),
        ("CASE WHEN paid THEN 1 ELSE qty END = 1", "case when paid then 1 else qty end = 1"),
        ("CASE qty WHEN 1 THEN 'a' ELSE name END = 'a'", None),
        ("qty::bigint = 1", "cast(qty as bigint) = 1"),
        ("qty::int = 1", "qty = 1"),
        ("CAST(name AS varchar(3)) = 'a'", None),
        ("qty = 1 OR (paid AND name = 'a')", "(qty = 1) or (paid and (name = 'a'::text))"),
        ("amount = 1", "l.amount = 1"),
    ],
)
def test_pushed(text: str, shown: str | None) -> None:
    verdict = _translate(text)
    assert isinstance(verdict, Pushable), verdict
    if shown is not None:
        assert ir.to_text(verdict.expr, NAMES).replace("o.id", "id") == shown.replace("o.id", "id")
    assert ir.check_depth(verdict.expr) is verdict.expr


# R0.5: whatever is not proven stays in the statement, with the reason for EXPLAIN
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo(name)", "function foo is not in the exactness table"),
        ("my.lower(name) = 'a'", "function my.lower is not PostgreSQL's own"),
        ("lower(qty) = 'a'", "function lower(integer) is not in the exactness table"),
        ("qty = amount", "refers to two tables"),
        ("id = 1", "id is in two tables"),
        ("1 = 1", "refers to no store table"),
        ("false", "refers to no store table"),
        ("EXISTS (SELECT 1)", "sub-select"),
        ("qty IN (SELECT 1)", "sub-select"),
        ("nobody = 1", "nobody is not a column of a store table at this level"),
        ("x.qty = 1", "x.qty is not a column of a store table at this level"),
        ("public.orders.qty = 1", "public.orders.qty is not a column"),
        ("o.nobody = 1", "o.nobody is not a column"),
        ("o.* IS NULL", "whole-row reference"),
        ("(qty, amount) = (1, 2)", "row comparison"),
        ("tags[1] = 'a'", "subscript"),
        ("tags = '{a}'", "text[]"),
        ("mood = 'happy'", "mood"),
        ("name COLLATE \"C\" = 'a'", "collation"),
        ("day = current_date", "value of the session or the clock"),
        ("at > now()", "function now is not in the exactness table"),
        ("day = 'today'", "not in ISO form"),
        ("day = '1/2/2020'", "not in ISO form"),
        ("day = ANY ('{today}')", "literal array of dates"),
        ("qty IN (1, 2.5)", "several types"),
        ("qty IN ('1', 2.5)", "several types"),
        ("ratio IN (1.1)", "predicate in(real, numeric) is not in the exactness table"),
        ("code = ANY (ARRAY['a '])", "ANY over items of another type"),
        ("qty < ANY ($2)", "operator < over an array"),
        ("qty = ANY (tags)", "ANY of something else"),
        ("doc -> 0 = '1'", "operator ->"),
        ("doc -> name = '1'", "operator ->"),
        ("qty = $9", "the type of parameter $9 is not known"),
        ("qty = 0x10_0000_0000", "number with underscores or a base"),
        ("paid = 'maybe'", "literal 'maybe'"),
        ("name LIKE 'a' ESCAPE 'ab'", "ESCAPE that is not one character"),
        ("name SIMILAR TO 'a'", "SIMILAR is not pushed down"),
        ("name OPERATOR(my.=) 'a'", "operator my.= is not PostgreSQL's own"),
        ("day + 'x' = day", "not in ISO form"),
        ("span = span::interval(3)", "cast to a type"),
        ("mood::text = 'a'", "mood"),
        ("CASE WHEN paid THEN 1 ELSE 1.5 END = qty", "CASE over several types"),
        ("coalesce(qty, 1.5) = 1", "coalesce over several types"),
        ("date_trunc(name, at) = at", "unit that is not one of its constants"),
        ("round(weight, 2) = 1", "function round(double precision, integer)"),
        ("lower(name) FILTER (WHERE true) = 'a'", "called as an aggregate"),
        ("qty", "is not a boolean expression"),
        ("qty AND paid", "is not a boolean expression"),
        ("@ qty = 1", "operator @ is not pushed down"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    verdict = _translate(text)
    assert isinstance(verdict, Refused), verdict
    assert reason in verdict.reason


# R0.5: a name that the session's search_path gives another meaning is not taken
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lower(name) = 'a'", "lower"),
        ("qty = 1", "="),
        ("qty BETWEEN 1 AND 2", "<="),
        ("qty::bigint = 1", "int8"),
        ("name = 'a'::text", "text"),
        ("CASE qty WHEN 1 THEN true END", "="),
        ("name LIKE 'a'", "~~"),
    ],
)
def test_shadowed_names(text: str, name: str) -> None:
    assert isinstance(_translate(text), Pushable)
    scope = NameScope({"o": ORDERS}, PARAMETERS, shadowed=frozenset((name,)))
    verdict = _translate(text, scope)
    # int8 is spelled bigint by the grammar, which is pg_catalog's whatever the path says.
    assert isinstance(verdict, Pushable if name == "int8" else Refused)


def test_merged_and_natural_names() -> None:
    merged = NameScope({"o": ORDERS}, merged=frozenset(("qty",)))
    assert _translate("qty = 1", merged) == Refused("qty is merged by a join")
    assert isinstance(_translate("o.qty = 1", merged), Pushable)
    assert isinstance(_translate("paid", NameScope({"o": ORDERS}, natural=True)), Refused)


def test_may_raise_is_told() -> None:
    verdicts = [_translate(text) for text in ("qty = 1", "qty / 2 = 1", "name LIKE 'a\\'")]
    assert [v.may_raise for v in verdicts if isinstance(v, Pushable)] == [False, True, True]


# R3.2: a generator may raise, so a virtual column counts as such
def test_seeds_may_raise() -> None:
    column = Column(1, "risk", "integer", Seed("1 / qty"))
    table = Table(9, "t", "table", (column, Column(2, "k", "integer", Stored("k", "integer"))))
    verdict = _translate("risk = 1", NameScope({"t": PlacedTable(table, 1)}))
    assert isinstance(verdict, Pushable)
    assert verdict.may_raise


# R1.7: another store has entries of its own
def test_a_backend_without_entries_takes_nothing() -> None:
    scope = NameScope({"o": PlacedTable(ORDERS.table, 1, "trino")})
    verdict = _translate("qty = 1", scope)
    assert isinstance(verdict, Refused)
    assert verdict.reason.endswith("not proven exact for trino")


# R0.1: depth and size have limits, and no recursion goes further
def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nested deeper" in str(_translate("NOT " * 60 + "paid"))
    assert "nested deeper" in str(_translate("qty" + " + 1" * 1000 + " = 1"))
    monkeypatch.setattr(predicates, "ITEMS_MAX", 3)
    assert "more than 3 items" in str(_translate("qty IN (1, 2, 3, 4)"))
    assert "more than 3 items" in str(_translate("qty = ANY (ARRAY[1, 2, 3, 4])"))


def test_conjuncts_are_split() -> None:
    where = parse_sql("SELECT WHERE a AND (b AND c) AND (d OR e)")[0].stmt.whereClause
    assert len(split_conjuncts(where)) == 4
    assert split_conjuncts(None) == ()
