"""Lens laws of versions over the real store (EVOLUTION 2): random rows, random changes.

GetPut: writing back what a version shows changes nothing that any version shows. PutGet: what was
written through a version is what it shows, and what every other version shows of the same column.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.conftest import open_directory as _open_directory
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

open_directory = _open_directory
Connection = psycopg.Connection[Any]
COLUMNS = ("a", "b", "c")
values = st.none() | st.text("abcé'\"\\ ", max_size=6)
changes = st.lists(
    st.tuples(st.sampled_from(["rename", "drop", "add", "virtual", "default"]), st.integers(0, 5)),
    min_size=1,
    max_size=4,
)
written = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), values), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def lens_server(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "lenses") as process:
        yield process


class Model:
    """What each version shows of which original column, by position."""

    def __init__(self) -> None:
        self.versions: list[dict[str, str]] = [{c: c for c in COLUMNS}]

    def statement(self, kind: str, number: int) -> str:
        """The DDL of a change to the newest version, which is added here."""
        shown = dict(self.versions[-1])
        made = len(self.versions)
        names = list(shown)
        if kind == "rename" and names:
            name = names[number % len(names)]
            shown = {(f"r{made}" if n == name else n): o for n, o in shown.items()}
            text = f"RENAME COLUMN {name} TO r{made}"
        elif kind == "drop" and len(names) > 1:
            name = names[number % len(names)]
            del shown[name]
            text = f"DROP COLUMN {name} CASCADE"
        elif kind == "default" and names:
            # Another one each time: the same again would change nothing and make no version.
            text = f"ALTER COLUMN {names[number % len(names)]} SET DEFAULT 'd{made}'"
        elif kind == "virtual":
            text = f"ADD COLUMN v{made} int GENERATED ALWAYS AS (id * 2) VIRTUAL"
        else:
            shown[f"n{made}"] = f"n{made}"
            text = f"ADD COLUMN n{made} text"
        self.versions.append(shown)
        return f"ALTER TABLE t {text}"


def everything(client: Connection, model: Model) -> list[list[Any]]:
    return [
        client.execute(f"SELECT * FROM v{n}.t ORDER BY id").fetchall()
        for n in range(1, len(model.versions) + 1)
    ]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(values, values, values), max_size=4), ddl=changes, puts=written)
def test_lens_laws(
    lens_server: ServerProcess,
    rows: list[tuple[Any, ...]],
    ddl: list[tuple[str, int]],
    puts: list[tuple[int, int, Any]],
) -> None:  # R1.5
    empty_catalog(lens_server)
    with lens_server.connect() as client:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text)")
        for number, row in enumerate(rows, 1):
            client.execute("INSERT INTO t VALUES (%s, %s, %s, %s)", (number, *row))
        model = Model()
        for kind, number in ddl:
            client.execute(model.statement(kind, number))
        before = everything(client, model)
        for number, shown in enumerate(model.versions, 1):  # GetPut
            sets = ", ".join(f"{name} = {name}" for name in shown)
            client.execute(f"UPDATE v{number}.t SET {sets}")
        assert everything(client, model) == before
        for which, key, value in puts:  # PutGet
            number = (which - 1) % len(model.versions) + 1
            name, original = next(iter(model.versions[number - 1].items()))
            client.execute(
                f"INSERT INTO v{number}.t (id, {name}) VALUES (%s, %s) "
                f"ON CONFLICT (id) DO UPDATE SET {name} = EXCLUDED.{name}",
                (key, value),
            )
            for other, shown in enumerate(model.versions, 1):
                for seen, source in shown.items():
                    if source == original:
                        query = f"SELECT {seen} FROM v{other}.t WHERE id = {key}"
                        assert client.execute(query).fetchall() == [(value,)]
        shown_now = everything(client, model)
        client.execute(f"CALL morph.promote({len(model.versions)})")
        assert everything(client, model) == shown_now
        if len(model.versions) > 1:
            client.execute("CALL morph.rollback(2)")
            assert everything(client, model) == shown_now
