"""The two databases of `document_database` in the session's throw-away PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from private_pg.cluster import Cluster
from tests.property.document_database import Rewritten, build


@contextmanager
def document_databases(cluster: Cluster) -> Iterator[Rewritten]:
    """A fresh database called `morph` (the fixed objects name it so), filled."""
    with psycopg.connect(cluster.dsn(database="postgres"), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS morph WITH (FORCE)")
        admin.execute("CREATE DATABASE morph TEMPLATE template0")
    with psycopg.connect(cluster.dsn(database="morph")) as connection:
        build(connection)
        connection.commit()
        yield Rewritten(connection)
