"""Capture: statement triggers that write the log in the client's own transaction.

Transition tables have every row that a statement wrote, however it did (INSERT, COPY, MERGE, ON
CONFLICT, cascades), after all other triggers of the row. A key that changed is a deletion of the
old one and a put of the new one. The function runs as morph_owner, who alone may write to the log;
it evaluates nothing that a client made: values of a client's types go into the image through their
output functions, because to_json would call a client's cast to json.

A statement that wrote `MANY` rows or more makes runs of records (log.py): aggregates over parts of
the transition table, in its order, cut by number of rows and by size. One that wrote fewer makes a
run for each, for which nothing has to be grouped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from catalog.sqltext import quote_ident, quote_literal, text_array
from evolution.layouts.embedded.log import (
    DELETE,
    LOG_SCHEMA,
    PUT,
    RUN_ROWS,
    TRUNCATE,
    clock_name,
    key_type,
    log_name,
)
from evolution.layouts.embedded.tables import PhysicalColumn, StoreTable

MANY: Final = 8
"""From so many rows on, a statement's records are put together."""
_RUN_BYTES: Final = 1 << 18
"""A run has not much more than this of values, as they are stored (compressed, maybe)."""
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
_SEARCH_PATH: Final = "search_path = pg_catalog, pg_temp"
_SETTINGS: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "TimeZone": ("'UTC'", frozenset({"timestamp with time zone", "time with time zone"})),
    "DateStyle": ("'ISO, MDY'", frozenset()),
    "IntervalStyle": ("'postgres'", frozenset({"interval"})),
    "bytea_output": ("'hex'", frozenset({"bytea"})),
    "extra_float_digits": ("1", frozenset({"real", "double precision"})),
}
"""Settings by which values are printed: what they are, and for JSON of which types they matter.
Each of them costs every statement. Types that are not `_PLAIN` get all."""
_FIXED: Final = {
    "boolean": 1, "smallint": 2, "integer": 4, "bigint": 8, "oid": 4, "date": 4, "uuid": 16,
    "timestamp without time zone": 8, "timestamp with time zone": 8, "real": 4,
    "double precision": 8,
}  # fmt: skip
"""Types of one size, in bytes."""
_TEXTS: Final = frozenset({"text", "character varying"})
_EQUAL_IS_SAME: Final = frozenset(_FIXED) - {"real", "double precision"} | {"bytea"}
"""Types whose equal values do not differ in any bit."""
_PLAIN: Final = (
    frozenset(_FIXED)
    | _TEXTS
    | {"bpchar", "numeric", "json", "jsonb"}
    | frozenset[str]().union(*(of for _, of in _SETTINGS.values()))
)
_FACTS: Final = "(date_part('epoch', clock_timestamp()) * 1000000)::bigint, {epoch}, stmt, who"
# Once, not for each row: a text of many rows is long.
_DECLARE: Final = (
    "DECLARE stmt bigint := hashtextextended(coalesce(current_query(), ''), 0); "
    "who text := session_user;"
)
_HEAD: Final = "lsn, xid, op, rows, {keys}image, touched, ts_us, epoch, stmt_hash, session_unit"


def function_name(table_id: int, event: str) -> str:
    """The function of one kind of statement, for SQL."""
    return f"{LOG_SCHEMA}.{quote_ident(f't{table_id}_{event}')}"


@dataclass(frozen=True)
class _Written:
    """The rows of a kind of statement that become records, for SQL: what stands after FROM (new
    rows are `n`, old ones `o`), what happened to a row, its key, its values when it is there, how
    many bytes they have, and the ids of the columns that changed.
    """

    source: str
    op: str
    keys: tuple[str, ...]
    values: Mapping[str, str]
    size: str
    touched: str = ""


def _inserted(table: StoreTable) -> _Written:
    values = {c.name: _value(c) for c in table.columns}
    return _Written("fresh n", f"'{PUT}'", _keys(table, "n.{}"), values, _size(table.columns, "n"))


def _deleted(table: StoreTable) -> _Written:
    return _Written("old_rows o", f"'{DELETE}'", _keys(table, "o.{}"), {}, _size(table.key, "o"))


def _updated(table: StoreTable) -> _Written:
    """Every row that is there now is put; the key of one that is not there any more is deleted."""
    there, known = (f"num_nulls({row}.{table.key[0].quoted}) = 0" for row in "no")
    return _Written(
        f"fresh n FULL JOIN old_rows o ON {table.same_key('n', 'o')}",
        f"CASE WHEN {there} THEN '{PUT}' ELSE '{DELETE}' END",
        _keys(table, "coalesce(n.{0}, o.{0})"),
        {c.name: _value(c) for c in table.columns},
        _size(table.columns, "n"),
        f"CASE WHEN {there} AND {known} THEN {_touched(table.columns)} END",
    )


def _keys(table: StoreTable, form: str) -> tuple[str, ...]:
    return tuple(f"{form.format(c.quoted)}::{key_type(c)}" for c in table.key)


def _value(column: PhysicalColumn) -> str:
    value = f"n.{column.quoted}"
    if column.builtin:
        return value
    return f"CASE WHEN {value} IS NOT NULL THEN format('%s', {value}) END"


def _size(columns: Sequence[PhysicalColumn], row: str) -> str:
    """How many bytes the values of a row have, as they are stored."""
    fixed = sum(_FIXED.get(c.base, 0) for c in columns)
    sizes = [f"pg_column_size({row}.{c.quoted})" for c in columns if c.base not in _FIXED]
    return " + ".join([str(fixed), *(f"coalesce({size}, 0)" for size in sizes)])


