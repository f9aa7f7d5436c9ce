"""What a statement does when it cannot be relayed: DDL, CALL morph.*, COPY into documents, the
merge tier, maintenance. Each kind has its own module; this one dispatches and owns `apply`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from catalog.store import authenticate
from core.encoding.arrays import array_text
from core.errors import FeatureNotSupported
from engine.plans import Plan
from proxy.alone import Alone
from proxy.copy_in import CopyIn
from proxy.ddl import Ddl
from proxy.explain import Explain
from proxy.federation import Federation
from proxy.maintain import Maintain
from proxy.merging import Merging
from proxy.prepared import Portal
from rewrite.analysis import Action, StatementPlan

if TYPE_CHECKING:
    from proxy.scripts import Scripts
    from proxy.session import Session
    from proxy.worker import Worker


class Operations:
    """The operations of one worker."""

    def __init__(self, worker: Worker, scripts: Scripts) -> None:
        self.worker = worker
        self.scripts = scripts
        self.explainer = Explain(self)
        self.merging = Merging(self)
        self.federation = Federation(self)
        self.alone = Alone(self, self.federation.staging)
        ddl = Ddl(self)
        self._by_action: dict[Action, Callable[..., Awaitable[None]]] = {
            Action.DDL: ddl.run,
            Action.CALL: ddl.call,
            Action.COPY_IN: CopyIn(self).run,
            Action.MAINTAIN: Maintain(self).run,
            Action.EXPLAIN: self.explainer.run,
            Action.MERGE: self.merging.run,
            Action.FEDERATE: self.federation.run,
        }

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """Run one statement and answer the client; `portal` is set in the extended protocol."""
        operation = self._by_action.get(statement.action)
        if operation is None:
            raise FeatureNotSupported(f"{statement.action.value} is not supported")
        await operation(session, plan, statement, portal=portal, execute=execute)

    async def apply(self, session: Session, statements: list[str]) -> None:
        """Run statements as morph_owner inside the session's transaction; raises BackendError."""
        backend = session.relay.backend
        assert backend is not None
        nonce = secrets.token_hex(16)
        code = authenticate(self.worker.secret, backend.pid, nonce, statements)
        # As parameters: other sessions of the role can see the texts of this one's statements.
        await self.scripts.fetch(
            session, "SELECT morph_catalog.apply($1, $2, $3)", [array_text(statements), nonce, code]
        )

    async def explain(self, session: Session, plan: Plan, statement: StatementPlan) -> None:
        """EXPLAIN of a statement over store tables."""
        await self.explainer.run(session, plan, statement)
