"""What names and settings mean to a session now, asked of its backend.

PostgreSQL reports a changed search_path with ReadyForQuery. What comes before that (the rest of a
text of several statements, the rest of a pipeline) is planned with what the backend answers here;
with ReadyForQuery the reported value holds again, since SET LOCAL and what failed are undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.notices import level
from proxy.relay import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.session import Session
    from rewrite.analysis import StatementPlan

_PATH_QUERY = "SHOW search_path"  # takes no snapshot: SET TRANSACTION may follow
_QUERY = (
    "SELECT pg_catalog.current_setting('morph.pushdown'), "
    "pg_catalog.current_setting('morph.ddl_mode'), "
    "pg_catalog.current_setting('client_min_messages'), "
    "pg_catalog.current_setting('search_path'), c.relname FROM (VALUES (1)) one "
    "LEFT JOIN pg_catalog.pg_class c ON c.relnamespace "
    "OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()"
)


def moves_names(statement: StatementPlan) -> bool:
    """Whether names may mean other tables behind this statement: it sets search_path, or ends a
    transaction in which it was set.
    """
    if statement.kind == "VariableSet":
        return (getattr(statement.node, "name", None) or "search_path") == "search_path"
    return statement.kind == "Transaction" or any(
        name.removeprefix("pg_catalog.") == "set_config" for name in statement.functions
    )


def moves_names_within(statements: Sequence[StatementPlan]) -> bool:
    """Whether one of them does so for those behind it."""
    return any(moves_names(statement) for statement in statements[:-1])


async def follow_path(session: Session) -> None:
    """Plan what comes next with the search_path as it is now, inside of a batch. Raises
    BackendError.
    """
    sink = await session.worker.scripts.fetch(session, _PATH_QUERY)
    session.follow(_text(session, sink.rows()[0][0]))


async def look_up(session: Session) -> None:
    """Which names mean the session's own temporary relations now, its path and its settings."""
    session.stale = False
    if session.failed:
        return  # whatever comes, PostgreSQL refuses it
    alone = session.relay.in_step
    try:
        sink = await session.worker.scripts.fetch(session, _QUERY)
        rows = [[_text(session, value) for value in row] for row in sink.rows()]
        pushdown, ddl_mode, messages, path, _ = rows[0]
        session.set_pushdown(pushdown)
        session.ddl_mode = ddl_mode.lower()
        session.messages_min = level(messages)
        session.temporary_names = frozenset(row[4] for row in rows) - {""}
        session.follow(path)
    except BackendError:
        session.stale = True  # a failed batch; look again at the next
    if session.relay.backend is not None:
        session.relay.backend.statements.discard("")
        if alone:
            await session.worker.scripts.sync(session)
    session.forget_plans()


def _text(session: Session, value: bytes | None) -> str:
    return (value or b"").decode(session.client.codec, "replace")