def _touched(columns: Sequence[PhysicalColumn]) -> str:
    """The ids of the columns that an UPDATE changed."""
    changed = [
        f"CASE WHEN {_differ(c)} THEN {c.id} END" for c in columns if c.id or c.name == "_doc"
    ]
    return f"array_remove(ARRAY[{', '.join(changed)}]::int[], NULL)" if changed else "NULL::int[]"


def _differ(column: PhysicalColumn) -> str:
    """By image, not by value: 1.50 and 1.5 are not the same, and not every type is comparable."""
    new, old = f"n.{column.quoted}", f"o.{column.quoted}"
    if column.base in _EQUAL_IS_SAME:
        return f"{new} IS DISTINCT FROM {old}"
    if column.base in _TEXTS:
        return f'{new} COLLATE "C" IS DISTINCT FROM {old} COLLATE "C"'
    return f"ROW({new})::record *<> ROW({old})::record"


def _image(values: Mapping[str, str], array: str) -> str:
    """The images of a run's rows by the names of the store: `{"c7": [1, 2], "_doc": [{…}, …]}`;
    those of a wide table are an array of such objects. `array` makes one of a column's values.
    """
    if not values:
        return "NULL::json"
    pairs = [f"{quote_literal(name)}, {array.format(v)}" for name, v in values.items()]
    objects = [
        f"json_build_object({', '.join(pairs[n : n + _PAIRS_MAX])})"
        for n in range(0, len(pairs), _PAIRS_MAX)
    ]
    return objects[0] if len(objects) == 1 else f"json_build_array({', '.join(objects)})"


def _singles(written: _Written, facts: str) -> str:
    """A run for each row."""
    keys = ", ".join(f"ARRAY[{key}]" for key in written.keys)
    image = _image(written.values, "json_build_array({})")
    touched = "NULL::json"
    if written.touched:
        image = f"CASE WHEN {written.op} = '{PUT}' THEN {image} END"
        touched = f"json_build_array({written.touched})"
    return f"{written.op}, 1, {keys}, {image}, {touched}, {facts} FROM {written.source}"


def _runs(written: _Written, facts: str) -> str:
    """Runs of many rows. Columns of the rows are v0, v1 …, so that they are none of the table's."""
    keys = {f"k{n}": key for n, key in enumerate(written.keys)}
    values = {f"v{n}": value for n, value in enumerate(written.values.values())}
    names = dict(zip(written.values, (f"q.{v}" for v in values), strict=True))
    image, touched = _image(names, "json_agg({})"), "NULL::json"
    columns = keys | values
    if written.touched:
        image = f"CASE WHEN q.op = '{PUT}' THEN {image} END"
        touched = "json_agg(q.touched)"
        columns |= {"touched": written.touched}
    named = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    arrays = ", ".join(f"array_agg(q.{key})" for key in keys)
    return (
        f"q.op, count(*), {arrays}, {image}, {touched}, {facts} FROM ("
        f"SELECT {written.op} AS op, {named}, (row_number() OVER w - 1) / {RUN_ROWS} AS part, "
        f"sum({written.size}) OVER w / {_RUN_BYTES} AS volume FROM {written.source} "
        "WINDOW w AS (ROWS UNBOUNDED PRECEDING)) q "
        "GROUP BY q.op, q.part, q.volume ORDER BY q.part, q.volume, q.op"
    )


def _bodies(table: StoreTable, table_id: int, epoch: int) -> dict[str, str]:
    head, keys = f"INSERT INTO {log_name(table_id)}", f"{table.key_list()}, "
    start = f"nextval({quote_literal(clock_name(table_id))}::regclass), pg_current_xact_id()"
    facts = _FACTS.format(epoch=epoch)
    truncate = (
        f"{head} ({_HEAD.format(keys='')}) "
        f"SELECT {start}, '{TRUNCATE}', 1, NULL::json, NULL::json, {facts};"
    )
    into = f"{head} ({_HEAD.format(keys=keys)}) SELECT {start}"
    kinds = {
        "insert": ("fresh", _inserted(table)),
        "update": ("fresh", _updated(table)),
        "delete": ("old_rows", _deleted(table)),
    }
    bodies = {
        event: f"PERFORM FROM {rows} OFFSET {MANY - 1} LIMIT 1;\n"
        f"IF FOUND THEN\n{into}, {_runs(written, facts)};\n"
        f"ELSE\n{into}, {_singles(written, facts)};\nEND IF;"
        for event, (rows, written) in kinds.items()
    }
    return bodies | {"truncate": truncate}


def _settings(table: StoreTable) -> list[str]:
    """What the function fixes: how values are printed, where a type of the table depends on it."""
    types = {c.base.removesuffix("[]") if c.builtin else "" for c in table.columns}
    every = not types <= _PLAIN
    return [
        _SEARCH_PATH,
        *(f"{name} = {value}" for name, (value, of) in _SETTINGS.items() if every or types & of),
    ]


def function_statements(
    table: StoreTable, table_id: int, epoch: int, *, made: bool = False
) -> list[str]:
    """Make the functions, or make them anew for columns that were added. With `made` they are there
    and keep their privileges: at a cut-over everybody waits for each statement.
    """
    settings = " ".join(f"SET {setting}" for setting in _settings(table))
    statements = []
    for event, body in _bodies(table, table_id, epoch).items():
        text = quote_literal(f"{_DECLARE}\nBEGIN\n{body}\nRETURN NULL;\nEND").strip()
        name = function_name(table_id, event)
        statements.append(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
            f"SECURITY DEFINER {settings} AS {text}"
        )
        if not made:
            statements.append(f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC")
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
