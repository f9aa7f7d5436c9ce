"""One real change: made, promoted, rolled back, promoted and rolled back again."""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.real_changes import (
    Case,
    Connection,
    build,
    differences,
    fact,
    shown,
    store_state,
)
from tests.integration.server_process import ServerProcess

_CLEAN = """
DO $$
DECLARE item record;
BEGIN
  FOR item IN SELECT oid::regtype AS name FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typtype = 'e' LOOP
    EXECUTE format('DROP TYPE %s CASCADE', item.name);
  END LOOP;
  DROP FUNCTION IF EXISTS public.generate_unique_changeme();
END $$
"""


def run(server: ServerProcess, number: str, mode: str) -> None:
    """Raises AssertionError when something is otherwise than before."""
    empty_catalog(server)
    case = build(fact(number))
    with server.root() as root, server.connect() as client:
        root.execute(_CLEAN)
        client.execute("SET morph.ddl_mode = direct")
        client.execute("CREATE TABLE other_table (id int PRIMARY KEY)")
        for statement in case.setup:
            client.execute(statement)
        client.execute(f"SET morph.ddl_mode = {mode}")
        _there_and_back(root, client, case, exact=mode != "direct" or not _converts(case))


def _converts(case: Case) -> bool:
    """With morph.ddl_mode = direct the layout of a converted column stays as it is."""
    return any("USING" in statement and " TYPE " in statement for statement in case.change)


def _there_and_back(root: Connection, client: Connection, case: Case, *, exact: bool) -> None:
    before, store, rows = shown(client), store_state(root), _rows(client, case)
    first = _version(client)
    with client.transaction():
        for statement in case.change:
            client.execute(statement)
    made = _version(client)
    if made == first:
        _undo_by_hand(root, client, case)
        _same(shown(client), before)
        _same([differences(store.unnumbered(), store_state(root).unnumbered())], [[]])
        return
    client.execute(f"CALL morph.promote({made})")
    after = shown(client)
    assert after != before
    for again in (True, False):
        client.execute(f"CALL morph.rollback({made})")
        _same(shown(client), before)
        _same([_rows(client, case)], [rows])
        if exact:
            _same([differences(store, store_state(root))], [[]])
        if again:
            client.execute(f"CALL morph.promote({made})")
            _same(shown(client), after)


def _undo_by_hand(root: Connection, client: Connection, case: Case) -> None:
    """What is done at once in every version is undone by the statement that does the opposite."""
    assert case.undo, "the change made no version"
    client.execute("SET morph.ddl_mode = direct")
    with client.transaction():
        for statement in case.undo:
            client.execute(statement)


def _rows(client: Connection, case: Case) -> list[tuple[object, ...]]:
    if client.execute("SELECT to_regclass(%s)", (case.name,)).fetchone() == (None,):
        return []
    return client.execute(f"SELECT * FROM {case.name} t ORDER BY t::text").fetchall()


def _version(client: Connection) -> int:
    row = client.execute("SELECT max(version) FROM morph.versions").fetchone()
    assert row is not None
    return int(row[0] or 0)


def _same(now: Sequence[Sequence[object]], before: Sequence[Sequence[object]]) -> None:
    for here, there in zip(now, before, strict=True):
        more, less = [r for r in here if r not in there], [r for r in there if r not in here]
        assert here == there, f"is there: {more}; was there: {less}"
