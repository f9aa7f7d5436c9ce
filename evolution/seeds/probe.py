"""PostgreSQL's own judgement of a generator expression: its types, and that it is immutable.

The expression is put into a temporary table with the columns of the model as a STORED generated
column, which PostgreSQL only makes when the expression is immutable through and through (42P17
"generation expression is not immutable"); then everything is rolled back. STORED, because VIRTUAL
refuses user-defined functions (PostgreSQL 18), and generators are such. Child expressions and
filters of morph.aggregate get a table of their child's columns each. That an aggregate takes its
argument and a lookup's key compares with the key column shows in temporary views over NULLs.

The connection must be on the private PostgreSQL with the library, as a role that may make temporary
tables; the errors are PostgreSQL's, as they came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Protocol

from catalog.model import Table, Version
from catalog.sqltext import quote_ident
from evolution.seeds.expressions import Expression, parse_expression
from evolution.seeds.macros import (
    LOOKUP,
    aggregate_call,
    aggregate_of,
    lookup_of,
    macro_calls,
)
from evolution.seeds.shape import over_nulls, shape_expression

PROBE_NAME = "morph_probe"
PROBE_COLUMN = "morph_probe_value"


class Connection(Protocol):
    """What the probe needs of an asyncpg connection."""

    def transaction(self) -> Any:
        """A transaction, or a savepoint inside one."""
        ...

    async def execute(self, query: str) -> str:
        """Run statements."""
        ...


def probe_statements(
    expression_sql: str, version: Version, table: Table, column_name: str, sql_type: str
) -> Iterator[str]:
    """Statements that PostgreSQL refuses when the expression is no generation expression; each
    makes a relation of the same name, so each is to be rolled back.
    """
    yield from _macros(parse_expression(expression_sql), version, table)
    yield _table(expression_sql, version, table, column_name, sql_type)


def _macros(expression: Expression, version: Version, table: Table) -> Iterator[str]:
    for call in macro_calls(expression):
        if call.name == LOOKUP:
            lookup = lookup_of(call, version)
            key = parse_expression(expression.text[slice(*call.key)])
            yield _view(f"NULL::{lookup.key.type} = {over_nulls(key, version, table)}")
            continue
        aggregate = aggregate_of(call, version, table)
        for part, sql_type in ((aggregate.expression, ""), (aggregate.filter, "boolean")):
            if part is not None:
                yield from _macros(part, version, aggregate.child)
                yield _table(part.source, version, aggregate.child, PROBE_COLUMN, sql_type)
        if aggregate.expression is not None:
            argument = over_nulls(aggregate.expression, version, aggregate.child)
            yield _view(aggregate_call(aggregate.function, argument))


def _view(value: str) -> str:
    return f"CREATE TEMPORARY VIEW {PROBE_NAME} AS SELECT {value} AS {PROBE_COLUMN}"


def _table(
    expression_sql: str, version: Version, table: Table, column_name: str, sql_type: str
) -> str:
    """No cast to the type: PostgreSQL says whether the value may be assigned to the column."""
    columns = [f"{quote_ident(c.name)} {c.type}" for c in table.columns if c.name != column_name]
    value = shape_expression(expression_sql, version, table)
    if not sql_type:
        value, sql_type = f"{value} IS NULL", "boolean"
    columns.append(f"{quote_ident(column_name)} {sql_type} GENERATED ALWAYS AS ({value}) STORED")
    return f"CREATE TEMPORARY TABLE {PROBE_NAME} ({', '.join(columns)})"


class _Undo(Exception):
    """Leaves the savepoint of a probe."""


async def check_with_postgres(
    connection: Connection,
    expression_sql: str,
    version: Version,
    table: Table,
    column_name: str,
    sql_type: str,
    *,
    deadline_s: float,
) -> None:
    """Ask PostgreSQL about the expression of a column; its error (asyncpg.PostgresError) comes
    unchanged, with a position in the probe's text.
    """
    async with asyncio.timeout(deadline_s):
        for statement in probe_statements(expression_sql, version, table, column_name, sql_type):
            try:
                async with connection.transaction():
                    await connection.execute(statement)
                    raise _Undo
            except _Undo:
                pass
