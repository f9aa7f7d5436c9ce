"""Real schema changes of public projects, as statements: what was there before, the change, and
what PostgreSQL's catalogs say of it.

`data/real_changes.json` has 108 of them: project, commit and path where each is found, table,
column, types before and after. They are facts, got by replaying the public migration histories of
crates.io, lemmy, svix, hatchet, supabase/auth, temporal and cadence and comparing PostgreSQL's
catalogs before and after; no text of those projects is in it. A table with this column is made
around them, with a key, an index and comments, so that there is something to be restored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from pglast import parse_sql
from pglast.visitors import Visitor

Fact = dict[str, Any]
Connection = psycopg.Connection[Any]
ROWS = 3
_FILE = Path(__file__).with_name("data") / "real_changes.json"
_BUILT_IN = frozenset(
    {
        "bigint", "boolean", "bytea", "character", "character varying", "inet", "integer", "jsonb",
        "smallint", "text", "uuid", "timestamp without time zone", "timestamp with time zone",
    }
)  # fmt: skip
_WORDS = {"closed": "Closed", "require_application": "RequireApplication", "open": "Open"}


@cache
def facts() -> tuple[Fact, ...]:
    """All 108."""
    return tuple(json.loads(_FILE.read_text("utf-8")))


def fact(number: str) -> Fact:
    """The one with this id."""
    return next(f for f in facts() if f["id"] == number)


@dataclass
class Case:
    """`setup` makes what was there, `change` are the statements of one transaction. `undo` takes
    back what is no version: an index or a table that is made at once.
    """

    table: str
    columns: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    change: list[str] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)
    keyed: bool = True

    @property
    def name(self) -> str:
        """The table for SQL."""
        return quoted(self.table)

    @property
    def setup(self) -> list[str]:
        """Everything that is there before the change."""
        if not self.columns and not self.keyed:
            return self.before
        columns = {"k_": "bigint", **self.columns} if self.keyed else self.columns
        listed = [f"{quoted(n)} {t}" for n, t in columns.items()]
        listed += ["PRIMARY KEY (k_)", "x_ text UNIQUE", "CHECK (k_ > 0)"] if self.keyed else []
        values = ", ".join(_value(t) for t in columns.values())
        made = [
            f"CREATE TABLE {self.name} ({', '.join(listed)})",
            f"COMMENT ON TABLE {self.name} IS 'a table'",
            f"INSERT INTO {self.name} ({', '.join(map(quoted, columns))}) "
            f"SELECT {values} FROM generate_series(1, {ROWS}) n",
        ]
        made += [f"COMMENT ON COLUMN {self.name}.{quoted(n)} IS 'of {n}'" for n in self.columns]
        return [*self.before, *made, *self.after]

    def indexed(self, column: str) -> None:
        """An index over a column that the change is about."""
        self.after.append(f"CREATE INDEX subject_index ON {self.name} ({quoted(column)})")


def quoted(name: str) -> str:
    """A name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _value(sql_type: str) -> str:
    """A value in row n, as SQL."""
    base = re.sub(" (NOT NULL|DEFAULT).*", "", sql_type)
    for start, value in (
        ("text", "'00000000-0000-0000-0000-00000000000' || n"),
        ("uuid", "('00000000-0000-0000-0000-00000000000' || n)::uuid"),
        ("character", "'v' || n"),
        ("timestamp", "'2024-02-29 12:34:56.789'::timestamp + n * interval '1 day'"),
        ("jsonb", "jsonb_build_object('n', n)"),
        ("inet", "('10.0.0.' || n)::inet"),
        ("bytea", "decode('0' || n, 'hex')"),
        ("boolean", "n = 1"),
        ("e_old", "(enum_range(NULL::e_old))[1]"),
    ):
        if base.startswith(start):
            return value
    if base in ("bigint", "integer", "smallint"):
        return "1 + n % 2" if base == "integer" else "n"
    return f"(enum_range(NULL::{base}))[1]"


