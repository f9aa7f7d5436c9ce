"""Every entry of the exactness table, run on PostgreSQL and compared (R0.5, R1.7, DESIGN 4).

Generated from the table. For each entry the SQL that a client would write for it is put over
boundary values of its argument types: every value of one type against every value of the other.
PostgreSQL evaluates that text over plain typed columns; Morphgres parses the same text, translates
it to the IR, plans a scan, and PostgreSQL runs the native query over plain columns and over fields
of documents. Rows, values, result types and errors must be the same.
"""

# ruff: noqa: RUF005 (lists continued by + keep several values on a line)
from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal

import asyncpg
import pytest
import pytest_asyncio
from pglast import parse_sql

from backends.base import EXACT, Exact, ExactWithRewrite, OrderKey, ScanAsk
from backends.embedded.pushdown import plan_scan, render
from backends.sql import rendering
from catalog.model import Column, DocPath, Stored, Table
from catalog.readers import extract
from catalog.sqltext import quote_ident, quote_literal
from core import expr as ir
from core.expr import Expr, base_type
from engine.exactness import TABLE, TYPES, Entry, ExactnessTable, judge_for
from engine.predicates import NameScope, PlacedTable, Pushable, translate
from engine.scans import list_scans

WIDTH = 13
"""Values per type, NULL among them; shorter lists are repeated."""

