"""The catalog store of one machine: tables in the private PostgreSQL (schema `morph_catalog`).

Reads whole snapshots; writes happen inside the transaction of the DDL that makes them, as
statements built here and authenticated for `morph_catalog.apply`.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

from catalog.codec import decode_version, encode_version
from catalog.model import CatalogSnapshot, Version
from catalog.sqltext import quote_ident, quote_literal
from catalog.system_views import system_views_sql

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCH_CHANNEL = "morph_epoch"

SNAPSHOT_QUERY = (
    "SELECT s.epoch, s.current_version, s.head_version, s.next_id, v.version, v.parent, "
    "v.created_at::text, v.spec::text FROM morph_catalog.state s "
    "LEFT JOIN morph_catalog.versions v ON true ORDER BY v.version"
)


async def bootstrap(connection: asyncpg.Connection, library_sql: str) -> None:
    """Make or update the fixed objects; `library_sql` defines the functions of schema morph."""
    async with connection.transaction():
        for script in ("bootstrap.sql", "walls.sql"):
            await connection.execute((files("catalog") / script).read_text("utf-8"))
        await connection.execute("SET LOCAL ROLE morph_owner")
        await connection.execute("TRUNCATE morph_catalog.nonces")
        await connection.execute(
            "TRUNCATE morph_catalog.sessions, morph_catalog.statements, "
            "morph_catalog.instance_health"
        )
        await connection.execute(library_sql)
        await connection.execute(system_views_sql())


async def ensure_role(connection: asyncpg.Connection, name: str) -> None:
    """Make the login role that mirrors a client's role, with the rights of every client."""
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
    if not exists:
        await connection.execute(f"CREATE ROLE {quote_ident(name)} LOGIN IN ROLE morph_client")


async def read_secret(connection: asyncpg.Connection) -> bytes:
    """The secret that authenticates the control plane's statements."""
    secret: bytes = await connection.fetchval("SELECT secret FROM morph_catalog.ddl_key")
    return secret


def snapshot_from_rows(rows: Iterable[tuple[object, ...]]) -> CatalogSnapshot:
    """The snapshot from the rows of SNAPSHOT_QUERY (text or native values)."""
    versions: dict[int, Version] = {}
    head: tuple[int, int, int, int] = (0, 0, 0, 1)
    for epoch, current, head_version, next_id, number, parent, created_at, spec in rows:
        head = (int(str(epoch)), int(str(current)), int(str(head_version)), int(str(next_id)))
        if number is not None:
            version = decode_version(int(str(number)), int(str(parent)), str(created_at), str(spec))
            versions[version.number] = version
    return CatalogSnapshot(
        epoch=head[0], current=head[1], head=head[2], versions=versions, next_id=head[3]
    )


async def load_snapshot(connection: asyncpg.Connection) -> CatalogSnapshot:
    """The committed snapshot."""
    return snapshot_from_rows([tuple(r) for r in await connection.fetch(SNAPSHOT_QUERY)])


def version_statement(version: Version) -> str:
    """Write (or overwrite) one version's row."""
    spec = quote_literal(encode_version(version))
    return (
        f"INSERT INTO morph_catalog.versions (version, parent, spec) "
        f"VALUES ({version.number}, {version.parent}, {spec}::jsonb) "
        "ON CONFLICT (version) DO UPDATE SET spec = EXCLUDED.spec"
    )


def state_statements(snapshot: CatalogSnapshot) -> list[str]:
    """Write the pointers of a new epoch and announce it at commit."""
    return [
        f"UPDATE morph_catalog.state SET epoch = {snapshot.epoch}, "
        f"current_version = {snapshot.current}, head_version = {snapshot.head}, "
        f"next_id = {snapshot.next_id}",
        f"UPDATE morph_catalog.instances SET model_version = {snapshot.current}, "
        "freshness_at = now() WHERE instance_id = 'embedded'",
        f"SELECT pg_notify('{EPOCH_CHANNEL}', '{snapshot.epoch}')",
    ]


def change_statement(
    change_id: int, kind: str, relation: str, ddl: str, *, origin: str, actor: str, state: str
) -> str:
    """Record one operation of a change."""
    values = ", ".join(quote_literal(v) for v in (kind, relation, ddl, origin, actor, state))
    return (
        "INSERT INTO morph_catalog.changes "
        "(change_id, seq, kind, relation, ddl, origin, actor, state) "
        f"SELECT {change_id}, coalesce(max(seq), 0) + 1, {values} "
        f"FROM morph_catalog.changes WHERE change_id = {change_id}"
    )


def authenticate(secret: bytes, backend_pid: int, nonce: str, statements: list[str]) -> str:
    """The code that `morph_catalog.apply` asks for."""
    text = f"{nonce}:{backend_pid}:" + "\x01".join(statements)
    return hashlib.sha256(secret + text.encode("utf-8")).hexdigest()
