"""R0.6, R4.5, DESIGN 7.6: reads of clients are answered from the shadow, too (V1)."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import change_type, make_prices, reaches, rows
from tests.integration.changes.test_replays import damage
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running
from tests.validation.mutations import MUTATIONS, RIGHT, Mutation
from tests.validation.test_mutations import SHOWING

INLINE = (
    f'{QUICK}[validation]\ninline_share_bp = 10000\ninline_bytes = "64KB"\n'
    'inline_timeout = "20s"\ninline_waiting = 200\n'
)
LAST = (
    "SELECT state, verdict, rows_compared, discrepancies FROM morph.validation_reports "
    "WHERE method = 'inline' ORDER BY report_id DESC LIMIT 1"
)
WAIT_S = 60.0


@pytest.fixture(scope="module")
def comparing(open_directory: Path) -> Iterator[ServerProcess]:
    """A server that compares every read."""
    with running(open_directory / "inline", INLINE) as process:
        yield process


@pytest.fixture
def server(comparing: ServerProcess) -> ServerProcess:
    """The same without any table."""
    empty_catalog(comparing)
    return comparing


def ready(client: psycopg.Connection[Any]) -> None:
    make_prices(client)
    change_type(client)
    reaches(client, "ready")


def told(client: psycopg.Connection[Any]) -> str:
    """What CALL morph.validate(2, 'inline') says."""
    notices: list[str] = []
    handler = lambda n: notices.append(f"{n.severity} {n.message_primary}")  # noqa: E731
    client.add_notice_handler(handler)
    client.execute("CALL morph.validate(2, 'inline')")
    client.remove_notice_handler(handler)
    return notices[-1]


def compares(client: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    """Read until a report has a read of it: the worker learns of a change a moment later."""

    def reported() -> tuple[Any, ...] | None:
        client.execute(query)
        if "no reads" in told(client):
            return None
        return rows(client, LAST)[0]

    found = eventually(reported, timeout_s=WAIT_S, what="a read that is compared")
    assert found is not None
    return found


@pytest.mark.timeout(300)
def test_reads_are_compared_and_equal(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        state, verdict, compared, found = compares(client, "SELECT * FROM price")
        assert (state, verdict, found) == ("done", "equal", 0)
        assert compared % 500 == 0
        assert compared > 0
        assert told(client).endswith("no reads were compared yet")


@pytest.mark.timeout(300)
def test_another_value_in_the_shadow_is_found(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        compares(client, "SELECT count(*) FROM price")
        damage(server, "UPDATE {0} SET {1} = 7 WHERE {1} = 1.5")
        client.execute("SELECT x FROM price WHERE id = 15")
        client.execute("SELECT x FROM price WHERE id = 16")
        assert "1 VALUE_MISMATCH" in told(client)
        query = (
            "SELECT type, severity, message FROM morph.discrepancies WHERE report_id = "
            "(SELECT max(report_id) FROM morph.validation_reports WHERE method = 'inline')"
        )
        ((category, severity, message),) = rows(client, query)
        assert (category, severity) == ("VALUE_MISMATCH", "critical")
        assert message.endswith("SELECT x FROM price WHERE id = 15")


async def _by_prepared(server: ServerProcess) -> None:
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user="morph", database="morph", timeout=60
    )
    try:
        prepared = await connection.prepare("SELECT id, x FROM price WHERE id >= $1 AND id < $2")
        for number in (10, 20, 15):
            assert len(await prepared.fetch(number, number + 5)) == 5
    finally:
        await connection.close(timeout=5)


@pytest.mark.timeout(300)
def test_prepared_statements_are_compared_with_their_parameters(server: ServerProcess) -> None:
    """Binary parameters and results: the bytes are those that the client sent and got."""
    with server.connect() as client:
        ready(client)
        compares(client, "SELECT count(*) FROM price")
        asyncio.run(_by_prepared(server))
        assert told(client).endswith("no differences")
        assert rows(client, LAST)[0][2] == 15
        damage(server, "UPDATE {0} SET {1} = 7 WHERE {1} = 1.5")
        asyncio.run(_by_prepared(server))
        assert "1 VALUE_MISMATCH" in told(client)
        client.execute("SELECT x FROM price WHERE id = %s", (15,))  # in one piece with its Parse
        assert "1 VALUE_MISMATCH" in told(client)


@pytest.mark.timeout(300)
def test_writes_make_no_difference(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        client.execute("CALL morph.promote(2)")
        compares(client, "SELECT count(*) FROM price")
        stop = threading.Event()

        def write() -> None:
            with server.connect() as writer:
                number = 0
                while not stop.is_set():
                    number += 1
                    writer.execute(f"UPDATE price SET x = {number} WHERE id = {number % 50 + 1}")
                    writer.execute(f"DELETE FROM price WHERE id = {500 - number % 200}")

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(25):
                client.execute("SELECT * FROM price ORDER BY id")
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert told(client).endswith("no differences")
        ((_, verdict, compared, found),) = rows(client, LAST)
        assert (verdict, found) == ("equal", 0)
        assert compared > 0


@pytest.mark.timeout(300)
def test_a_shadow_that_cannot_be_read_is_nobodys_trouble(server: ServerProcess) -> None:
    """Invariant 6: the live answer neither fails nor waits."""
    with server.connect() as client, server.root() as root:
        ready(client)
        compares(client, "SELECT count(*) FROM price")
        query = "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]+s2$'"
        ((shadow,),) = root.execute(query).fetchall()
        with root.transaction():
            root.execute(f"LOCK TABLE morph_store.{shadow} IN ACCESS EXCLUSIVE MODE")
            for number in range(1, 50):
                found = rows(client, f"SELECT x FROM price WHERE id = {number}")
                assert found == [(number * 10,)]
        large = rows(client, "SELECT repeat('x', 1000) FROM price")
        assert len(large) == 500
        assert told(client).endswith("no differences")


# ---------------------------------------------------------------- wrong transforms (issue 5, 8d)

COLUMNS = {
    **{name: kind for name, (kind, _) in RIGHT.items()},
    "price": "numeric",
    "city": "text",
    "extra": "int",
}
READ_ALL = "SELECT * FROM wrong ORDER BY id"
IMPOSSIBLE = ("duplicate rows",)
"""What the shadow's own primary key refuses."""


