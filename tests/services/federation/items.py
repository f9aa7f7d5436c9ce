"""A small table for writes, made afresh in each store for each test, and the same in the judge."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import psycopg

from tests.services.federation.data import TableData
from tests.services.federation.loading import (
    LOADERS,
    cassandra_session,
    document_value,
    mongodb_client,
    run,
)
from tests.services.federation.placing import NAMESPACE, create_table_text
from tests.services.servers.process import RunningServer

AT = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
ITEMS = TableData(
    "items",
    {
        "id": "bigint",
        "name": "text",
        "qty": "bigint",
        "price": "numeric",
        "city": "text",
        "at": "timestamp with time zone",
        "tags": "text[]",
    },
    tuple(
        (
            n,
            f"item {n}",
            None if n == 5 else n % 4,
            Decimal(n * 125).scaleb(-2),
            ("Rome", None, "Oslo")[n % 3],
            AT + dt.timedelta(days=n),
            ["a", "b"][: n % 3] or None,
        )
        for n in range(1, 11)
    ),
)


def make_items(client: psycopg.Connection[Any], server: RunningServer, instance: str) -> None:
    """The table's rows in the store, and the foreign table unless it is there."""
    LOADERS[server.kind](server, NAMESPACE, [ITEMS])
    found = client.execute("SELECT to_regclass('public.items')").fetchone()
    if found == (None,):
        run(client, create_table_text(ITEMS, instance, server.kind))


def stored_ids(server: RunningServer) -> list[int]:
    """The keys that the store itself has, by its own driver."""
    if server.kind == "mongodb":
        with mongodb_client(server) as documents:
            return sorted(row["_id"] for row in documents[NAMESPACE]["items"].find())
    if server.kind == "cassandra":
        with cassandra_session(server) as session:
            return sorted(row[0] for row in session.execute(f"SELECT id FROM {NAMESPACE}.items"))
    with psycopg.connect(server.uri) as store:
        return [row[0] for row in store.execute(f"SELECT id FROM {NAMESPACE}.items ORDER BY id")]


def change_qty(server: RunningServer, key: int, qty: int) -> None:
    """Another program changes a row, past Morphgres."""
    if server.kind == "mongodb":
        with mongodb_client(server) as documents:
            changed = {"$set": {"qty": document_value("bigint", qty)}}
            documents[NAMESPACE]["items"].update_one({"_id": key}, changed)
    elif server.kind == "cassandra":
        with cassandra_session(server) as session:
            session.execute(f"UPDATE {NAMESPACE}.items SET qty = {qty} WHERE id = {key} IF EXISTS")
    else:
        with psycopg.connect(server.uri, autocommit=True) as store:
            run(store, f"UPDATE {NAMESPACE}.items SET qty = {qty} WHERE id = {key}")
