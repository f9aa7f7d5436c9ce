"""Long texts of a session: planned by a process of their own before their message is worked off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import MorphError, QueryCanceled
from engine.apart.answers import Question
from engine.plans import Plan, PlanCache
from proxy.protocol.message_types import ClientType
from proxy.protocol.parse import Parse
from proxy.protocol.query import Query
from rewrite.context import NeedsWidth

if TYPE_CHECKING:
    from proxy.session import Session


@dataclass(frozen=True, slots=True)
class Planned:
    """What planning a text came to, for the names of one plan cache."""

    text: str
    plans: PlanCache
    outcome: Plan | MorphError | NeedsWidth

    def fits(self, text: str, plans: PlanCache) -> bool:
        """True when it is what planning this text would come to now."""
        return self.plans is plans and self.text == text

    def result(self) -> Plan:
        """The plan; raises what planning raised."""
        if isinstance(self.outcome, Plan):
            return self.outcome
        raise self.outcome


def long_text(session: Session, kind: int, body: bytes) -> str | None:
    """The text of a message that must be planned apart before it is worked off. None when it need
    not be, or when it is refused before it is planned.
    """
    settings = session.worker.settings
    if len(body) < settings.plan.apart_bytes_min:
        return None
    codec = session.client.codec
    try:
        if kind == ClientType.QUERY:
            text = Query.decode(body, codec).sql
        elif kind == ClientType.PARSE:
            text = Parse.decode(body, codec).sql
        else:
            return None
        session.worker.check_length(text)
    except MorphError:
        return None  # it is reported where the message is handled
    if len(text) < settings.plan.apart_bytes_min or session.is_planned(text):
        return None
    return text


async def plan(
    session: Session, text: str, plans: PlanCache, widths: Mapping[int, int] | None = None
) -> Planned:
    """Have a text planned; a cancel of the session ends it."""
    question = Question(text, plans.namespaces, session.pushdown, widths or {})
    work = asyncio.ensure_future(session.worker.planners.plan(question))
    session.on_cancel = work.cancel
    try:
        await asyncio.wait([work])
    finally:
        session.on_cancel = None
        work.cancel()
    if work.cancelled():
        return Planned(text, plans, QueryCanceled("canceling statement due to user request"))
    error = work.exception()
    if error is None:
        found = work.result()
        if not widths:
            plans.remember(text, found)
        return Planned(text, plans, found)
    if isinstance(error, MorphError | NeedsWidth):
        return Planned(text, plans, error)
    raise error
