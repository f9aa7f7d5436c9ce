"""nextval and the like: a sequence that a shape shows is the store's (docs/compatibility.md).

An identity column's sequence in a shape never moves, since shapes hold no rows. The functions of
the same names in morph_catalog know which sequence of the store counts (catalog/bootstrap.sql).
"""

from __future__ import annotations

from collections.abc import Iterable

from rewrite.context import Context
from rewrite.edits import Edit, insert_text, replace_text
from rewrite.tree import ast, walk

_FUNCTIONS = frozenset({"nextval", "currval", "setval", "pg_get_serial_sequence"})
_OWN = "morph_catalog"
# What only defines something keeps the client's words: \d shows them.
_DEFINES = (ast.CreateStmt, ast.ViewStmt, ast.CreateFunctionStmt, ast.CreateTrigStmt)


def lead_to_sequences(context: Context) -> Iterable[Edit]:
    """Put calls of the sequence functions into the schema of Morphgres's own."""
    if isinstance(context.statement, _DEFINES):
        return
    for node in walk(context.statement):
        if not isinstance(node, ast.FuncCall):
            continue
        names = [n.sval for n in node.funcname]
        if names[-1] not in _FUNCTIONS:
            continue
        if len(names) == 1:
            yield insert_text(node.location, f"{_OWN}.")
        elif names[:-1] == ["pg_catalog"]:
            chain = context.tokens.name_chain(node.location)
            yield replace_text(chain[0].start, chain[0].end, _OWN)
