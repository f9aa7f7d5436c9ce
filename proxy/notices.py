"""What Morphgres itself tells a client beside the answer, as loud as the session wants it.

PostgreSQL 18, "client_min_messages": messages below the level are not sent; INFO always is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from evolution.lifecycle import line
from proxy.protocol.reports import notice_response

if TYPE_CHECKING:
    from engine.plans import Plan
    from proxy.session import Session

_LEVELS: Final = {"debug": 0, "log": 1, "notice": 2, "warning": 3, "error": 4}
DEFAULT_LEVEL: Final = _LEVELS["notice"]
FOLLOWED: Final = ("morph.", "client_min_messages")  # settings that a session looks up when set


def level(setting: str) -> int:
    """The rank of a value of client_min_messages, from 0 (all) to 4 (errors only)."""
    return _LEVELS.get(setting.lower().rstrip("12345"), DEFAULT_LEVEL)


def notice(
    session: Session, severity: str, sqlstate: str, primary: str, detail: str = "", hint: str = ""
) -> bytes:
    """The NoticeResponse, or nothing when the session does not want messages of this severity."""
    if severity != "INFO" and level(severity) < session.messages_min:
        return b""
    return notice_response(severity, sqlstate, primary, detail, hint)


def warn_superseded(session: Session, plan: Plan) -> None:
    """A WARNING, once a session and version, that the current version has superseded one."""
    snapshot = session.snapshot
    for statement in plan.statements:
        for ref in statement.relations:
            number = ref.resolved.version.number
            if number >= snapshot.current or number in session.warned_versions:
                continue
            session.warned_versions.add(number)
            if number in line(snapshot, snapshot.current):
                hint = f"Version {snapshot.current} has superseded it."
                message = f"version {number} is deprecated"
                session.worker.metrics.warnings.cell("01000").value += 1
                session.relay.answer_locally(notice(session, "WARNING", "01000", message, "", hint))
