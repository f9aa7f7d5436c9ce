"""Capture: statement triggers that write the log in the client's own transaction.

Transition tables have every row that a statement wrote, however it did (INSERT, COPY, MERGE, ON
CONFLICT, cascades), after all other triggers of the row. A key that changed is a deletion of the
old one and a put of the new one. The function runs as morph_owner, who alone may write to the log;
it evaluates nothing that a client made: values of a client's types go into the image through their
output functions, because to_jsonb would call a client's cast to json.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from catalog.sqltext import quote_ident, quote_literal, text_array
from evolution.layouts.embedded.log import (
    DELETE,
    LOG_SCHEMA,
    PUT,
    TRUNCATE,
    clock_name,
    log_name,
)
from evolution.layouts.embedded.tables import PhysicalColumn, StoreTable

_PAIRS_MAX: Final = 50
"""A function takes 100 arguments."""
_EVENTS: Final = {
    "insert": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS fresh",
    "update": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS fresh",
    "delete": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows",
    "truncate": "AFTER TRUNCATE ON {table}",
}
# Last among the triggers of a statement, so that a client sees errors of others first.
_TRIGGER: Final = "zz_morph_capture_{}"
GUARD: Final = "aa_morph_guard"
STALE: Final = "aa_morph_stale"
_SETTINGS: Final = (
    "search_path = pg_catalog, pg_temp",
    "TimeZone = 'UTC'",
    "DateStyle = 'ISO, MDY'",
    "IntervalStyle = 'postgres'",
    "bytea_output = 'hex'",
    "extra_float_digits = 1",
    # The plan is kept for the session: made for one row, a loop in a loop would be taken for all.
    "enable_nestloop = off",
)
FACTS: Final = (
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint, {epoch}, "
    "hashtextextended(coalesce(current_query(), ''), 0), session_user::text"
)
_HEAD: Final = "lsn, xid, op, {keys}image, touched, ts_us, epoch, stmt_hash, session_unit"


def function_name(table_id: int, event: str) -> str:
    """The function of one kind of statement, for SQL."""
    return f"{LOG_SCHEMA}.{quote_ident(f't{table_id}_{event}')}"


def image(columns: Sequence[PhysicalColumn], row: str) -> str:
    """The whole row as jsonb, by the names of the store: `{"c7": 1, "_doc": {…}}`."""
    objects = []
    for first in range(0, len(columns), _PAIRS_MAX):
        pairs = ", ".join(
            f"{quote_literal(c.name)}, {_value(c, row)}"
            for c in columns[first : first + _PAIRS_MAX]
        )
        objects.append(f"jsonb_build_object({pairs})")
    return " || ".join(objects)


def _value(column: PhysicalColumn, row: str) -> str:
    value = f"{row}.{column.quoted}"
    if column.builtin:
        return value
    return f"CASE WHEN {value} IS NOT NULL THEN format('%s', {value}) END"


def _touched(columns: Sequence[PhysicalColumn]) -> str:
    """The ids of the columns that an UPDATE changed; by image, for not every type is comparable."""
    changed = [
        f"CASE WHEN ROW(n.{c.quoted})::record *<> ROW(o.{c.quoted})::record THEN {c.id} END"
        for c in columns
        if c.id or c.name == "_doc"
    ]
    return f"array_remove(ARRAY[{', '.join(changed)}]::int[], NULL)" if changed else "NULL"


def _bodies(table: StoreTable, table_id: int, epoch: int) -> dict[str, str]:
    keys = f"{table.key_list()}, "
    insert = f"INSERT INTO {log_name(table_id)} ({_HEAD.format(keys=keys)})"
    start = f"nextval({quote_literal(clock_name(table_id))}::regclass), pg_current_xact_id()"
    facts = FACTS.format(epoch=epoch)
    put = f"SELECT {start}, '{PUT}', {table.key_list('n')}, {image(table.columns, 'n')}"
    gone = f"SELECT {start}, '{DELETE}', {table.key_list('o')}, NULL::jsonb, NULL::int[], {facts}"
    known = f"o.{table.key[0].quoted} IS NOT NULL"
    return {
        "insert": f"{insert} {put}, NULL::int[], {facts} FROM fresh n;",
        "update": f"{insert} {gone} FROM old_rows o WHERE NOT EXISTS "
        f"(SELECT FROM fresh n WHERE {table.same_key('n', 'o')});\n"
        f"{insert} {put}, CASE WHEN {known} THEN {_touched(table.columns)} END, {facts} "
        f"FROM fresh n LEFT JOIN old_rows o ON {table.same_key('n', 'o')};",
        "delete": f"{insert} {gone} FROM old_rows o;",
        "truncate": f"INSERT INTO {log_name(table_id)} ({_HEAD.format(keys='')}) "
        f"SELECT {start}, '{TRUNCATE}', NULL::jsonb, NULL::int[], {facts};",
    }


def function_statements(table: StoreTable, table_id: int, epoch: int) -> list[str]:
    """Make the functions, or make them anew for columns that were added."""
    settings = " ".join(f"SET {setting}" for setting in _SETTINGS)
    statements = []
    for event, body in _bodies(table, table_id, epoch).items():
        text = quote_literal(f"BEGIN\n{body}\nRETURN NULL;\nEND").strip()
        name = function_name(table_id, event)
        statements += [
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
            f"SECURITY DEFINER {settings} AS {text}",
            f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC",
        ]
    return statements


def attach_statements(table: str, table_id: int) -> list[str]:
    """Let every write on the store table (its name for SQL) come into the log."""
    return [
        f"CREATE OR REPLACE TRIGGER {_TRIGGER.format(event)} {when.format(table=table)} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function_name(table_id, event)}()"
        for event, when in _EVENTS.items()
    ]


def detach_statements(table: str) -> list[str]:
    """The opposite of `attach_statements`."""
    return [f"DROP TRIGGER IF EXISTS {_TRIGGER.format(event)} ON {table}" for event in _EVENTS]


def drop_statements(table_id: int) -> list[str]:
    """Remove the functions; no trigger may use them any more."""
    return [f"DROP FUNCTION IF EXISTS {function_name(table_id, event)}()" for event in _EVENTS]


ATTACHED: Final = (
    "SELECT count(*) = 4 FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass($1) "
    "AND tgname LIKE 'zz_morph_capture_%'"
)


def guard_statements(table: str) -> list[str]:
    """A layout that does not serve: only the applier writes to it. Who comes with a statement from
    before the cut-over and names the table itself is told to try again, and loses nothing.
    """
    return [
        f"CREATE OR REPLACE TRIGGER {GUARD} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE "
        f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {LOG_SCHEMA}.only_applied()"
    ]


def stale_statements(table: str, fields: Sequence[str]) -> list[str]:
    """A layout that keeps fields of the documents in columns: a statement from before the cut-over
    would put them into the document, where no version reads them. It is told to try again.
    """
    named = text_array(tuple(fields))
    fresh, old = f"NEW._doc ?| {named}", f"coalesce(OLD._doc ?| {named}, false)"
    return [
        f"CREATE OR REPLACE TRIGGER {STALE}_{event.lower()} BEFORE {event} ON {table} "
        f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {LOG_SCHEMA}.only_applied()"
        for event, condition in (("INSERT", fresh), ("UPDATE", f"{fresh} AND NOT {old}"))
    ]


def unguard_statements(table: str) -> list[str]:
    """The opposite of `guard_statements`."""
    return [f"DROP TRIGGER IF EXISTS {GUARD} ON {table}"]
