"""Writes what a worker remembers into unlogged tables, when a statement asks for it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from proxy.session import Session
    from proxy.worker import Worker

_STATES = {ord("I"): "idle", ord("T"): "in transaction", ord("E"): "in failed transaction"}


def _session_row(worker: Worker, session: Session) -> tuple[object, ...]:
    client = session.client
    backend = session.relay.backend
    snapshot = session.snapshot
    age = timedelta(seconds=worker.clock() - client.connected_at)
    active = not session.relay.idle
    namespaces = session.plans.namespaces
    version = namespaces.default_version
    return (
        worker.number,
        session.id,
        client.startup.parameters.get("user", ""),
        client.startup.parameters.get("application_name", ""),
        client.address,
        "active" if active else _STATES[session.status],
        namespaces.default_schema,
        version.number if version else snapshot.current,
        backend.pid if backend else None,
        worker.now() - age,
        session.statements_run,
        session.last_query[:1000],
    )


async def write_runtime(admin: asyncpg.Connection, worker: Worker) -> None:
    """Replace this worker's rows."""
    sessions = [_session_row(worker, s) for s in list(worker.sessions.values())]
    statements = [(worker.number, *row) for row in worker.statements.rows()]
    async with admin.transaction():
        for table in ("sessions", "statements"):
            await admin.execute(
                f"DELETE FROM morph_catalog.{table} WHERE worker = $1", worker.number
            )
        await admin.copy_records_to_table("sessions", schema_name="morph_catalog", records=sessions)
        await admin.copy_records_to_table(
            "statements", schema_name="morph_catalog", records=statements
        )
