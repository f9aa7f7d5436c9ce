"""Virtual columns of foreign tables: computed over the rows that were fetched, nothing else."""

from __future__ import annotations

from catalog.sqltext import quote_ident
from core.errors import FeatureNotSupported
from evolution.seeds.expressions import column_uses, parse_expression, splice
from evolution.seeds.macros import SCHEMA, macro_calls
from rewrite.edits import replace_text


def over_fetched_rows(source: str, *, at: int) -> str:
    """The expression with columns by their names alone, as engine/virtual_columns.py puts it over
    any staged rows. FeatureNotSupported (0A000) for one that reads other rows.
    """
    expression = parse_expression(source, at=at)
    for call in macro_calls(expression):
        raise FeatureNotSupported(
            f"{SCHEMA}.{call.name} in a virtual column of a foreign table is not supported",
            hint="Join the tables in the query, or in a view.",
            position=expression.position(call.start),
        )
    edits = [
        replace_text(use.start, use.end, quote_ident(use.names[-1]))
        for use in column_uses(expression)
        if len(use.names) > 1 and use.names[-1] != "*"
    ]
    return splice(expression, edits)[1:-1] if edits else source