VALUES: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["0", "1", "-1", "7", "-32768", "32767"],
    "int4": ["0", "1", "-1", "7", "-2147483648", "2147483647", "32768", "3", "5"],
    "int8": ["0", "1", "-1", "7", "-9223372036854775808", "9223372036854775807", "2147483648"],
    "numeric": ["0", "1", "-1.50", "1.5", "0.1", "2.5", "NaN", "Infinity", "-Infinity"]
    + ["9223372036854775807.0001", "1e-30", "123456789012345678901234567890.5"],
    "float4": ["0", "1", "-1.5", "0.1", "NaN", "Infinity", "-Infinity", "3.4028235e38", "1e-45"],
    "float8": ["0", "1", "-1.5", "0.1", "2.5", "NaN", "Infinity", "-Infinity"]
    + ["1.7976931348623157e308", "5e-324", "9007199254740993"],
    "text": ["", " ", "a", "A", "abc", "äöü ß", "日本語", "a_c%", "back\\slash", "1.5 ", "12"]
    + ["2024-02-29", "true\n"],
    "varchar": ["", " ", "a", "A", "abc", "É😀", "a\\", "%", "{a,b}", "NaN", "-7", "it's"],
    "bpchar": ["", " ", "a", "a ", "A", "ab", "abcde", "é", "%", "_b"],
    "date": ["2024-02-29", "1970-01-01", "infinity", "-infinity", "0044-03-15 BC", "4713-01-01 BC"]
    + ["5874897-12-31", "2000-01-01", "2024-12-31"],
    "timestamp": ["2024-02-29 23:59:59.999999", "1970-01-01 00:00:00", "infinity", "-infinity"]
    + ["4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "2000-01-01 00:00:00"]
    + ["2024-12-30 00:00:00", "1999-12-31 12:00:00.5"],
    "timestamptz": ["2024-02-29 23:59:59.999999+00", "1970-01-01 00:00:00+14", "infinity"]
    + ["-infinity", "4713-01-02 00:00:00+00 BC", "294276-12-30 23:59:59+00"]
    + ["2000-01-01 00:00:00+00", "2024-03-31 01:30:00+01", "2024-10-27 02:30:00+01"],
    "time": ["00:00:00", "24:00:00", "12:34:56.789012", "23:59:59.999999"],
    "timetz": ["00:00:00+00", "24:00:00-15:59", "12:00:00+02", "11:00:00+01", "10:00:00+00"],
    "interval": ["0", "1 day", "24 hours", "1 mon", "30 days", "-1 mon +2 days -03:00:00.5"]
    + ["178000000 years", "infinity", "-infinity"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
    + ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "bytea": ["", "\\x00", "\\xff", "\\x6100", "\\xdeadbeef"],
    "jsonb": ["1", "1.0", '"a"', "[]", "{}", '{"a": 1, "b": null}', '{"b": null, "a": 1}']
    + ['{"a": {"b": [1, 2]}}', "[1, 2]", "true", '["a"]', '{"a": "日"}'],
}
"""Short type name → boundary values in text form; NULL is added to each."""

SQL_TYPES = {**TYPES, "varchar": "character varying(20)", "bpchar": "character(5)"}
SHORT = {name: short for short, name in TYPES.items()}
UNITS = ("microseconds", "second", "hour", "day", "week", "month", "quarter", "year", "century")
FIELDS = ("year", "month", "day", "hour", "second", "dow", "isoyear", "week", "epoch", "millennium")


def _value(short: str, index: int) -> str | None:
    values = [None, *VALUES[short]]
    assert len(values) <= WIDTH + 1, short
    return values[index % len(values)]


def _columns() -> list[tuple[str, str]]:
    """(name, short type): a and b are crossed, c is the third argument of functions."""
    crossed = [(f"{letter}_{short}", short) for short in TYPES for letter in "ab"]
    return [*crossed, ("c_int4", "int4"), ("c_text", "text")]


def _row(number: int) -> list[str | None]:
    width = WIDTH + 1
    index = {"a": number % width, "b": number // width, "c": number * 5 + 1}
    return [_value(short, index[name[0]]) for name, short in _columns()]


COLUMN_IDS = {name: 10 + i for i, (name, _) in enumerate(_columns())}


def _table(name: str) -> Table:
    columns = [Column(1, "id", "integer", Stored("id", "integer"))]
    columns += [
        Column(COLUMN_IDS[each], each, SQL_TYPES[short], DocPath((each,)))
        for each, short in _columns()
    ]
    return Table(5, name, "table", tuple(columns), "t5", True)


PLAIN, DOCS = _table("plain"), _table("docs")
RELATIONS = (PLAIN, DOCS)
NAMES = {column.id: quote_ident(column.name) for column in PLAIN.columns}


def _json_form(name: str, short: str) -> str:
    """How the value lies in a document (the forms of catalog/readers.py)."""
    column = quote_ident(name)
    if short == "bytea":
        inner = f"jsonb_build_object('base64', encode({column}, 'base64'))"
        form = f"jsonb_build_object('$binary', {inner})"
    elif short in ("timestamptz", "uuid"):
        key = {"timestamptz": "$date", "uuid": "$uuid"}[short]
        form = f"jsonb_build_object('{key}', {column})"
    else:
        form = f"to_jsonb({column})"
    return f"CASE WHEN {column} IS NOT NULL THEN {form} END"


ATTEMPT = """
CREATE FUNCTION attempt(relation text, expression text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  answers text[] := '{}';
  answer text;
  row_count int;
BEGIN
  EXECUTE format('SELECT count(*) FROM %s', relation) INTO row_count;
  BEGIN
    EXECUTE format('SELECT array_agg((%s)::text ORDER BY id) FROM %s', expression, relation)
      INTO answers;
    RETURN answers;
  EXCEPTION WHEN OTHERS THEN
    answers := '{}';
  END;
  FOR number IN 0 .. row_count - 1 LOOP
    BEGIN
      EXECUTE format('SELECT (%s)::text FROM %s WHERE id = $1', expression, relation)
        INTO answer USING number;
    EXCEPTION WHEN OTHERS THEN
      answer := 'error ' || SQLSTATE;
    END;
    answers := answers || answer;
  END LOOP;
  RETURN answers;
END $$
"""
"""The value for every row, an error as its SQLSTATE; row by row only where something raises."""


@pytest_asyncio.fixture(scope="module")
async def oracle(pg18_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(pg18_dsn, statement_cache_size=0)
    # A transaction that is rolled back keeps the scratch database clean for other tests.
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SET LOCAL timezone = 'Europe/Berlin'")
    await connection.execute("CREATE SCHEMA morph_v1")
    columns = ", ".join(f"{name} {SQL_TYPES[short]}" for name, short in _columns())
    await connection.execute(f"CREATE TABLE plain (id int PRIMARY KEY, {columns})")
    slots = ", ".join(
        f"${i}::text::{SQL_TYPES[short]}" for i, (_, short) in enumerate(_columns(), 2)
    )
    rows = [(number, *_row(number)) for number in range((WIDTH + 1) ** 2)]
    await connection.executemany(f"INSERT INTO plain VALUES ($1, {slots})", rows)
    pairs = ", ".join(f"('{name}', {_json_form(name, short)})" for name, short in _columns())
    await connection.execute(
        "CREATE TABLE store AS SELECT id, (SELECT jsonb_object_agg(key, value) "
        f"FILTER (WHERE value IS NOT NULL) FROM (VALUES {pairs}) AS f(key, value)) AS _doc "
        "FROM plain; ALTER TABLE store ADD PRIMARY KEY (id)"
    )
    fields = ", ".join(
        f"{extract('t._doc', (name,), SQL_TYPES[short], clean=True)} AS {name}"
        for name, short in _columns()
    )
    await connection.execute(f"CREATE VIEW morph_v1.docs AS SELECT id, {fields} FROM store t")
    await connection.execute("CREATE VIEW morph_v1.plain AS SELECT * FROM plain")
    await connection.execute(ATTEMPT)
    yield connection
    await transaction.rollback()
    await connection.close()


# From an entry to the SQL that a client writes for it


def _operands(entry: Entry) -> list[str]:
    letters = "abc" if len(entry.arguments) > 2 else "ab"
    types = [SHORT[each] for each in entry.arguments]
    names = [f"{letter}_{short}" for letter, short in zip(letters, types, strict=False)]
    return [name if name in COLUMN_IDS else f"b_{name[2:]}" for name in names]


def client_texts(entry: Entry) -> list[str]:
    """SQL over the columns of `plain` that stands on the entry."""
    names = _operands(entry)
    if entry.kind == "operator":
        return _operator_texts(entry, names)
    if entry.kind == "predicate":
        return _predicate_texts(entry, names)
    if entry.kind == "cast":
        return [f"CAST({names[0]} AS {entry.name})"]
    assert entry.kind == "function"
    if entry.name in ("date_trunc", "date_part", "extract"):
        words = UNITS if entry.name == "date_trunc" else FIELDS
        if entry.arguments[1] == "date":
            words = tuple(word for word in words if word not in ("hour", "second"))
        if entry.name == "extract":
            return [f"extract({word} FROM {names[1]})" for word in words]
        return [f"{entry.name}('{word}', {names[1]})" for word in words]
    if entry.name == "position":
        return [f"position({names[1]} IN {names[0]})"]
    return [f"{entry.name}({', '.join(names)})"]


def _operator_texts(entry: Entry, names: list[str]) -> list[str]:
    if entry.name in ("->", "->>"):
        return [f"{names[0]} {entry.name} {key}" for key in ("'a'", "'b'", "''", "'0'")]
    if len(names) == 1:
        return [f"{entry.name} {names[0]}"]
    return [f"{names[0]} {entry.name} {names[1]}"]


def _predicate_texts(entry: Entry, names: list[str]) -> list[str]:
    first, second = names[0], names[-1]
    name = entry.name
    if name == "any":
        return [f"{first} = ANY ($1)", f"{first} <> ALL ($1)"]
    patterns = ("'%'", "'a%'", "'_'", "'A\\_c\\%'", "'%''%'", "''", "'Ä%'", "'%\\\\%'")
    escapes = ("'a!_%' ESCAPE '!'", "'a%' ESCAPE 'a'", "'a\\_%' ESCAPE ''")
    forms = {
        "in": [f"{first} IN ({second}, {second})", f"{first} NOT IN ({second})"],
        "is null": [f"{first} IS NULL", f"{first} IS NOT NULL"],
        "case": [f"CASE WHEN a_bool THEN {first} ELSE {second} END"],
        "like": [f"{first} {name} {right}" for right in (second, *patterns, *escapes)],
        "ilike": [f"{first} NOT {name} {right}" for right in (second, *patterns, *escapes)],
    }
    return forms.get(name, [f"{name}({first}, {second})"])


def array_text(short: str) -> str:
    """The first values of a type as the text of an array, with a NULL."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in VALUES[short][:4])
    return "{" + ",".join(f'"{value}"' for value in quoted) + ",NULL}"


class Harness:
    """Compares entries on one connection; `found` collects the disagreements."""

    def __init__(self, connection: asyncpg.Connection, table: ExactnessTable) -> None:
        self.connection = connection
        self.table = table
        self.found: list[str] = []

    def translate(self, text: str, parameters: dict[int, str]) -> Pushable | None:
        """The client's condition as the engine pushes it, or None."""
        where = parse_sql(f"SELECT FROM plain WHERE {text}")[0].stmt.whereClause
        scope = NameScope({"plain": PlacedTable(PLAIN, 1)}, parameters, exactness=self.table)
        verdict = translate(where, scope)
        return verdict if isinstance(verdict, Pushable) else None

    async def check(self, entry: Entry) -> None:
        """One entry: its texts as values with their types, and as conditions."""
        # Errors end a transaction; a savepoint keeps the one of the fixture.
        try:
            async with self.connection.transaction():
                for text in client_texts(entry):
                    await self._check_text(entry, text)
        except asyncpg.PostgresError as error:
            self.found.append(f"{entry.name}{entry.arguments}: {error.sqlstate} {error}")

    async def _check_text(self, entry: Entry, text: str) -> None:
        reference, parameters, values = text, {}, {}
        if entry.name == "any":
            short = SHORT[entry.arguments[1]]
            parameters, values = {1: f"{entry.arguments[1]}[]"}, {1: array_text(short)}
            literal = f"{quote_literal(array_text(short))}::{entry.arguments[1]}[]"
            reference = text.replace("$1", literal)
        pushed = self.translate(f"({text}) IS NOT DISTINCT FROM ({text})", parameters)
        if pushed is None or not isinstance(pushed.expr, ir.Compare):
            self.found.append(f"{text}: not taken by the engine")
            return
        expr = ir.bind(pushed.expr.left, values)
        rendered = render(expr, NAMES)
        if base_type(ir.type_of(expr)) != entry.result:
            self.found.append(f"{text}: {ir.type_of(expr)} instead of {entry.result}")
        await self._compare_values(entry, expr, reference, rendered)
        if entry.result == "boolean" and not self.table.may_raise(expr):
            await self._compare_rows(expr, reference)

    async def _compare_values(
        self, entry: Entry, expr: Expr, reference: str, rendered: str
    ) -> None:
        # Row 0 is NULL in a and b: nothing raises there.
        kind = f"(SELECT pg_typeof({rendered})::text FROM plain WHERE id = 0)"
        if self.table.may_raise(expr):
            attempts = [f"attempt('plain', {quote_literal(reference)})"]
            attempts += [
                f"attempt('morph_v1.{each.name}', {quote_literal(rendered)})" for each in RELATIONS
            ]
        else:
            attempts = [f"(SELECT array_agg(({reference})::text ORDER BY id) FROM plain)"]
            attempts += [
                f"(SELECT array_agg(({rendered})::text ORDER BY id) FROM morph_v1.{each.name})"
                for each in RELATIONS
            ]
        row = await self.connection.fetchrow(f"SELECT {kind}, {', '.join(attempts)}")
        if base_type(row[0]) != entry.result:
            self.found.append(f"{reference}: {row[0]} instead of {entry.result}")
        for relation, answers in zip(RELATIONS, row[2:], strict=True):
            if answers != row[1]:
                self.found.append(f"{reference}: other values on {relation.name}: {rendered}")

    async def _compare_rows(self, expr: Expr, reference: str) -> None:
        """True, false and unknown, through whole scans."""
        forms = [(expr, f"({reference})"), (ir.Not(expr), f"NOT ({reference})")]
        forms.append((ir.IsNull(expr), f"({reference}) IS NULL"))
        await self.compare_conditions(forms)

    async def compare_conditions(self, forms: Iterable[tuple[Expr, str]]) -> None:
        """Each (pushed expression, client's condition): the same rows."""
        checks, labels = [], []
        for expr, condition in forms:
            wanted = f"ARRAY(SELECT id FROM plain WHERE {condition} ORDER BY id)"
            for relation in RELATIONS:
                ask = ScanAsk(1, (1,), expr, judge=judge_for("embedded", self.table))
                plan = plan_scan(relation, ask)
                if plan.residual is not None:
                    self.found.append(f"{condition}: not taken: {plan.reasons}")
                checks.append(f"ARRAY({plan.native} ORDER BY 1) = {wanted}")
                labels.append(f"{condition}: other rows of {relation.name}: {plan.native}")
        if checks:
            row = await self.connection.fetchrow(f"SELECT {', '.join(checks)}")
            self.found += [label for label, same in zip(labels, row, strict=True) if not same]

    async def check_literals(self, kind: str, short: str, texts: Sequence[str]) -> int:
        """Conditions with literals; those that the engine refuses stay in the statement."""
        forms = []
        for text in texts:
            pushed = self.translate(text, {})
            if pushed is not None:
                forms.append((pushed.expr, text))
        try:
            async with self.connection.transaction():
                await self.compare_conditions(forms)
        except asyncpg.PostgresError as error:
            self.found.append(f"{kind} {short}: {error}")
        return len(forms)


def _exact(table: ExactnessTable, *kinds: str) -> list[Entry]:
    return [
        entry
        for entry in table.entries
        if entry.kind in kinds and isinstance(entry.verdicts.get("embedded"), Exact)
    ]


async def disagreements(connection: asyncpg.Connection, table: ExactnessTable) -> list[str]:
    """What PostgreSQL answers differently for the operators, functions and casts of a table."""
    harness = Harness(connection, table)
    for entry in _exact(table, "operator", "predicate", "function", "cast"):
        await harness.check(entry)
    return harness.found


# R0.5: a part of a statement is pushed only where the store's answer is PostgreSQL's
async def test_every_operator_function_and_cast(oracle: asyncpg.Connection) -> None:
    assert "\n".join(await disagreements(oracle, TABLE)) == ""


def literal_conditions(short: str) -> list[str]:
    """Conditions of a column of the type with untyped, typed and numeric literals."""
    column, name = f"a_{short}", TYPES[short]
    quoted = [quote_literal(value).strip() for value in VALUES[short]]
    texts = [f"{column} {op} {q}" for q in quoted for op in ("=", "<", ">=", "IS DISTINCT FROM")]
    texts += [f"{q} > {column}" for q in quoted]
    texts += [f"{column} = CAST({q} AS {name})" for q in quoted]
    texts += [f"{column} = {q}::{SQL_TYPES[short]}" for q in quoted]
    texts += [f"{column} IN ({', '.join(quoted)}, NULL)", f"{column} NOT IN ({quoted[0]})"]
    texts += [f"{column} BETWEEN {quoted[0]} AND {quoted[-1]}"]
    texts += [f"{column} NOT BETWEEN {quoted[-1]} AND {quoted[0]}"]
    texts += [
        f"coalesce({column}, {quoted[0]}) = {quoted[0]}",
        f"nullif({column}, {quoted[0]}) IS NULL",
    ]
    texts += [f"CASE {column} WHEN {quoted[0]} THEN 1 ELSE 2 END = 1", f"{column} = NULL"]
    texts += [f"{column} = ANY ({quote_literal(array_text(short)).strip()})"]
    texts += [f"{column} = ANY (ARRAY[{', '.join(quoted)}])"] if short == "text" else []
    if short in ("int2", "int4", "int8", "numeric", "float4", "float8"):
        for number in ("0", "-1", "1.5", "0.1", "2147483648", "1e3", "-9223372036854775808"):
            texts += [f"{column} {op} {number}" for op in ("=", "<", "<>")]
            texts.append(f"{column} IN ({number}, {number})")
        texts += [f"{column} IN (1, 1.5)", f"{column} IN (1, 2147483648)", f"{column} IN ('1', 7)"]
    return texts


# R0.5: a literal takes the type that PostgreSQL gives it
@pytest.mark.parametrize("short", list(TYPES))
async def test_literals_of_every_type(oracle: asyncpg.Connection, short: str) -> None:
    harness = Harness(oracle, TABLE)
    texts = literal_conditions(short)
    taken = await harness.check_literals("literal", short, texts)
    assert harness.found == []
    assert taken > len(texts) // 3


# R0.5: values read through the store are the values of a typed column
async def test_columns_and_typed_literals(oracle: asyncpg.Connection) -> None:
    for entry in _exact(TABLE, "value"):
        short = SHORT[entry.arguments[0]]
        column = COLUMN_IDS[f"a_{short}"]
        native = plan_scan(DOCS, ScanAsk(1, (1, column))).native
        seen = await oracle.fetch(f"SELECT id, s.a_{short}::text FROM ({native}) s ORDER BY id")
        wanted = await oracle.fetch(f"SELECT id, a_{short}::text FROM plain ORDER BY id")
        assert seen == wanted, short
        for value in (None, *VALUES[short]):
            literal = render(ir.Literal(entry.arguments[0], value), {})
            wanted_sql = "NULL" if value is None else quote_literal(value)
            type_name = "bpchar" if short == "bpchar" else entry.arguments[0]
            same = await oracle.fetchval(
                f"SELECT {literal} IS NOT DISTINCT FROM CAST({wanted_sql} AS {type_name}) "
                f"AND pg_typeof({literal}) = '{type_name}'::regtype"
            )
            assert same, literal


# R0.5: an order taken by the store is PostgreSQL's, ties broken by the next key
async def test_every_ordering(oracle: asyncpg.Connection) -> None:
    judge = judge_for("embedded")
    for entry in _exact(TABLE, "ordering"):
        name = f"a_{SHORT[entry.arguments[0]]}"
        for descending, nulls_first in ((False, False), (True, True), (False, True), (True, False)):
            order = (OrderKey(COLUMN_IDS[name], descending, nulls_first), OrderKey(1))
            plan = plan_scan(DOCS, ScanAsk(1, (1,), None, 100, order, judge))
            assert plan.order_exact, plan.reasons
            assert plan.limit_exact
            words = f"{'DESC' if descending else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}"
            wanted = f"SELECT id FROM plain ORDER BY {name} {words}, id LIMIT 100"
            assert await oracle.fetch(plan.native) == await oracle.fetch(wanted), name


# R0.5: an aggregate over fields of documents is the aggregate over a typed column
async def test_every_aggregate(oracle: asyncpg.Connection) -> None:
    for entry in _exact(TABLE, "aggregate"):
        names = [f"a_{SHORT[each]}" for each in entry.arguments]
        columns = tuple(COLUMN_IDS[name] for name in names)
        native = plan_scan(DOCS, ScanAsk(1, columns)).native
        call = f"{entry.name}({names[0] if names else '*'})"
        try:
            async with oracle.transaction():
                seen = await oracle.fetchval(f"SELECT {call}::text FROM ({native}) s")
        except asyncpg.PostgresError as error:
            seen = error.sqlstate
            assert not entry.total, call
        try:
            async with oracle.transaction():
                wanted = await oracle.fetchval(f"SELECT {call}::text FROM plain")
        except asyncpg.PostgresError as error:
            wanted = error.sqlstate
        kind = await oracle.fetchval(f"SELECT pg_typeof({call})::text FROM plain WHERE false")
        assert (seen, base_type(kind)) == (wanted, entry.result), call


WRONG = {
    "an operator said to be total that raises": Entry(
        "operator", "/", ("integer", "integer"), "integer", True, {"embedded": EXACT}
    ),
    "a result of another type": Entry(
        "function", "length", ("text",), "bigint", True, {"embedded": EXACT}
    ),
    "a function that does not exist": Entry(
        "function", "lower", ("integer",), "text", True, {"embedded": EXACT}
    ),
    "a function that is resolved to another type": Entry(
        "function", "date_trunc", ("text", "date"), "date", False, {"embedded": EXACT}
    ),
    "a comparison that PostgreSQL does not have": Entry(
        "operator", "=", ("text", "integer"), "boolean", True, {"embedded": EXACT}
    ),
}


# R0.5: the test of the test, with wrong entries
@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_entry_is_found(oracle: asyncpg.Connection, what: str) -> None:
    wrong = WRONG[what]
    key = (wrong.kind, wrong.name, wrong.arguments)
    others = [e for e in TABLE.entries if (e.kind, e.name, e.arguments) != key]
    harness = Harness(oracle, ExactnessTable([*others, wrong]))
    await harness.check(wrong)
    assert harness.found


# R0.5: the test of the test, with a wrong translation
async def test_a_wrong_native_query_is_found(
    oracle: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sloppy(expr: ir.Compare, parts: Sequence[str]) -> str:
        return f"({parts[0]} {expr.op.replace('<=', '<')} {parts[1]})"

    monkeypatch.setitem(rendering._RENDERERS, ir.Compare, sloppy)
    harness = Harness(oracle, TABLE)
    await harness.check(next(e for e in TABLE.named("operator", "<=")))
    assert harness.found


# R0.5: a rewrite that the store does not know is not taken
async def test_an_unknown_rewrite_is_left(oracle: asyncpg.Connection) -> None:
    entry = Entry(
        "function", "lower", ("text",), "text", True, {"embedded": ExactWithRewrite("fold")}
    )
    others = [e for e in TABLE.entries if (e.name, e.arguments) != ("lower", ("text",))]
    harness = Harness(oracle, ExactnessTable([*others, entry]))
    pushed = harness.translate("lower(a_text) = 'a'", {})
    assert pushed is not None
    await harness.compare_conditions([(pushed.expr, "lower(a_text) = 'a'")])
    assert any("no rewrite fold" in each for each in harness.found)


# The oracle of property tests against PostgreSQL


class Grower:
    """Random expressions over a few columns of types that `evaluate` knows."""

    def __init__(self, rng_seed: int) -> None:
        self.random = random.Random(rng_seed)

    def leaf(self, kind: str) -> Expr:
        short = SHORT[kind]
        column = ir.ColumnRef(COLUMN_IDS[f"{self.random.choice('ab')}_{short}"], SQL_TYPES[short])
        texts = [None, *(VALUES[short] if kind != "numeric" else ["0", "1.50", "-2"])]
        literal = ir.Literal(kind, self.random.choice(texts))
        return column if self.random.random() < 0.6 else literal

    def value(self, kind: str, depth: int) -> Expr:
        if depth == 0:
            return self.leaf(kind)
        forms = ["leaf", "coalesce", "nullif", "case"]
        forms += {"integer": ["arithmetic", "length"], "text": ["lower", "substr", "||"]}.get(
            kind, []
        )
        args = (self.value(kind, depth - 1), self.value(kind, depth - 1))
        match self.random.choice(forms):
            case "leaf":
                return self.leaf(kind)
            case "case":
                when = (self.condition(depth - 1), args[0])
                return ir.Case((when,), args[1], kind)
            case "arithmetic":
                return ir.Arithmetic(self.random.choice("+-*/%"), args, kind)
            case "length":
                return ir.Call("length", (self.value("text", depth - 1),), kind)
            case "lower":
                return ir.Call(self.random.choice(("lower", "upper", "reverse")), args[:1], kind)
            case "substr":
                return ir.Call("substr", (args[0], self.leaf("integer")), kind)
            case "||":
                return ir.Arithmetic("||", args, kind)
            case name:
                return ir.Call(name, args, kind)

    def condition(self, depth: int) -> Expr:
        kind = self.random.choice(("integer", "bigint", "numeric", "text", "boolean"))
        left, right = self.value(kind, max(depth - 1, 0)), self.value(kind, max(depth - 1, 0))
        forms = ["compare", "in", "null", "like"] + ["and", "or", "not"] * (depth > 0)
        match self.random.choice(forms):
            case "in":
                return ir.In(left, (right, self.leaf(kind), self.leaf(kind)))
            case "null":
                return ir.IsNull(left)
            case "like":
                pattern = ir.Literal("text", self.random.choice(("%a%", "_", "A%", "a\\_c\\%", "")))
                return ir.Like(self.value("text", 1), pattern, None, self.random.random() < 0.5)
            case "and":
                return ir.And((self.condition(depth - 1), self.condition(depth - 1)))
            case "or":
                return ir.Or((self.condition(depth - 1), self.condition(depth - 1)))
            case "not":
                return ir.Not(self.condition(depth - 1))
            case _:
                ops = (*ir.COMPARISONS, *ir.DISTINCTIONS)
                return ir.Compare(self.random.choice(ops), left, right)


def _python_rows() -> list[dict[int, object]]:
    readers = {"bool": lambda text: text == "true", "int4": int, "int8": int, "numeric": Decimal}
    rows = []
    for number in range((WIDTH + 1) ** 2):
        row: dict[int, object] = {}
        for (name, short), text in zip(_columns(), _row(number), strict=True):
            if short in ("bool", "int4", "int8", "numeric", "text"):
                row[COLUMN_IDS[name]] = None if text is None else readers.get(short, str)(text)
        rows.append(row)
    return rows


# R0.5: the evaluator that property tests trust agrees with PostgreSQL
async def test_evaluate_agrees_with_postgresql(oracle: asyncpg.Connection) -> None:
    grower, rows, compared = Grower(20), _python_rows(), 0
    for _ in range(250):
        expr = grower.condition(3)
        try:
            wanted = [ir.evaluate(expr, row) for row in rows]
        except ArithmeticError:
            continue
        sql = f"SELECT array_agg({render(expr, NAMES)} ORDER BY id) FROM morph_v1.plain"
        assert await oracle.fetchval(sql) == wanted, ir.to_text(expr)
        compared += 1
    assert compared > 150


# Whole statements: what scans leave out must not be missed


class JoinWriter:
    """Random SELECTs over three tables with NULLs: join kinds, ON and WHERE, sub-selects."""

    def __init__(self, rng_seed: int) -> None:
        self.random = random.Random(rng_seed)

    def condition(self, aliases: Sequence[str]) -> str:
        one, other = (self.random.choice(aliases) for _ in "ab")
        number = self.random.randint(-1, 3)
        forms = (
            f"{one}.n = {number}",
            f"{one}.m > {number}",
            f"{one}.n IS NULL",
            f"{one}.id IS NULL",
            f"coalesce({one}.m, 1) = 1",
            f"{one}.n IS DISTINCT FROM {number}",
            f"{one}.m IS NOT NULL",
            f"{one}.n = {other}.n",
            f"{one}.m < {other}.n",
            f"({one}.n = 1 OR {one}.m IS NULL)",
            f"coalesce({one}.n, 0) <> {number}",
            f"{one}.n IN (1, 2, {number})",
            f"EXISTS (SELECT 1 FROM three x WHERE x.n = {one}.n AND x.m > {number})",
            f"{one}.n IN (SELECT x.m FROM one x LEFT JOIN two y ON x.n = y.n AND y.m = 1 "
            f"WHERE y.n IS NULL OR x.m = {number})",
            f"NOT ({one}.n BETWEEN 0 AND {number})",
        )
        return self.random.choice(forms)

    def conditions(self, aliases: Sequence[str]) -> str:
        return " AND ".join(self.condition(aliases) for _ in range(self.random.randint(1, 2)))

    def tree(self, aliases: Sequence[str]) -> str:
        if len(aliases) == 1:
            table = self.random.choice(("one", "two", "three"))
            return f"{table} {aliases[0]}"
        cut = self.random.randint(1, len(aliases) - 1)
        left, right = self.tree(aliases[:cut]), self.tree(aliases[cut:])
        kind = self.random.choice(("JOIN", "LEFT JOIN", "RIGHT JOIN", "JOIN", "FULL JOIN"))
        # FULL JOIN takes merge- and hash-joinable conditions only.
        on = f"{aliases[0]}.n = {aliases[-1]}.n"
        if kind != "FULL JOIN":
            on += " AND " + self.conditions(aliases) if self.random.random() < 0.7 else ""
        return f"({left} {kind} {right} ON {on})"

    def statement(self) -> str:
        aliases = ["a", "b", "c", "d"][: self.random.randint(1, 4)]
        cut = self.random.randint(0, len(aliases) - 1)
        items = [self.tree(part) for part in (aliases[:cut], aliases[cut:]) if part]
        names = ", ".join(f"{alias}.n, {alias}.m" for alias in aliases)
        return f"SELECT {names} FROM {', '.join(items)} WHERE {self.conditions(aliases)}"


def _small_table(number: int, name: str) -> Table:
    columns = [
        Column(number * 10 + i, column, "integer", Stored(column, "integer"))
        for i, column in enumerate(("id", "n", "m"))
    ]
    return Table(number, name, "table", tuple(columns), f"t{number}")


SMALL = {
    name: PlacedTable(_small_table(i, name), 1) for i, name in enumerate(("one", "two", "three"), 1)
}


def over_scans(statement: str) -> tuple[str, int]:
    """The statement with every reference replaced by its native query; conjuncts taken."""
    scans = list_scans(parse_sql(statement)[0], lambda _, name: SMALL.get(name))
    taken = 0
    for scan in reversed(scans):
        plan = plan_scan(scan.placed.table, scan.ask({}))
        assert plan.residual is None
        taken += plan.taken is not None
        end = scan.location + len(scan.name)
        statement = f"{statement[: scan.location]}({plan.native}){statement[end:]}"
    return statement, taken


# R0.5, R1.7: pushdown on or off, the answer is the same (outer joins, sub-selects)
async def test_reduced_scans_give_the_same_answer(oracle: asyncpg.Connection) -> None:
    async with oracle.transaction():
        for number, name in enumerate(SMALL):
            await oracle.execute(
                f"CREATE TABLE {name} AS SELECT i AS id, nullif(i % (4 + {number}), 3) AS n, "
                f"nullif((i * 7) % (5 - {number}), 2) AS m FROM generate_series(1, 12) i; "
                f"CREATE VIEW morph_v1.{name} AS SELECT * FROM {name}"
            )
        writer, taken = JoinWriter(4), 0
        for _ in range(500):
            statement = writer.statement()
            reduced, count = over_scans(statement)
            taken += count
            same = await oracle.fetchval(
                f"SELECT NOT EXISTS (({_counted(statement)} EXCEPT {_counted(reduced)}) UNION ALL "
                f"({_counted(reduced)} EXCEPT {_counted(statement)}))"
            )
            assert same, f"{statement}\n{reduced}"
        assert taken > 300


def _counted(statement: str) -> str:
    return f"SELECT s::text, count(*) FROM ({_named(statement)}) s GROUP BY 1"


def _named(statement: str) -> str:
    """Output columns c1, c2, …: n and m come once for each alias."""
    width = statement.split(" FROM ", 1)[0].count(",") + 1
    names = ", ".join(f"c{i}" for i in range(width))
    return f"SELECT * FROM ({statement}) AS q({names})"
