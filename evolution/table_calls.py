"""CALL morph.<procedure> of operators: which module reads which call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from core.errors import FeatureNotSupported, WrongObjectType
from evolution.alter_table import reshape_columns, run_on_copy
from evolution.changed import Command
from evolution.decompose_table import decompose_table, join_tables
from evolution.merge_tables import merge_tables
from evolution.operators.calls import call_arguments
from evolution.operators.nest_columns import read_nesting
from evolution.request import DdlRequest, Outcome
from evolution.split_table import split_table


async def nest_columns(request: DdlRequest) -> Outcome:
    """CALL morph.nest_columns(…) and morph.unnest_column(…): one new version."""
    _, values = call_arguments(request.node)
    table = request.on_head(request.resolve(None, values["relation"]))
    if table.kind == "foreign":
        raise FeatureNotSupported(
            f'cannot nest columns of foreign table "{table.name}"',
            hint="morph.split_column and morph.merge_columns take expressions over jsonb.",
        )
    if table.kind != "table":
        raise WrongObjectType(f'"{table.name}" is not a table of the store')
    asked = read_nesting(request, table)
    command = Command({}, reshaping=asked)
    return await run_on_copy(request, {table.id}, asked.alter_text(table), command, "CALL")


_BY_NAME: dict[str, Callable[[DdlRequest], Awaitable[Outcome]]] = {
    "split_column": reshape_columns,
    "merge_columns": reshape_columns,
    "nest_columns": nest_columns,
    "unnest_column": nest_columns,
    "split_table": split_table,
    "merge_tables": merge_tables,
    "decompose_table": decompose_table,
    "join_tables": join_tables,
}


async def run_call(request: DdlRequest) -> Outcome:
    """Run a CALL that makes a version."""
    name, _ = call_arguments(request.node)
    return await _BY_NAME[name](request)