def _type(case: Case, given: Fact, sql_type: str) -> str:
    """The type, after its enum was made where the project has one."""
    if re.sub(r"\(\d+\)", "", sql_type) in _BUILT_IN:
        return sql_type
    labels = ["'A'"]
    for text in (given.get("before"), given.get("after"), given.get("default")):
        found = re.match(r"('(?:[^']|'')*')::", text or "")
        labels += [found[1]] if found else []
    case.before.append(f"CREATE TYPE {sql_type} AS ENUM ({', '.join(dict.fromkeys(labels))})")
    return sql_type


def _default(case: Case, expression: str) -> str:
    """The expression, after what it calls was made."""
    for sequence in re.findall(r"nextval\('([^']+)'", expression):
        case.before.append(f"CREATE SEQUENCE {sequence}")
    if "generate_unique_changeme" in expression:
        case.before.append(
            "CREATE FUNCTION generate_unique_changeme() RETURNS text LANGUAGE sql "
            "AS $$ SELECT 'http://changeme.invalid/' || gen_random_uuid() $$"
        )
    return expression


# ---------------------------------------------------------------------- columns


def _change_type(case: Case, given: Fact) -> None:
    column, after = quoted(given["column"]), given["after"]
    case.columns[given["column"]] = given["before"]
    case.indexed(given["column"])
    using = {"uuid": f" USING {column}::uuid", "bytea": f" USING decode({column}, 'escape')"}
    if after == "bytea":
        case.change.append(f"SET LOCAL morph.back = 'encode({column}, ''escape'')'")
    case.change.append(
        f"ALTER TABLE {case.name} ALTER COLUMN {column} TYPE {after}{using.get(after, '')}"
    )


def _alter_enum(case: Case, given: Fact) -> None:
    """The values of an enum are no version; a column of the new enum is."""
    removed, added = given["removed"], given["added"]
    old = removed or ["A"]
    new = added if removed else [*old, *added]
    for name, labels in (("e_old", old), ("e_new", new)):
        listed = ", ".join(f"'{label}'" for label in labels)
        case.before.append(f"CREATE TYPE {name} AS ENUM ({listed})")
    case.columns["e"] = "e_old"
    case.indexed("e")
    pairs = [(o, _WORDS.get(o, o)) for o in old]
    up = " ".join(f"WHEN '{o}' THEN '{n}'::e_new" for o, n in pairs)
    down = " ".join(f"WHEN ''{n}'' THEN ''{o}''::e_old" for o, n in pairs)
    case.change += [
        f"SET LOCAL morph.back = 'CASE e {down} END'",
        f"ALTER TABLE {case.name} ALTER COLUMN e TYPE e_new USING CASE e {up} END",
    ]


def _add_column(case: Case, given: Fact) -> None:
    text = f"{quoted(given['column'])} {_type(case, given, given['after'])}"
    if given["generated"]:
        for name in re.findall(r"\w+_at\b", given["default"]):
            case.columns[name] = "timestamp with time zone"
        text += f" GENERATED ALWAYS AS ({given['default']}) STORED"
    elif given["default"] is not None:
        text += f" DEFAULT {given['default']}"
    text += " NOT NULL" if given["not_null"] else ""
    case.change.append(f"ALTER TABLE {case.name} ADD COLUMN {text}")


def _drop_column(case: Case, given: Fact) -> None:
    column = _type(case, given, given["before"]) + (" NOT NULL" if given["not_null"] else "")
    case.columns[given["column"]] = column
    case.indexed(given["column"])
    case.change.append(f"ALTER TABLE {case.name} DROP COLUMN {quoted(given['column'])}")


def _rename_column(case: Case, given: Fact) -> None:
    old, new = quoted(given["column"]), quoted(given["after"])
    case.columns[given["column"]] = _type(case, given, given["type"])
    case.indexed(given["column"])
    case.after.append(f"CREATE VIEW subject_view AS SELECT k_, {old} AS c FROM {case.name}")
    case.change.append(f"ALTER TABLE {case.name} RENAME COLUMN {old} TO {new}")


def _null(case: Case, given: Fact) -> None:
    drops = given["change"] == "drop_not_null"
    column = _type(case, given, given["type"])
    case.columns[given["column"]] = column + (" NOT NULL" if drops else "")
    case.indexed(given["column"])
    verb = "DROP" if drops else "SET"
    column = quoted(given["column"])
    case.change.append(f"ALTER TABLE {case.name} ALTER COLUMN {column} {verb} NOT NULL")


