"""What a generator is: its SQL, and everything the documentation and the tests say about it.

Invariants of the SQL:
- `CREATE OR REPLACE`, so that running the library again changes nothing;
- IMMUTABLE and PARALLEL SAFE, and true to it: no setting, clock, locale or memory of the process
  reaches a result; hashes are MD5 or SHA of the key's UTF-8 bytes, never hashtext();
- inlinable where possible: LANGUAGE sql in the RETURN form, whose names and operators PostgreSQL
  resolves once, when the function is made. No SET clause there: it would prevent inlining
  (inline_function() in PostgreSQL's optimizer/util/clauses.c). A PL/pgSQL body resolves names when
  it runs, so it has `SET search_path`, and it holds no backslash: standard_conforming_strings of
  the session decides what one means there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Example:
    """A call and its value as text; None is NULL. `sqlstate` when the call must fail instead."""

    sql: str
    result: str | None = None
    sqlstate: str = ""


@dataclass(frozen=True, slots=True)
class Generator:
    """One generator of schema `morph`.

    `cost` is the measured time of a row above the scan of the row. `kind`: a function runs as it
    is; a macro is expanded into a sub-select at ALTER time and its functions are stubs. `usage` is
    DDL, for what a call alone does not show.
    """

    name: str
    signatures: tuple[str, ...]
    summary: str
    nulls: str
    cost: str
    examples: tuple[Example, ...]
    ddl: str
    kind: Literal["function", "macro"] = "function"
    notes: str = ""
    usage: str = ""


PURE_SQL = "LANGUAGE sql IMMUTABLE PARALLEL SAFE"
PURE_PLPGSQL = "LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog"


def sql_function(signature: str, returns: str, expression: str) -> str:
    """DDL of an inlinable function."""
    return (
        f"CREATE OR REPLACE FUNCTION {signature}\n"
        f"RETURNS {returns} {PURE_SQL}\nRETURN {expression};"
    )


def plpgsql_function(signature: str, returns: str, body: str, *, strict: bool = False) -> str:
    """DDL of a function with a PL/pgSQL body."""
    null_rule = " STRICT" if strict else ""
    return (
        f"CREATE OR REPLACE FUNCTION {signature}\n"
        f"RETURNS {returns} {PURE_PLPGSQL}{null_rule} AS $morph$\n{body}\n$morph$;"
    )


def statements(*ddl: str) -> str:
    """Several statements as one text."""
    return "\n\n".join(ddl)
