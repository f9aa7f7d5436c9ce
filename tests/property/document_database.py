"""The model of `shop_model` made twice in one PostgreSQL: as documents behind version views, and as
plain tables in schema `oracle`. A statement must do the same to both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from backends.embedded.layout import constraint_statements
from catalog import shapes
from catalog.model import Column, DocPath, Stored, Table, Version
from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal
from core.errors import MorphError
from engine.plans import Plan, make_plan
from evolution.seeds.library import library_sql
from rewrite.analysis import StatementPlan
from rewrite.bodies import rewrite_text
from rewrite.context import NeedsWidth
from rewrite.namespaces import Namespaces
from tests.unit.rewrite.shop_model import SNAPSHOT, V1, V2, namespaces

_ORDERS = (
    "(1, 1, 2, 9.50, 'new', 'Berlin', 52.5, ARRAY['a','b'], '{\"k\": [1, 2]}', true, 'x', "
    "'2024-01-02 03:04:05.678901+00', 'first', 7)",
    "(2, 1, 5, 0.10, 'paid', 'Paris', NULL, ARRAY['b',NULL], NULL, false, NULL, NULL, 'new', NULL)",
    "(3, 2, NULL, 100, NULL, NULL, -1e-5, '{}', '\"t\"', NULL, '', '1999-12-31', NULL, -3)",
    "(4, NULL, 9007199254740993, 1.000, 'new', '', 1e300, NULL, '3', true, 'ü\\', NULL, 'n', 0)",
)
_CUSTOMERS = ("(1, 'Ada', 1.5, 'gold')", "(2, 'Bob', NULL, NULL)", "(5, NULL, 'NaN', 'new')")
_PLAIN = ("(1, 'one', 1.25)", "(2, NULL, NULL)", "(3, 'three', 3.00)")
_ROWS = {"orders": _ORDERS, "customers": _CUSTOMERS, "plain": _PLAIN}
TABLES = {"orders": "id", "customers": "id", "plain": "id"}


def _store_table(table: Table) -> Iterator[str]:
    columns = [
        f"{quote_ident(c.source.column)} {c.source.type}" + (" NOT NULL" if c.not_null else "")
        for c in table.columns
        if isinstance(c.source, Stored)
    ]
    if table.has_doc:
        columns.append("_doc jsonb NOT NULL DEFAULT '{}'")
    yield f"CREATE TABLE {STORE_SCHEMA}.{table.store} ({', '.join(columns)})"
    yield from constraint_statements(table)
    yield f"GRANT SELECT ON {STORE_SCHEMA}.{table.store} TO morph_client"


def _oracle_table(table: Table) -> Iterator[str]:
    columns = [
        f"{quote_ident(c.name)} {c.type}"
        + (f" DEFAULT {c.default}" if c.default else "")
        + (" NOT NULL" if c.not_null else "")
        for c in table.columns
    ]
    key = table.primary_key
    assert key is not None
    yield (
        f"CREATE TABLE oracle.{quote_ident(table.name)} "
        f"({', '.join(columns)}, CONSTRAINT {key.name} {key.definition})"
    )
    yield f"INSERT INTO oracle.{quote_ident(table.name)} VALUES {', '.join(_ROWS[table.name])}"


def _nested(pairs: list[tuple[DocPath, str]], depth: int = 0) -> str:
    groups: dict[str, list[tuple[DocPath, str]]] = {}
    for source, value in pairs:
        groups.setdefault(source.path[depth], []).append((source, value))
    parts = []
    for key, members in groups.items():
        leaf = [v for s, v in members if len(s.path) == depth + 1]
        parts.append(f"{quote_literal(key)}, {leaf[0] if leaf else _nested(members, depth + 1)}")
    return f"jsonb_strip_nulls(jsonb_build_object({', '.join(parts)}))"


def _fill(table: Table) -> str:
    """Documents as a loader would have stored them, made without the rewriter's own functions."""
    stored = [c for c in table.columns if isinstance(c.source, Stored)]
    names = [c.source.column for c in stored if isinstance(c.source, Stored)]
    values = [quote_ident(c.name) for c in stored]
    if table.has_doc:
        names.append("_doc")
        values.append(
            _nested([(c.source, f"to_jsonb({quote_ident(c.name)})")
                     for c in table.columns if isinstance(c.source, DocPath)])
        )  # fmt: skip
    return (
        f"INSERT INTO {STORE_SCHEMA}.{table.store} ({', '.join(names)}) "
        f"SELECT {', '.join(values)} FROM oracle.{quote_ident(table.name)}"
    )


_ITEMS = json.dumps({"items": [{"sku": "s1", "count": 2}, {"sku": None, "count": 3}]})


def _no_seed(*_: object) -> str:
    raise AssertionError("the model has no seeds")


def _view_query(version: Version, query: str) -> str:
    return rewrite_text(query, Namespaces(SNAPSHOT, (f"v{version.number}",)))


