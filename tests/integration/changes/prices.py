"""A table `price` whose column is to become numeric: every version can show every row."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.integration.server_process import eventually

Connection = psycopg.Connection[Any]
ROWS = 500
WAIT_S = 60.0
CHANGE = 2
STEPS = ["Started", "Begun", "Copied", "CaughtUp", "Validated", "Fence", "Flipped"]


def make_prices(client: Connection, rows: int = ROWS) -> None:
    """Version 1: cents as integers."""
    client.execute("CREATE TABLE price (id int PRIMARY KEY, x int)")
    client.execute(f"INSERT INTO price SELECT g, g * 10 FROM generate_series(1, {rows}) g")


def change_type(client: Connection) -> None:
    """Version 2: the same in whole units."""
    client.execute("SET morph.back = '(x * 100)::int'")
    client.execute("ALTER TABLE price ALTER COLUMN x TYPE numeric(12,3) USING x / 100.0")
    client.execute("RESET morph.back")


def rows(client: Connection, query: str) -> list[tuple[Any, ...]]:
    """What a query gives."""
    return client.execute(query).fetchall()


def state(client: Connection, change: int = CHANGE) -> str:
    """The state of the change."""
    found = rows(client, f"SELECT DISTINCT state FROM morph.changes WHERE change_id = {change}")
    return str(found[0][0]) if found else ""


def reaches(client: Connection, wanted: str, change: int = CHANGE) -> None:
    """Wait until the change is in a state."""
    eventually(
        lambda: state(client, change) == wanted,
        timeout_s=WAIT_S,
        what=f"change {change} {wanted}, it is {state(client, change)}",
    )


def in_state(client: Connection, wanted: str, change: int = CHANGE) -> bool:
    """Whether it is there now."""
    return state(client, change) == wanted


def events(client: Connection, change: int = CHANGE) -> list[str]:
    """What happened to it, but for who drives it."""
    query = f"SELECT event FROM morph.change_steps WHERE change_id = {change} ORDER BY step_id"
    return [str(row[0]) for row in rows(client, query) if row[0] != "Claimed"]
