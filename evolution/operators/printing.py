"""PostgreSQL's own print of the expressions of lenses, and its judgement of them.

An expression is put into a scratch table as a STORED generated column, which PostgreSQL only makes
for what is immutable through and through; what is printed there is what a lens keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.sqltext import quote_ident, quote_literal
from evolution.introspect import SCRATCH, scratch_path
from evolution.operators.casts import without_length
from evolution.request import DdlRequest

HELPER = f'{SCRATCH}."~lens"'
RESULT = "morph.lens_text"


async def print_expression(
    request: DdlRequest,
    schema: str,
    columns: Sequence[tuple[str, str]],
    result: str,
    text: str,
    *,
    pure: bool = True,
) -> tuple[str, tuple[str, str] | None]:
    """PostgreSQL's print of an expression over columns (names and types), assigned to a type, the
    columns called "$1", "$2" …; or SQLSTATE and message of why it is no generation expression,
    or no expression at all when it need not be `pure`.
    """
    # The cast is said, because PostgreSQL looks for what is not immutable before it adds its own.
    made = without_length(result)
    asked = f'"~" {made} GENERATED ALWAYS AS (({text})::{made}) STORED'
    if not pure:  # a default may not read columns, a check may
        asked = f'"~" int, CHECK ((({text})::{made}) IS NOT NULL)'
    listed = ", ".join(f"{quote_ident(name)} {sql_type}" for name, sql_type in columns)
    make = f"CREATE TABLE {HELPER} ({listed}, {asked})"
    await request.tx.apply(
        [
            f"CREATE SCHEMA {SCRATCH}",
            scratch_path(schema),
            trying(make),
            "SET LOCAL search_path = pg_catalog, pg_temp",
            _printing([name for name, _ in columns], pure=pure),
            f"DROP SCHEMA {SCRATCH} CASCADE",
        ]
    )
    ((found,),) = await request.tx.fetch(f"SELECT current_setting('{RESULT}', true)")
    code, _, rest = (found or "").partition(" ")
    return ("", (code, rest)) if code != "ok" else (rest, None)


def trying(statement: str) -> str:
    """Run it, or say in a setting why it cannot be."""
    body = (
        f"BEGIN PERFORM set_config('{RESULT}', 'ok', true); EXECUTE {quote_literal(statement)}; "
        f"EXCEPTION WHEN OTHERS THEN "
        f"PERFORM set_config('{RESULT}', SQLSTATE || ' ' || SQLERRM, true); END"
    )
    return f"DO {quote_literal(body)}"


def _renames(names: Sequence[str]) -> list[str]:
    return [
        f'ALTER TABLE {HELPER} RENAME COLUMN {quote_ident(name)} TO "${number}"'
        for number, name in enumerate(names, 1)
    ]


def _printing(names: Sequence[str], *, pure: bool) -> str:
    """The expression of the generated column or the check, its columns by number, into the
    setting. Functions and operators of clients are refused: it runs for other sessions, too.
    """
    helper = quote_literal(HELPER).strip()
    renames = "".join(f"EXECUTE {quote_literal(text)}; " for text in _renames(names))
    foreign = "0A000 it calls a function or an operator that is not built in"
    catalog, owner, shown = "pg_attrdef", "adrelid", "pg_get_expr(adbin, adrelid)"
    if not pure:
        catalog, owner = "pg_constraint", "conrelid"
        shown = "regexp_replace(pg_get_expr(conbin, conrelid), ' IS NOT NULL\\)$', ')')"
    body = f"""
DECLARE made oid;
BEGIN
  IF current_setting('{RESULT}') = 'ok' THEN
    {renames}
    SELECT oid INTO made FROM {catalog} WHERE {owner} = {helper}::regclass;
    PERFORM set_config('{RESULT}', CASE WHEN EXISTS (
        SELECT FROM pg_depend d
        LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
        LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        WHERE d.classid = '{catalog}'::regclass AND d.objid = made
          AND coalesce(p.pronamespace, o.oprnamespace) <> 'morph'::regnamespace)
      THEN '{foreign}'
      ELSE 'ok ' || (SELECT {shown} FROM {catalog} WHERE oid = made) END,
      true);
  END IF;
END"""
    return f"DO {quote_literal(body)}"
