"""A table that is split, in the middle of other changes, against a model of its rows (EVOLUTION 2):
random conditions, rows and writes through every version.

GetPut: writing back what a table shows changes nothing. PutGet: what was written through a table is
what it and all others show of the row; a row that would not be in its table is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from tests.integration.conftest import open_directory as _open_directory
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

open_directory = _open_directory
Connection = psycopg.Connection[Any]
Row = tuple[str | None, int | None]
REGIONS = st.none() | st.sampled_from(["eu", "us", "as"])
NUMBERS = st.none() | st.integers(-3, 3)
CONDITIONS: tuple[tuple[str, Callable[[Row], bool | None]], ...] = (
    ("{r} = 'eu'", lambda row: None if row[0] is None else row[0] == "eu"),
    ("{n} > 0", lambda row: None if row[1] is None else row[1] > 0),
    ("{r} IS NULL OR {n} < 1", lambda row: row[0] is None or (row[1] is not None and row[1] < 1)),
    ("coalesce({n}, 1) % 2 = 0", lambda row: (1 if row[1] is None else row[1]) % 2 == 0),
)
BEFORE = ("RENAME COLUMN r TO r2", "ADD COLUMN more text DEFAULT 'x'", "RENAME TO o2",
          "ALTER COLUMN n SET DEFAULT 7", "DROP COLUMN note")  # fmt: skip
AFTER = ("ADD COLUMN late int", "ALTER COLUMN n SET DEFAULT 9", "RENAME TO renamed")


class History(NamedTuple):
    """Changes before and after the split, its conditions, rows, and writes."""

    before: list[str]
    after: list[str]
    first: int
    second: int | None
    merged: bool
    rows: list[Row]
    writes: list[tuple[int, str, int, Row]]


def histories() -> st.SearchStrategy[History]:
    row = st.tuples(REGIONS, NUMBERS)
    kinds = st.sampled_from(["insert", "update", "delete"])
    write = st.tuples(st.integers(0, 9), kinds, st.integers(1, 5), row)
    return st.builds(
        History,
        before=st.lists(st.sampled_from(BEFORE), max_size=3, unique=True),
        after=st.lists(st.sampled_from(AFTER), max_size=2, unique=True),
        first=st.integers(0, len(CONDITIONS) - 1),
        second=st.none() | st.integers(0, len(CONDITIONS) - 1),
        merged=st.booleans(),
        rows=st.lists(row, max_size=5),
        writes=st.lists(write, min_size=1, max_size=8),
    )


@pytest.fixture(scope="module")
def lens_server(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "parts") as process:
        yield process


class Shown(NamedTuple):
    """A table of a version: its name, that of column r, and whether a row is in it."""

    name: str
    region: str
    holds: Callable[[Row], bool]


def everything(row: Row) -> bool:
    return True


def carry_out(client: Connection, history: History) -> list[Shown]:
    """Run the changes; all tables of all versions."""
    name, region, number = "o", "r", 1
    shown = [Shown("v1.o", "r", everything)]
    for change in history.before:
        client.execute(f"ALTER TABLE v{number}.{name} {change}")
        number += 1
        name = "o2" if change == "RENAME TO o2" else name
        region = "r2" if change == "RENAME COLUMN r TO r2" else region
        shown.append(Shown(f"v{number}.{name}", region, everything))
    first, in_first = CONDITIONS[history.first]
    arguments = [name, "one", first.format(r=region, n="n"), "two"]
    wanted: Callable[[Row], bool | None] = everything
    if history.second is not None:
        second, wanted = CONDITIONS[history.second]
        arguments.append(second.format(r=region, n="n"))
    client.execute(f"SET search_path = v{number}")
    quoted = ", ".join("'" + a.replace("'", "''") + "'" for a in arguments)
    client.execute(f"CALL morph.split_table({quoted})")
    parts = {
        "one": lambda row: in_first(row) is True,
        "two": lambda row: in_first(row) is not True and wanted(row) is True,
    }
    names = {"one": "one", "two": "two"}
    number += 1
    shown += [Shown(f"v{number}.{names[p]}", region, holds) for p, holds in parts.items()]
    for change in history.after:
        client.execute(f"ALTER TABLE v{number}.{names['two']} {change}")
        number += 1
        names["two"] = "renamed" if change == "RENAME TO renamed" else names["two"]
        shown += [Shown(f"v{number}.{names[p]}", region, holds) for p, holds in parts.items()]
    if history.merged:
        client.execute(f"SET search_path = v{number}")
        client.execute(f"CALL morph.merge_tables('{names['two']}', 'one', 'again')")
        shown.append(Shown(f"v{number + 1}.again", region, everything))
    return shown


def check(client: Connection, shown: list[Shown], model: dict[int, Row]) -> None:
    for table in shown:
        found = client.execute(f"SELECT id, {table.region}, n FROM {table.name}").fetchall()
        wanted = {key: row for key, row in model.items() if table.holds(row)}
        assert {key: (region, n) for key, region, n in found} == wanted, table.name


def write(client: Connection, table: Shown, kind: str, key: int, row: Row) -> int:
    """Run one write; how many rows it says it changed."""
    if kind == "insert":
        text = f"INSERT INTO {table.name} (id, {table.region}, n) VALUES (%s, %s, %s)"
        return client.execute(text, (key, *row)).rowcount
    if kind == "update":
        text = f"UPDATE {table.name} SET {table.region} = %s, n = %s WHERE id = %s"
        return client.execute(text, (*row, key)).rowcount
    return client.execute(f"DELETE FROM {table.name} WHERE id = %s", (key,)).rowcount


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=histories())
def test_parts_are_their_rows(lens_server: ServerProcess, history: History) -> None:  # R4.1 R1.5
    empty_catalog(lens_server)
    with lens_server.connect() as client:
        client.execute("CREATE TABLE o (id int PRIMARY KEY, r text, n int, note text)")
        model = dict(enumerate(history.rows, 1))
        for key, row in model.items():
            client.execute("INSERT INTO o VALUES (%s, %s, %s)", (key, *row))
        client.execute("SET morph.ddl_mode = virtual; SET client_min_messages = error")
        shown = carry_out(client, history)
        check(client, shown, model)
        for which, kind, key, row in history.writes:
            table = shown[which % len(shown)]
            there = key in model and table.holds(model[key])
            if kind == "insert" and (key in model or not table.holds(row)):
                with pytest.raises((errors.UniqueViolation, errors.WithCheckOptionViolation)):
                    write(client, table, kind, key, row)
            elif kind == "update" and there and not table.holds(row):
                with pytest.raises(errors.WithCheckOptionViolation):
                    write(client, table, kind, key, row)
            else:
                done = write(client, table, kind, key, row)
                assert done == (1 if kind == "insert" or there else 0)
                if kind == "delete" and done:
                    del model[key]
                elif done:
                    model[key] = row
            check(client, shown, model)
        for table in shown:  # GetPut
            client.execute(f"UPDATE {table.name} SET {table.region} = {table.region}, n = n")
        check(client, shown, model)
