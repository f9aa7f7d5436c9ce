"""morph.mask_email: an address whose local part is hidden."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, sql_function

MASK_EMAIL = Generator(
    name="mask_email",
    signatures=("morph.mask_email(value text) → text",),
    summary=(
        "The first character of the local part, `***` and the domain. What is no address (no `@`, "
        "or nothing before it) becomes `***`."
    ),
    nulls="NULL when the value is NULL.",
    cost="0.3 µs",
    examples=(
        Example("morph.mask_email('alice@example.com')", "a***@example.com"),
        Example("morph.mask_email('\"a@b\"@example.com')", '"***@example.com'),
        Example("morph.mask_email('@example.com')", "***"),
        Example("morph.mask_email('alice')", "***"),
        Example("morph.mask_email(NULL)", None),
    ),
    ddl=sql_function(
        "morph.mask_email(value text)",
        "text",
        # The domain begins after the last @: a quoted local part may hold more of them.
        "CASE WHEN value IS NULL THEN NULL\n"
        "  WHEN pg_catalog.strpos(value, '@') > 1\n"
        "  THEN pg_catalog.left(value, 1) || '***@' || pg_catalog.split_part(value, '@', -1)\n"
        "  ELSE '***' END",
    ),
    notes="The length of the local part is hidden; the domain is not.",
)