def _statements() -> Iterator[str]:
    yield "CREATE SCHEMA oracle"
    for table in V1.tables:
        if table.kind == "table":
            yield from _oracle_table(table)
            yield from _store_table(table)
            yield _fill(table)
    yield f"UPDATE {STORE_SCHEMA}.t1 SET _doc = _doc || '{_ITEMS}' WHERE c11 = 1"
    yield (
        "CREATE TABLE oracle.orders_items (orders_id bigint NOT NULL, ordinality bigint NOT NULL, "
        "sku text, count bigint)"
    )
    yield "INSERT INTO oracle.orders_items VALUES (1, 1, 's1', 2), (1, 2, NULL, 3)"
    yield "CREATE VIEW oracle.busy AS SELECT id, qty FROM oracle.orders WHERE qty > 1"
    yield "GRANT USAGE ON SCHEMA oracle TO morph_client"
    yield "GRANT ALL ON ALL TABLES IN SCHEMA oracle TO morph_client"
    for version in (V1, V2):
        yield from shapes.shape_statements(version, _no_seed)
        yield from shapes.view_statements(version, _no_seed, _view_query)
    yield from shapes.shape_statements(V1, _no_seed, public=True)


def build(connection: psycopg.Connection[Any]) -> None:
    """Make everything in an empty database called `morph`."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute((files("catalog") / "bootstrap.sql").read_bytes())
        cursor.execute("SET LOCAL ROLE morph_owner")
        cursor.execute(library_sql().encode())
        for statement in _statements():
            cursor.execute(statement.encode())


@dataclass(frozen=True)
class Result:
    """What a statement gave: rows or an SQLSTATE, the tag, and the tables after it."""

    error: str
    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    tag: str
    message: str = ""

    def same(self, other: Result, *, ordered: bool) -> bool:
        """True when a client could not tell them apart."""
        if (self.error, self.names, self.tag) != (other.error, other.names, other.tag):
            return False
        mine, theirs = [*map(repr, self.rows)], [*map(repr, other.rows)]
        return mine == theirs if ordered else sorted(mine) == sorted(theirs)


class Rewritten:
    """Runs texts as the proxy would: describe against the shapes, then the rewritten text."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        connection.prepare_threshold = None

    def _execute(self, text: str) -> Result:
        with self.connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(text.encode())
            if cursor.description is None:
                return Result("", (), (), cursor.statusmessage or "")
            rows = tuple(cursor.fetchall())
            names = tuple(d.name for d in cursor.description)
            return Result("", names, rows, cursor.statusmessage or "")

    def oracle(self, text: str) -> Result:
        """The text on the plain tables."""
        renamed = text.replace("public", "oracle")
        return self._guarded("oracle, pg_catalog", lambda: self._execute(renamed))

    def plan(self, text: str, path: str = "public") -> Plan:
        """The plan, with the widths of starred queries asked for."""
        names = namespaces(*[p.strip() for p in path.split(",")])
        widths: dict[int, int] = {}
        while True:
            try:
                return make_plan(text, names, pushdown=True, widths=widths)
            except NeedsWidth as question:
                query = self.plan(question.query, path).wire_text
                described = self.connection.pgconn.prepare(b"w", query.encode())
                assert described.status == psycopg.pq.ExecStatus.COMMAND_OK, described.error_message
                found = self.connection.pgconn.describe_prepared(b"w")
                self.connection.pgconn.exec_(b"DEALLOCATE w")
                widths[question.start] = found.nfields

    def _describe(self, text: str, statement: StatementPlan) -> None:
        if statement.describe_first:
            body = text[statement.start : statement.end].encode()
            result = self.connection.pgconn.prepare(b"d", body)
            if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.lookup(
                    (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
                )(result.error_message.decode())
            self.connection.pgconn.exec_(b"DEALLOCATE d")

    def rewritten(self, text: str, path: str = "public") -> Result:
        """The text through the rewriter."""

        def run() -> Result:
            plan = self.plan(text, path)
            for statement in plan.statements:
                self._describe(text, statement)
            return self._execute(plan.wire_text)

        return self._guarded(path, run)

    def _guarded(self, path: str, run: Any) -> Result:
        self._execute("SAVEPOINT s")
        self._execute(f"SET LOCAL search_path = {path}")
        try:
            result: Result = run()
        except psycopg.Error as error:
            self._execute("ROLLBACK TO SAVEPOINT s")
            return Result(error.sqlstate or "", (), (), "", str(error))
        except MorphError as error:
            self._execute("ROLLBACK TO SAVEPOINT s")
            return Result(error.sqlstate, (), (), "", str(error))
        self._execute("SET LOCAL search_path = pg_catalog")
        return result

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Everything inside is rolled back."""
        self._execute("BEGIN")
        try:
            self._execute("SET LOCAL ROLE morph_client")
            yield
        finally:
            self.connection.rollback()

    def compare(
        self, text: str, *, ordered: bool = False, path: str = "public"
    ) -> tuple[Result, Result]:
        """Run on both, then compare all tables; AssertionError when a client sees a difference."""
        with self.undone():
            expected = self.oracle(text)
            actual = self.rewritten(text, path)
            assert actual.same(expected, ordered=ordered), _difference(text, expected, actual)
            if not expected.names or not text.lstrip().upper().startswith("SELECT"):
                self._compare_tables(text)
        return expected, actual

    def _compare_tables(self, text: str) -> None:
        for table, key in TABLES.items():
            query = f"SELECT * FROM {table} ORDER BY {key}"
            expected, actual = self.oracle(query), self.rewritten(query)
            assert actual.same(expected, ordered=True), _difference(
                f"{text}\n-- then {table}", expected, actual
            )


def _difference(text: str, expected: Result, actual: Result) -> str:
    return f"{text}\nPostgreSQL: {expected}\nMorphgres:  {actual}"


def columns_of(version: Version, name: str) -> Sequence[Column]:
    """The columns of a table."""
    table = version.table(name)
    assert table is not None
    return table.columns
