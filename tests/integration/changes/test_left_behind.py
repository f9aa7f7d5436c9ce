"""What a change that is over leaves behind (R4.5; EVOLUTION 5, CONTRACTING and DISCARDED): nothing
but what its versions are shown from.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.integration.changes.prices import reaches
from tests.integration.server_process import ServerProcess

MAKE = (
    "CREATE TABLE person (id serial PRIMARY KEY, name text, age text, city text)",
    "CREATE INDEX by_city ON person (city)",
    "INSERT INTO person (name, age) SELECT 'a b c' || g, '0' || g FROM generate_series(1, 20) g",
)
TYPE = (
    "SET morph.back = 'age::text'",
    "ALTER TABLE person ALTER COLUMN age TYPE int USING age::int",
    "RESET morph.back",
)
SPLIT = (
    "CALL morph.split_column('person', 'name', "
    """'{"a": "split_part(name, '' '', 1)", "b": "split_part(name, '' '', 2)"}', """
    "'a || '' '' || b')",
)
NEST = ("CALL morph.nest_columns('person', 'both', '{name,age}')",)
SHADOW = (
    "SET morph.ddl_mode = shadow",
    "ALTER TABLE person ADD COLUMN note text DEFAULT 'n'",
    "RESET morph.ddl_mode",
)
KINDS = {"type": TYPE, "split": SPLIT, "nest": NEST, "shadow": SHADOW}
RELATIONS = (
    "SELECT n.nspname || '.' || c.relname FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('morph_store', 'morph_log') "
    "UNION ALL SELECT 'morph_store.' || conname FROM pg_constraint "
    "WHERE connamespace = 'morph_store'::regnamespace"
)
TRIGGERS = (
    "SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "WHERE c.relnamespace = 'morph_store'::regnamespace AND NOT tgisinternal"
)
FUNCTIONS = (
    "SELECT n.nspname || '.' || p.proname FROM pg_proc p "
    "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname ~ '^morph_(store|log|catalog)$'"
)
COLUMNS = (
    "SELECT attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "WHERE c.relnamespace = 'morph_store'::regnamespace AND c.relkind = 'r' AND attnum > 0 "
    "AND NOT attisdropped"
)
SHOWN = (
    "SELECT DISTINCT 'c' || (c ->> 'id') FROM morph_catalog.versions v, "
    "jsonb_array_elements(v.spec) t, LATERAL (SELECT jsonb_array_elements(t -> 'columns') "
    "UNION ALL SELECT jsonb_array_elements((l -> 'under') || (l -> 'over')) "
    "FROM jsonb_array_elements(t -> 'lenses') l) shown(c)"
)
KEPT = ("shadows", "refused", "foreign_feeds")
STATE = ("fences", "shadow_progress")
LENS = {"_r", "_w", "_l"}


def found(root: psycopg.Connection[Any], query: str) -> list[str]:
    """A column of texts, in order."""
    return sorted(row[0] for row in root.execute(query).fetchall())


def rows_kept(root: psycopg.Connection[Any]) -> int:
    """Rows about what is in flight."""
    names = [f"morph_log.{n}" for n in KEPT] + [f"morph_catalog.{n}" for n in STATE]
    union = " UNION ALL ".join(f"SELECT 1 FROM {name}" for name in names)
    return len(root.execute(union).fetchall())


def look(root: psycopg.Connection[Any]) -> list[list[str]]:
    """Relations but the table, constraints, functions and triggers; but for those of lenses."""
    table = f"morph_store.{store_table(root)}"
    relations = [n for n in found(root, RELATIONS) if n != table and "__l_not_null" not in n]
    functions = [n for n in found(root, FUNCTIONS) if "lens" not in n]
    triggers = [n for n in found(root, TRIGGERS) if not n.startswith("morph_lens_")]
    return [relations, functions, triggers]


def store_table(root: psycopg.Connection[Any]) -> str:
    """The only table of the store."""
    [[name]] = root.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'morph_store'::regnamespace "
        "AND relkind = 'r'"
    ).fetchall()
    return str(name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_contracted_change_leaves_what_its_versions_are_shown_from(
    server: ServerProcess, kind: str
) -> None:
    with server.connect() as client, server.root() as root:
        for statement in MAKE:
            client.execute(statement)
        old = store_table(root)
        before = look(root)
        shown = client.execute("SELECT * FROM person ORDER BY id").fetchall()
        for statement in KINDS[kind]:
            client.execute(statement)
        client.execute("CALL morph.promote(2)")
        client.execute("CALL morph.contract(2)")
        reaches(client, "completed")
        new = store_table(root)
        assert new != old
        assert look(root) == before
        assert rows_kept(root) == 0
        assert set(found(root, COLUMNS)) - LENS == set(found(root, SHOWN))
        assert client.execute("SELECT * FROM v1.person ORDER BY id").fetchall() == shown


@pytest.mark.parametrize("kind", ["type", "shadow"])
def test_a_discarded_change_leaves_no_layout(server: ServerProcess, kind: str) -> None:
    with server.connect() as client, server.root() as root:
        for statement in MAKE:
            client.execute(statement)
        layout = store_table(root)
        before = look(root)
        for statement in KINDS[kind]:
            client.execute(statement)
        reaches(client, "ready")
        client.execute("CALL morph.discard(2)")
        reaches(client, "discarded")
        assert store_table(root) == layout
        assert look(root) == before
        assert rows_kept(root) == 0
