"""Functions that several generators share; their names start with `_` and are no generators.

`_refuse` stands in a CASE branch of an inlinable function and raises 22023. Its message always
takes in the argument at fault: were all its arguments constants while the condition is not, the
planner would evaluate the branch and raise for rows that never reach it.
"""

from __future__ import annotations

from evolution.seeds.library.generator import plpgsql_function, sql_function, statements

_REFUSE = plpgsql_function(
    "morph._refuse(message text, result anyelement)",
    "anyelement",
    "BEGIN\n  RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = message;\nEND",
)

# The UTF-8 bytes of a text: convert_to() is only STABLE. Backslashes are doubled, because that is
# how bytea's escape form writes one; a leading \x is then none of its hex form either.
_UTF8 = sql_function(
    "morph._utf8(value text)", "bytea", r"pg_catalog.replace(value, '\', '\\')::pg_catalog.bytea"
)

DDL = statements(_REFUSE, _UTF8)
