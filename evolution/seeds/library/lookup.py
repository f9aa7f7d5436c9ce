"""morph.lookup: a value from another table. A macro: see evolution/seeds/macros.py.

The functions here are stubs. The one with four arguments lets a client's text be parsed; the one
with five is what the shape tables show: the last argument is a NULL of the value's type, and
`anyelement` takes the result's type from it. The key has the other family of polymorphic types, so
it may be of any type on its own.
"""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, plpgsql_function, statements


def refusal(name: str) -> str:
    """Body of a stub that raises when it runs."""
    return f"""
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
    MESSAGE = 'morph.{name} can only be used in the expression of a virtual column',
    HINT = 'It is expanded by ALTER TABLE ... ADD COLUMN ... GENERATED ALWAYS AS (...) VIRTUAL.';
END"""


_NAMES = "table_name text, value_column text, key_column text, key anycompatible"

LOOKUP = Generator(
    name="lookup",
    signatures=(
        "morph.lookup(table_name literal, value_column literal, key_column literal, key any) "
        "→ type of the value column",
    ),
    summary=(
        "The value of a column in the row of another table (or the same one) whose key column "
        "equals `key`, an expression over the own row. The key column must be the table's primary "
        "key or unique alone, so there is never more than one row."
    ),
    nulls="NULL when no row has the key, or the key is NULL.",
    cost="one index probe, 1 µs when the table is in memory",
    examples=(Example("morph.lookup('plans', 'price', 'id', 7)", sqlstate="0A000"),),
    ddl=statements(
        plpgsql_function(f"morph.lookup({_NAMES})", "text", refusal("lookup")),
        plpgsql_function(
            f"morph.lookup({_NAMES}, typed_as anyelement)", "anyelement", refusal("lookup")
        ),
    ),
    kind="macro",
    notes=(
        "Expanded when the column is made: `(SELECT l.value_column FROM … l WHERE l.key_column = "
        "key)`. Deterministic over the same data; it is no function of the own row alone, so an "
        "index cannot hold it."
    ),
    usage=(
        "ALTER TABLE customers ADD COLUMN plan_price numeric GENERATED ALWAYS AS (\n"
        "  morph.lookup('plans', 'price', 'id', plan_id)) VIRTUAL;"
    ),
)
