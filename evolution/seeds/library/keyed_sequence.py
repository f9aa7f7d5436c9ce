"""morph.keyed_sequence: an arithmetic sequence over the row's own number."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, sql_function

KEYED_SEQUENCE = Generator(
    name="keyed_sequence",
    signatures=("morph.keyed_sequence(key bigint, start bigint, step bigint) → bigint",),
    summary=(
        "`start + step * key`: a number per row without a counter, unique as the key is unless "
        "`step` is 0."
    ),
    nulls="NULL when any argument is NULL.",
    cost="0.01 µs",
    examples=(
        Example("morph.keyed_sequence(7, 1000, 10)", "1070"),
        Example("morph.keyed_sequence(NULL, 1000, 10)", None),
    ),
    ddl=sql_function(
        "morph.keyed_sequence(key bigint, start bigint, step bigint)",
        "bigint",
        "start + step * key",
    ),
    notes="22003 when the result does not fit bigint.",
)