def _defaults(case: Case, given: Fact) -> None:
    column = _type(case, given, given["type"])
    if given["before"]:
        column += f" DEFAULT {_default(case, given['before'])}"
    case.columns[given["column"]] = column
    action = f"SET DEFAULT {_default(case, given['after'])}" if given["after"] else "DROP DEFAULT"
    case.change.append(f"ALTER TABLE {case.name} ALTER COLUMN {quoted(given['column'])} {action}")


# ---------------------------------------------------------------------- tables and indexes


def _rename_table(case: Case, given: Fact) -> None:
    case.columns["a"] = "text NOT NULL"
    case.indexed("a")
    case.after.append(f"CREATE VIEW subject_view AS SELECT k_, a FROM {case.name}")
    case.change.append(f"ALTER TABLE {case.name} RENAME TO {quoted(given['after'])}")


def _drop_table(case: Case, given: Fact) -> None:
    case.columns["a"] = "text NOT NULL DEFAULT 'x'"
    case.indexed("a")
    case.change.append(f"DROP TABLE {case.name}")


def _create_table(case: Case, given: Fact) -> None:
    case.keyed = False
    case.change.append(f"CREATE TABLE {case.name} (id bigserial PRIMARY KEY, a text UNIQUE)")
    case.undo.append(f"DROP TABLE {case.name}")


def _index(case: Case, given: Fact) -> None:
    text = re.sub(r" ON \S+ ", f" ON {case.name} ", given["definition"])
    text = text.replace("namespace_id, keywordlist01", "keywordlist01")  # btree_gin is not there
    statement: Any = parse_sql(text)[0].stmt
    for element in statement.indexParams:
        case.columns[element.name] = "jsonb" if "jsonb" in text else "text"
    drop = f"DROP INDEX {quoted(given['name'])}"
    if given["change"] == "add_index":
        case.change, case.undo = [text], [drop]
    elif given["change"] == "drop_index":
        case.after.append(text)
        case.change, case.undo = [drop], [text]
    else:
        old = text.replace("UNIQUE ", "")
        case.after.append(old)
        case.change, case.undo = [drop, text], [drop, old]


# ---------------------------------------------------------------------- constraints


class _Columns(Visitor):
    """The columns of an expression."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def visit_ColumnRef(self, _: Any, node: Any) -> None:
        self.names.append(node.fields[-1].sval)


def _constraint(case: Case, given: Fact) -> None:
    text = re.sub(r"REFERENCES \w+\.", "REFERENCES ", given["definition"])
    statement: Any = parse_sql(f"ALTER TABLE t ADD CONSTRAINT c {text}")[0].stmt
    node = statement.cmds[0].def_
    case.keyed = "PRIMARY" not in text
    suffix = "" if case.keyed else " NOT NULL"
    for key in (*(node.keys or ()), *(node.fk_attrs or ())):
        case.columns[key.sval] = f"text{suffix}"
    if "CHECK" in text:
        seen = _Columns()
        seen(node.raw_expr)
        case.columns |= dict.fromkeys(seen.names, "text" if "length" in text else "integer")
    if "FOREIGN" in text:
        _referenced(case, node)
    name, old = quoted(given["name"]), re.sub(r" (ON (UPDATE|DELETE)|DEFERR|INIT).*", "", text)
    add = f"ALTER TABLE {case.name} ADD CONSTRAINT {name} "
    drop = f"DROP CONSTRAINT {name}"
    if given["change"].startswith("add"):
        case.change.append(add + text)
    elif given["change"].startswith("drop"):
        case.after.append(add + text)
        case.change.append(f"ALTER TABLE {case.name} {drop}")
    else:
        case.after.append(add + old)
        case.change.append(f"{add.replace(' ADD', f' {drop}, ADD')}{text}")


def _referenced(case: Case, node: Any) -> None:
    keys = [key.sval for key in node.pk_attrs]
    name, listed = quoted(node.pktable.relname), ", ".join(map(quoted, keys))
    columns = ", ".join(f"{quoted(key)} text" for key in keys)
    values = ", ".join(_value("text") for _ in keys)
    case.before += [
        f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({listed}))",
        f"INSERT INTO {name} SELECT {values} FROM generate_series(1, {ROWS}) n",
    ]


_KINDS: dict[str, Callable[[Case, Fact], None]] = {
    "change_type": _change_type,
    "alter_enum": _alter_enum,
    "add_column": _add_column,
    "drop_column": _drop_column,
    "rename_column": _rename_column,
    "rename_table": _rename_table,
    "set_not_null": _null,
    "drop_not_null": _null,
    "set_default": _defaults,
    "drop_default": _defaults,
    "change_default": _defaults,
    "create_table": _create_table,
    "drop_table": _drop_table,
    "add_index": _index,
    "drop_index": _index,
    "alter_index": _index,
}


def build(given: Fact) -> Case:
    """The statements of a change. KeyError for a kind that the data did not have."""
    case = Case(given.get("table", "subject"))
    kind = given["change"]
    (_constraint if "_constraint_" in kind else _KINDS[kind])(case, given)
    return case


# ---------------------------------------------------------------------- PostgreSQL's catalogs

SHOWN = (
    """SELECT c.relname, c.relkind::text, a.attname, a.attnum,
         format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
         a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         AND NOT a.attisdropped
       LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
       WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1, 4""",
    """SELECT c.relname, obj_description(c.oid, 'pg_class'), pg_get_viewdef(c.oid)
       FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
         AND c.relkind IN ('r', 'v') ORDER BY 1""",
    """SELECT r.relname, k.conname, k.contype::text, pg_get_constraintdef(k.oid), k.convalidated
       FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid
       WHERE k.connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 2",
    """SELECT table_name, column_name, data_type, is_nullable, column_default,
         character_maximum_length FROM information_schema.columns
       WHERE table_schema = 'public' ORDER BY 1, ordinal_position""",
)
"""What a client sees of its tables."""