def wrong_shadow(client: psycopg.Connection[Any], root: psycopg.Connection[Any]) -> dict[str, str]:
    """A table with a shadow; {name: its name in the shadow}, "" is the shadow itself."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    client.execute(f"CREATE TABLE wrong ({columns}, PRIMARY KEY (id))")
    names = [*(n for n in COLUMNS if n not in ("day", "extra"))]
    marks = ", ".join("%s::text::jsonb" if n == "doc" else "%s" for n in names)
    listed = ", ".join(f'"{n}"' for n in names)
    with client.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO wrong ({listed}) VALUES ({marks})", [(n, *row) for n, row in SHOWING]
        )
    client.execute("UPDATE wrong SET day = at::date, extra = 7")
    client.execute("ALTER TABLE wrong ALTER COLUMN extra TYPE numeric(12,1)")
    reaches(client, "ready")
    query = "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]+s2$'"
    ((shadow,),) = root.execute(query).fetchall()
    columns_of = (
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attname ~ '^c[0-9]+$' "
        "ORDER BY attnum"
    )
    found = [row[0] for row in root.execute(columns_of, (f"morph_store.{shadow}",)).fetchall()]
    return {"": f"morph_store.{shadow}", **dict(zip(COLUMNS, found, strict=False))}


def mutate(root: psycopg.Connection[Any], names: dict[str, str], mutation: Mutation) -> None:
    """What a wrong transform would have made of the rows."""
    shadow = names[""]
    known = {name: names[name] for name in COLUMNS if name != "extra"}

    def physical(text: str) -> str:
        text = text.replace("t.quantity", "t.amount")
        return re.sub(r"\bt\.(\w+)", lambda m: f't."{known[m[1]]}"', text)

    root.execute("SET LOCAL morph.applying = 'on'")
    for number, (_, expression) in enumerate(mutation.columns):
        made = f'SELECT t."{known["id"]}" AS id, ({physical(expression)}) AS v FROM {shadow} t'
        root.execute(f"CREATE TEMP TABLE made{number} ON COMMIT DROP AS {made}")
    for number, (name, _) in enumerate(mutation.columns):
        root.execute(
            f'UPDATE {shadow} t SET "{known[name]}" = m.v FROM made{number} m '
            f'WHERE m.id = t."{known["id"]}"'
        )
    if mutation.rows:
        root.execute(re.sub(r"\bid\b", f'"{known["id"]}"', mutation.rows.format(shadow)))


FEW = ("off by one for some", "wrong zone", "null is empty", "missing rows")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(FEW, id="few"),
        pytest.param(
            tuple(n for n in MUTATIONS if n not in IMPOSSIBLE),
            id="all",
            marks=[pytest.mark.slow, pytest.mark.timeout(1800)],
        ),
    ],
)
@pytest.mark.timeout(600)
def test_wrong_transforms_are_found_by_queries_and_by_reads_of_clients(
    server: ServerProcess, wrong: tuple[str, ...]
) -> None:
    """Each mutation that a scrub finds (tests/validation) is found by both, too."""
    missed = []
    with server.connect() as client, server.root() as root:
        names = wrong_shadow(client, root)
        compares(client, READ_ALL)
        root.execute(f"CREATE TEMP TABLE right_rows AS SELECT * FROM {names['']}")
        for name in wrong:
            with root.transaction():
                mutate(root, names, MUTATIONS[name])
            client.execute(READ_ALL)
            by_reads = told(client)
            client.execute(f"CALL morph.validate(2, 'query', ARRAY['{READ_ALL}'])")
            query = (
                "SELECT verdict FROM morph.validation_reports "
                "WHERE method = 'query' ORDER BY report_id DESC LIMIT 1"
            )
            if "MISMATCH" not in by_reads or rows(client, query) != [("different",)]:
                missed.append((name, by_reads))
            with root.transaction():
                root.execute("SET LOCAL morph.applying = 'on'")
                root.execute(f"DELETE FROM {names['']}")
                root.execute(f"INSERT INTO {names['']} SELECT * FROM right_rows")
        client.execute(READ_ALL)
        assert told(client).endswith("no differences")
    assert missed == []
