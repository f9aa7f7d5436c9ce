"""A table `goods` of Cassandra with a composite key, which changes under load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import RoundRobinPolicy
from cassandra.query import BatchStatement, BatchType, tuple_factory

from tests.integration.changes.prices import WAIT_S, state
from tests.integration.server_process import ServerProcess, eventually
from tests.services.clients import Client
from tests.services.federation.placing import create_server_text
from tests.services.servers.process import RunningServer

CHANGE = 2
SHOPS = ("north", "south", "eást")
PER_SHOP = 100
STORED = """CREATE TABLE goods (
  shop text, no int, name text, total double, tags list<text>, marks map<text, int>, t time,
  PRIMARY KEY (shop, no)) WITH CLUSTERING ORDER BY (no DESC)"""
SHOWN = """CREATE FOREIGN TABLE goods (
  shop text NOT NULL, no int NOT NULL, name text, total double precision, tags text[]
) SERVER s OPTIONS (keyspace '{keyspace}', table_name 'goods', key 'shop,no')"""
CHANGE_TYPE = (
    "ALTER TABLE goods ALTER COLUMN total TYPE numeric(12,2) USING round(total::numeric, 2)"
)
BACK = "SET morph.back = 'total::double precision'"
REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': %d}"


@dataclass(frozen=True, slots=True)
class Goods(Client):
    """A client with the foreign table `goods`, and the keyspace behind it."""

    session: Session
    keyspace: str
    morphgres: ServerProcess

    def stored(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of Cassandra itself."""
        return sorted(self.session.execute(text, timeout=60))

    def tables(self) -> set[str]:
        """What is in the keyspace."""
        text = (
            f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{self.keyspace}'"
        )
        return {name for (name,) in self.session.execute(text, timeout=60)}

    def shadow(self) -> str:
        """The other layout."""
        [name] = [name for name in self.tables() if name != "goods" and "morph_log" not in name]
        return name

    def change(self) -> None:
        """Version 2: whole cents."""
        self.run(BACK, CHANGE_TYPE, "RESET morph.back")

    def reaches(self, wanted: str, seconds: float = WAIT_S) -> None:
        """Wait until the change is in a state."""
        eventually(
            lambda: state(self.client, CHANGE) == wanted,
            timeout_s=seconds,
            what=f"the change {wanted}, it is {state(self.client, CHANGE)}",
        )


def total_of(no: int) -> float:
    """What row `no` of each shop has at first: more digits than the new layout holds."""
    return no / 8


@contextmanager
def session_on(server: RunningServer) -> Iterator[Session]:
    """The driver's own session."""
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), row_factory=tuple_factory)
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


@contextmanager
def keyspace_on(server: RunningServer, keyspace: str, replicas: int = 1) -> Iterator[Session]:
    """The same on a new keyspace, which is dropped at the end."""
    with session_on(server) as session:
        for text in (
            f"DROP KEYSPACE IF EXISTS {keyspace}",
            f"CREATE KEYSPACE {keyspace} WITH replication = {REPLICATION % replicas}",
            f"USE {keyspace}",
        ):
            session.execute(text, timeout=60)
        yield session
        session.execute(f"DROP KEYSPACE {keyspace}", timeout=60)


def fill(session: Session, shops: Sequence[str] = SHOPS, per_shop: int = PER_SHOP) -> None:
    """Rows 1 to `per_shop` of each shop; `t` has nanoseconds, which PostgreSQL cannot show."""
    insert = session.prepare(
        "INSERT INTO goods (shop, no, name, total, tags, marks, t) VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    for shop in shops:
        for start in range(1, per_shop + 1, 50):
            batch = BatchStatement(BatchType.UNLOGGED)
            for no in range(start, min(start + 50, per_shop + 1)):
                tags, marks = ["a", f"n{no}"], {"m": no}
                batch.add(insert, (shop, no, f"n{no}", total_of(no), tags, marks, no))
            session.execute(batch, timeout=60)


def make_foreign(client: psycopg.Connection[Any], server: RunningServer, keyspace: str) -> None:
    """Version 1 of the table."""
    client.execute(create_server_text("s", server, keyspace=keyspace).encode())
    client.execute(SHOWN.format(keyspace=keyspace).encode())