_STORE_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
  a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'morph_store'::regnamespace AND c.relkind = 'r' ORDER BY 1, 2"""
_STORE_CONSTRAINTS = """
SELECT r.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated
FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid
WHERE k.connamespace = 'morph_store'::regnamespace AND k.contype <> 'n' ORDER BY 1, 2"""
_STORE_INDEXES = """
SELECT tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname = 'morph_store' ORDER BY 1, 2"""


@dataclass(frozen=True)
class StoreState:
    """What the store's own tables are: (table, column) → the rest, constraints, indexes."""

    columns: dict[tuple[str, str], tuple[Any, ...]]
    constraints: list[tuple[Any, ...]]
    indexes: list[tuple[Any, ...]]

    def unnumbered(self) -> StoreState:
        """The same without the numbers in the names of the store, which are never used again."""
        indexes = [tuple(re.sub(r"\bi\d+_", "i_", value) for value in row) for row in self.indexes]
        return replace(self, indexes=indexes)


def shown(client: Connection) -> list[list[tuple[Any, ...]]]:
    """What a client sees in PostgreSQL's catalogs."""
    return [client.execute(query).fetchall() for query in SHOWN]


def store_state(root: Connection) -> StoreState:
    """What the store has."""
    columns = {(r[0], r[1]): tuple(r[2:]) for r in root.execute(_STORE_COLUMNS).fetchall()}
    return StoreState(
        columns,
        root.execute(_STORE_CONSTRAINTS).fetchall(),
        root.execute(_STORE_INDEXES).fetchall(),
    )


def differences(was: StoreState, now: StoreState) -> list[object]:
    """What the store has otherwise than before. A version that was rolled back keeps its values:
    columns of its own may be there, but nothing may be asked of them.
    """
    tables = {table for table, _ in was.columns}
    found: list[object] = [
        (key, values, now.columns.get(key))
        for key, values in was.columns.items()
        if now.columns.get(key) != values
    ]
    for (table, column), values in now.columns.items():
        not_null, generated, default = values[1], values[2] + values[3], values[4]
        asked = not_null and not generated and default is None
        if table in tables and (table, column) not in was.columns and asked:
            found.append((table, column, values))
    for before, after in ((was.constraints, now.constraints), (was.indexes, now.indexes)):
        found += set(before) ^ {row for row in after if row[0] in tables}
    return found
