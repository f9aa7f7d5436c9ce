"""morph.key: a text form of any value that is the same whatever the session's settings."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, sql_function, statements

_SECONDS = "pg_catalog.trim_scale(EXTRACT(epoch FROM {}))::pg_catalog.text"

_FORMS = (
    ("text", "value"),
    # smallint and integer would be ambiguous between bigint and numeric.
    ("smallint", "value::pg_catalog.text"),
    ("integer", "value::pg_catalog.text"),
    ("bigint", "value::pg_catalog.text"),
    ("uuid", "value::pg_catalog.text"),
    ("numeric", "pg_catalog.trim_scale(value)::pg_catalog.text"),
    ("boolean", "value::pg_catalog.text"),
    ("bytea", "pg_catalog.encode(value, 'hex')"),
    ("jsonb", "value::pg_catalog.text"),
    ("date", _SECONDS.format("value")),
    ("timestamp", _SECONDS.format("value")),
    ("timestamptz", _SECONDS.format("pg_catalog.timezone('UTC', value)")),
)

KEY = Generator(
    name="key",
    signatures=(
        "morph.key(value text | smallint | integer | bigint | numeric | uuid | boolean | bytea | "
        "jsonb | date | timestamp | timestamptz) → text",
    ),
    summary=(
        "A text of the value to use as a key. `date::text` and `timestamptz::text` depend on "
        "DateStyle and TimeZone, so PostgreSQL refuses them in a generated column; this form does "
        "not. Equal numbers give equal keys (1.0 and 1.00), dates and times are seconds of UTC "
        "since 1970. Several columns make one key with `||` and a separator."
    ),
    nulls="NULL when the value is NULL.",
    cost="0.03 µs (bigint) to 0.2 µs (timestamptz)",
    examples=(
        Example("morph.key(42)", "42"),
        Example("morph.key(1.50)", "1.5"),
        Example("morph.key(DATE '2024-02-29')", "1709164800"),
        Example("morph.key(TIMESTAMPTZ '2024-02-29 12:00:00.5+02')", "1709200800.5"),
        Example("morph.key(NULL::date)", None),
    ),
    ddl=statements(
        *(sql_function(f"morph.key(value {kind})", "text", form) for kind, form in _FORMS)
    ),
    notes=(
        "There is no form for `real` and `double precision`: their text depends on "
        "extra_float_digits. Cast to numeric."
    ),
)
