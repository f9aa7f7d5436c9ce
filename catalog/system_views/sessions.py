"""morph.sessions."""

from __future__ import annotations

from catalog.system_views.view import SystemView

SESSIONS = SystemView(
    "sessions",
    "Client sessions, as they are when the statement runs.",
    (
        ("worker", "Worker process."),
        ("session_id", "Session within the worker."),
        ("usename", "Role."),
        ("application_name", "What the client calls itself."),
        ("client_addr", "Where it comes from."),
        ("state", "idle, active, in transaction or in failed transaction."),
        ("namespace", "First version namespace on its search_path."),
        ("version", "The version that it means."),
        ("attached_pid", "Backend of the private PostgreSQL that it holds, NULL for none."),
        ("connected_at", "When it connected."),
        ("statements", "Statements run."),
        ("query", "Its last statement."),
    ),
    """
SELECT worker, session_id, usename, application_name, client_addr, state, namespace, version,
  attached_pid, connected_at, statements, query
FROM morph_catalog.sessions ORDER BY worker, session_id""",
)
