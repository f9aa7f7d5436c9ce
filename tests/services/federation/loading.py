"""The tables' rows, put into real servers by each store's own driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
from bson import Binary, Decimal128, Int64
from bson.binary import UuidRepresentation
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import RoundRobinPolicy
from cassandra.query import tuple_factory
from psycopg import sql
from pymongo import MongoClient

from tests.services.federation.data import TableData
from tests.services.servers.process import RunningServer

Documents = MongoClient[dict[str, Any]]
CASSANDRA_TYPES = {
    "bigint": "bigint",
    "text": "text",
    "double precision": "double",
    "boolean": "boolean",
    "timestamp with time zone": "timestamp",
    "text[]": "list<text>",
    "numeric": "decimal",
    "uuid": "uuid",
    "bytea": "blob",
}


@contextmanager
def mongodb_client(server: RunningServer) -> Iterator[Documents]:
    """The driver's client; the server's own URI."""
    client: Documents = MongoClient(server.uri, uuidRepresentation="standard", tz_aware=True)
    with client:
        yield client


@contextmanager
def cassandra_session(server: RunningServer) -> Iterator[Session]:
    """A session that answers tuples."""
    profile = ExecutionProfile(
        load_balancing_policy=RoundRobinPolicy(), row_factory=tuple_factory, request_timeout=30
    )
    cluster = Cluster(
        [server.host],
        port=server.port,
        protocol_version=5,
        connect_timeout=30,
        control_connection_timeout=30,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def document_value(kind: str, value: Any) -> Any:
    """A value of a PostgreSQL type as BSON has it."""
    if value is None:
        return None
    if kind == "bigint":
        return Int64(value)
    if kind == "numeric":
        return Decimal128(Decimal(value))
    if kind == "uuid":
        return Binary.from_uuid(value, UuidRepresentation.STANDARD)
    return value


def document(table: TableData, row: Iterable[Any]) -> dict[str, Any]:
    """One document; every third row has no field where others have null, and the city lies deep."""
    found: dict[str, Any] = {}
    key = None
    for (name, kind), value in zip(table.columns.items(), row, strict=True):
        if key is None:
            key = value
            found["_id"] = document_value(kind, value)
        elif value is None and key % 3 == 0:
            continue
        elif name == "city":
            found["address"] = {"city": value}
        else:
            found[name] = document_value(kind, value)
    return found


def load_mongodb(server: RunningServer, namespace: str, tables: Iterable[TableData]) -> None:
    """A collection of each table."""
    with mongodb_client(server) as client:
        for table in tables:
            client[namespace].drop_collection(table.name)
            documents = [document(table, row) for row in table.rows]
            client[namespace][table.name].insert_many(documents)


def load_cassandra(server: RunningServer, namespace: str, tables: Iterable[TableData]) -> None:
    """A table of each, partitioned by its key."""
    with cassandra_session(server) as session:
        session.execute(
            f"CREATE KEYSPACE IF NOT EXISTS {namespace} WITH replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        for table in tables:
            session.execute(f"DROP TABLE IF EXISTS {namespace}.{table.name}")
            columns = ", ".join(f"{n} {CASSANDRA_TYPES[k]}" for n, k in table.columns.items())
            session.execute(
                f"CREATE TABLE {namespace}.{table.name} ({columns}, PRIMARY KEY ({table.key}))"
            )
            names = ", ".join(table.columns)
            marks = ", ".join("?" for _ in table.columns)
            insert = session.prepare(
                f"INSERT INTO {namespace}.{table.name} ({names}) VALUES ({marks})"
            )
            execute_concurrent_with_args(session, insert, table.rows)


def load_postgres(server: RunningServer, namespace: str, tables: Iterable[TableData]) -> None:
    """A table of each in a schema."""
    with psycopg.connect(server.uri, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(namespace))
        )
        for table in tables:
            fill_table(connection, table, f"{namespace}.{table.name}")


def fill_table(connection: psycopg.Connection[Any], table: TableData, name: str) -> None:
    """A table of any PostgreSQL with the rows."""
    columns = ", ".join(f"{n} {k}" for n, k in table.columns.items())
    marks = ", ".join("%s" for _ in table.columns)
    run(connection, f"DROP TABLE IF EXISTS {name}")
    run(connection, f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({table.key}))")
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES ({marks})".encode(), table.rows)


def run(connection: psycopg.Connection[Any], text: str) -> None:
    """One statement without parameters."""
    connection.execute(text.encode())


LOADERS: dict[str, Callable[[RunningServer, str, Iterable[TableData]], None]] = {
    "mongodb": load_mongodb,
    "cassandra": load_cassandra,
    "postgres": load_postgres,
}
