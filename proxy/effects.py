"""What statements mean for the session that runs them: settings, prepared statements, DISCARD."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.notices import DEFAULT_LEVEL, FOLLOWED
from proxy.store_transactions import note_transaction

if TYPE_CHECKING:
    from proxy.session import Session


def _set_variable(session: Session, node: object) -> None:
    name = getattr(node, "name", None) or ""
    args = getattr(node, "args", None) or ()
    session.pinned = True
    session.isolation.note_setting(name)
    if name.startswith(FOLLOWED) or not name:
        # For the rest of this text; then it is looked up, and again when a transaction ends.
        session.maybe_temporary = session.stale = True
    if name == "search_path" or not name:
        session.stale = session.path_moved = True
    if name == "morph.pushdown":
        session.set_pushdown(_setting_text(args, "on"))
        session.forget_plans()
    elif name == "morph.ddl_mode":
        session.ddl_mode = _setting_text(args, session.worker.ddl_mode).lower()
    elif not name:  # RESET ALL
        session.set_pushdown("on")
        session.ddl_mode = session.worker.ddl_mode
        session.forget_plans()


def _setting_text(args: object, default: str) -> str:
    for arg in args:  # type: ignore[attr-defined]
        value = getattr(arg, "val", None)
        text = getattr(value, "sval", None)
        if text is not None:
            return str(text)
    return default


def _discard(session: Session, node: object) -> None:
    session.statements.clear()
    session.foreign_prepared.clear()
    session.isolation.forget()
    if getattr(getattr(node, "target", None), "name", "") == "DISCARD_ALL":
        session.pinned = False
        session.maybe_temporary = session.stale = session.asks_for_settings()
        session.temporary_names = frozenset()
        session.set_pushdown("on")
        session.ddl_mode = session.worker.ddl_mode
        session.messages_min = DEFAULT_LEVEL
        session.forget_plans()


def _deallocate(session: Session, node: object) -> None:
    name = getattr(node, "name", None)
    if name is None:
        session.statements.clear()
        session.foreign_prepared.clear()
    else:
        session.statements.pop(name, None)
        session.foreign_prepared.pop(name, None)


def _transaction(session: Session, node: object) -> None:
    session.isolation.note_transaction(node)
    note_transaction(session, node)


def _alter_role(session: Session, node: object) -> None:
    session.worker.pool.retire()


STATEMENT_EFFECTS: dict[str, Callable[[Session, object], None]] = {
    "VariableSet": _set_variable,
    "Discard": _discard,
    "Deallocate": _deallocate,
    "AlterRoleSet": _alter_role,
    "Transaction": _transaction,
}
