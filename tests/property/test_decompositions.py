"""A table whose columns became a table of their own, in the middle of other changes, against a
model of its rows (EVOLUTION 2): random rows and writes through every table of every version.

GetPut: writing back what a table shows changes nothing. PutGet: what was written through a table is
what it and all others show; what the whole cannot say is refused, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.conftest import open_directory as _open_directory
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

open_directory = _open_directory
Connection = psycopg.Connection[Any]
Row = dict[str, str | int | None]
TEXTS = st.none() | st.sampled_from(["x", "y", ""])
BEFORE = ("RENAME COLUMN p TO p2", "ADD COLUMN more text DEFAULT 'x'", "DROP COLUMN note",
          "ALTER COLUMN n SET DEFAULT 7")  # fmt: skip
AFTER = ("aside RENAME COLUMN q TO q2", "o ADD COLUMN late int", "o RENAME TO left_over",
         "aside ADD COLUMN land text")  # fmt: skip


class Shown(NamedTuple):
    """A table of a version: its name, and its columns but the key by those of the model. `part`:
    it has only rows that have one of the moved columns.
    """

    name: str
    columns: dict[str, str]
    part: bool = False

    def holds(self, row: Row) -> bool:
        return not self.part or row["p"] is not None or row["q"] is not None


class History(NamedTuple):
    """Changes before and after, whether the tables are joined again, rows and writes."""

    before: list[str]
    after: list[str]
    joined: bool
    rows: list[Row]
    writes: list[tuple[int, str, int, Row]]


def histories() -> st.SearchStrategy[History]:
    row = st.fixed_dictionaries({"n": st.none() | st.integers(-3, 3), "p": TEXTS, "q": TEXTS})
    kinds = st.sampled_from(["insert", "insert", "update", "delete"])
    return st.builds(
        History,
        before=st.lists(st.sampled_from(BEFORE), max_size=3, unique=True),
        after=st.lists(st.sampled_from(AFTER), max_size=2, unique=True),
        joined=st.booleans(),
        rows=st.lists(row, max_size=4),
        writes=st.lists(
            st.tuples(st.integers(0, 19), kinds, st.integers(1, 5), row), min_size=1, max_size=8
        ),
    )


@pytest.fixture(scope="module")
def lens_server(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "decompositions") as process:
        yield process


def carry_out(client: Connection, history: History) -> list[Shown]:
    """Run the changes; all tables of all versions."""
    names, number = {"n": "n", "p": "p", "q": "q"}, 1
    shown = [Shown("v1.o", dict(names))]
    for change in history.before:
        client.execute(f"ALTER TABLE v{number}.o {change}")
        number += 1
        names["p"] = "p2" if "p2" in change else names["p"]
        shown.append(Shown(f"v{number}.o", dict(names)))
    client.execute(f"SET search_path = v{number}")
    client.execute(f"CALL morph.decompose_table('o', 'aside', '{{{names['p']},q}}')")
    tables = {"o": "o", "aside": "aside"}
    for change in ("", *history.after):
        if change:
            table, _, action = change.partition(" ")
            client.execute(f"ALTER TABLE v{number}.{tables[table]} {action}")
            names["q"] = "q2" if "q2" in change else names["q"]
            tables["o"] = "left_over" if "left_over" in change else tables["o"]
        number += 1
        moved = {key: names[key] for key in ("p", "q")}
        shown.append(Shown(f"v{number}.{tables['o']}", {"n": "n"}))
        shown.append(Shown(f"v{number}.{tables['aside']}", moved, part=True))
    if history.joined:
        client.execute(f"SET search_path = v{number}")
        client.execute(f"CALL morph.join_tables('{tables['o']}', 'aside', 'again')")
        shown.append(Shown(f"v{number + 1}.again", dict(names)))
    return shown


def check(client: Connection, shown: list[Shown], model: dict[int, Row]) -> None:
    for table in shown:
        listed = ", ".join(table.columns.values())
        found = client.execute(f"SELECT id, {listed} FROM {table.name}").fetchall()
        wanted = {
            key: tuple(row[c] for c in table.columns)
            for key, row in model.items()
            if table.holds(row)
        }
        assert {key: tuple(values) for key, *values in found} == wanted, table.name


def expected(table: Shown, kind: str, key: int, row: Row, model: dict[int, Row]) -> str | int:
    """How many rows a write changes, or the SQLSTATE of why it cannot be; the model follows."""
    there = key in model and table.holds(model[key])
    values = {column: row[column] for column in table.columns}
    if kind == "delete":
        if there and table.part:
            model[key] = {**model[key], "p": None, "q": None}
        elif there:
            del model[key]
        return int(there)
    if kind == "update":
        if there and not table.holds({**model[key], **values}):
            return "44000"
        if there:
            model[key] = {**model[key], **values}
        return int(there)
    if there or (key in model and not table.part):
        return "23505"
    if table.part and key not in model:
        return "23503"
    if not table.holds(row):
        return "44000"
    model[key] = {**model.get(key, {"n": None, "p": None, "q": None}), **values}
    return 1


def write(client: Connection, table: Shown, kind: str, key: int, row: Row) -> str | int:
    names = list(table.columns.values())
    values = [row[column] for column in table.columns]
    try:
        if kind == "insert":
            places = ", ".join(["%s"] * (len(names) + 1))
            text = f"INSERT INTO {table.name} (id, {', '.join(names)}) VALUES ({places})"
            return client.execute(text, [key, *values]).rowcount
        if kind == "update":
            sets = ", ".join(f"{name} = %s" for name in names)
            return client.execute(
                f"UPDATE {table.name} SET {sets} WHERE id = %s", [*values, key]
            ).rowcount
        return client.execute(f"DELETE FROM {table.name} WHERE id = %s", [key]).rowcount
    except psycopg.Error as error:
        return error.sqlstate or ""


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=histories())
def test_two_tables_are_one(lens_server: ServerProcess, history: History) -> None:  # R4.1 R1.5
    empty_catalog(lens_server)
    with lens_server.connect() as client:
        client.execute("CREATE TABLE o (id int PRIMARY KEY, n int, p text, q text, note text)")
        model = {key: dict(row) for key, row in enumerate(history.rows, 1)}
        for key, row in model.items():
            client.execute(
                "INSERT INTO o VALUES (%s, %s, %s, %s)", (key, row["n"], row["p"], row["q"])
            )
        client.execute("SET morph.ddl_mode = virtual; SET client_min_messages = error")
        shown = carry_out(client, history)
        check(client, shown, model)
        for which, kind, key, row in history.writes:
            table = shown[which % len(shown)]
            wanted = expected(table, kind, key, row, model)
            assert write(client, table, kind, key, row) == wanted, (table, kind, key, row)
            check(client, shown, model)
        for table in shown:  # GetPut
            sets = ", ".join(f"{name} = {name}" for name in table.columns.values())
            client.execute(f"UPDATE {table.name} SET {sets}")
        check(client, shown, model)
