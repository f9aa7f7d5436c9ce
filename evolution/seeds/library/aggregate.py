"""morph.aggregate: an aggregate over child rows. A macro: see evolution/seeds/macros.py.

Stubs as for morph.lookup. `_sum_of` and `_avg_of` give the shape the result type of sum() and avg()
over the type of their argument (PostgreSQL manual, section 9.21); their value is NULL.
"""

from __future__ import annotations

from evolution.seeds.library.generator import (
    Example,
    Generator,
    plpgsql_function,
    sql_function,
    statements,
)
from evolution.seeds.library.lookup import refusal

SUM_TYPES = {
    "smallint": "bigint",
    "integer": "bigint",
    "bigint": "numeric",
    "numeric": "numeric",
    "real": "real",
    "double precision": "double precision",
    "interval": "interval",
    "money": "money",
}
AVG_TYPES = {
    "smallint": "numeric",
    "integer": "numeric",
    "bigint": "numeric",
    "numeric": "numeric",
    "real": "double precision",
    "double precision": "double precision",
    "interval": "interval",
}

_NAMES = "child_table text, aggregate text, expression text, filter text"


def _typing(name: str, types: dict[str, str]) -> str:
    return statements(
        *(
            sql_function(f"morph.{name}(value {given})", result, f"NULL::{result}")
            for given, result in types.items()
        )
    )


AGGREGATE = Generator(
    name="aggregate",
    signatures=(
        "morph.aggregate(child_table literal, aggregate literal, expression literal "
        "[, filter literal]) → type of the aggregate",
    ),
    summary=(
        "An aggregate over the row's child rows: `count`, `count_distinct`, `sum`, `avg`, `min`, "
        "`max`, `bool_and` or `bool_or` of an expression over the child's columns (`*` for "
        "`count`), for the rows where the filter is true. Children are the rows of an array of "
        "the row's document, or of a table with one foreign key to this one."
    ),
    nulls="As the aggregate has it: without rows, counts are 0 and all others NULL.",
    cost="2 µs for 3 elements of an array, 5 µs for 3 rows of a table with an indexed foreign key",
    examples=(Example("morph.aggregate('orders', 'sum', 'price * qty')", sqlstate="0A000"),),
    ddl=statements(
        plpgsql_function(f"morph.aggregate({_NAMES} DEFAULT NULL)", "text", refusal("aggregate")),
        plpgsql_function(
            f"morph.aggregate({_NAMES}, typed_as anyelement)", "anyelement", refusal("aggregate")
        ),
        _typing("_sum_of", SUM_TYPES),
        _typing("_avg_of", AVG_TYPES),
    ),
    kind="macro",
    notes=(
        "`sum` and `avg` of anything but whole numbers and numeric add up in sorted order: a sum "
        "of floating-point numbers depends on the order of its terms."
    ),
    usage=(
        "ALTER TABLE orders ADD COLUMN total numeric GENERATED ALWAYS AS (\n"
        "  morph.aggregate('orders.items', 'sum', 'price * qty', 'NOT returned')) VIRTUAL;"
    ),
)
