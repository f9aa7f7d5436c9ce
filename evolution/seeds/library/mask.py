"""morph.mask: a value with all but its ends hidden."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, sql_function

_SIGNATURE = (
    "morph.mask(value text, keep_first int DEFAULT 0, keep_last int DEFAULT 0, ch text DEFAULT '*')"
)
# A count below 0 means 0: left() and right() would take it as "all but".
_FIRST = "GREATEST(keep_first, 0)"
_LAST = "GREATEST(keep_last, 0)"

MASK = Generator(
    name="mask",
    signatures=(
        "morph.mask(value text [, keep_first int = 0 [, keep_last int = 0 [, ch text = '*']]]) "
        "→ text",
    ),
    summary=(
        "The value with every character but the first and last few replaced. A value that is not "
        "longer than what would stay is hidden as a whole."
    ),
    nulls="NULL when the value or `ch` is NULL; a NULL count is 0.",
    cost="0.2 µs",
    examples=(
        Example("morph.mask('4111111111111111', 0, 4)", "************1111"),
        Example("morph.mask('secret')", "******"),
        Example("morph.mask('Zoë Ångström', 1, 1, '•')", "Z••••••••••m"),
        Example("morph.mask('abc', 2, 2)", "***"),
        Example("morph.mask(NULL, 1)", None),
    ),
    ddl=sql_function(
        _SIGNATURE,
        "text",
        f"CASE WHEN pg_catalog.length(value) > {_FIRST} + {_LAST}\n"
        f"  THEN pg_catalog.left(value, {_FIRST})\n"
        f"    || pg_catalog.repeat(ch, pg_catalog.length(value) - {_FIRST} - {_LAST})\n"
        f"    || pg_catalog.right(value, {_LAST})\n"
        "  ELSE pg_catalog.repeat(ch, pg_catalog.length(value)) END",
    ),
    notes="The length of the value stays visible.",
)
