"""The shortcut of one statement of a client that waits for it, and that needs only a relay.

Such a statement is most of what most clients send. Its bytes are looked up instead of framed,
decoded and planned, and go to the backend in one write: a Query that was seen before, or one of a
known template, or Bind, Describe (or not), Execute and Sync of a prepared statement.

Nothing here is a rule of its own: what comes back as None is worked off message by message by
`Session.handle`, which gives the same. Faults are found and reported there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from engine.plans import CacheCounts, Plan, PlanCache
from proxy.prepared import Portal
from proxy.protocol import requests
from proxy.protocol.framing import HEADER_BYTES, message, read_header
from proxy.protocol.message_types import ClientType
from proxy.relay import Entry
from rewrite.namespaces import Namespaces

if TYPE_CHECKING:
    from proxy.session import Session

# What goes to the backend, and its plan.
Shortcut = tuple[bytes, Plan]

_UTF8 = "utf-8"
_RUN = requests.EXECUTE_ALL + requests.SYNC
_DESCRIBE_AND_RUN = requests.DESCRIBE_PORTAL + _RUN


class SessionPlans(PlanCache):
    """The plans of one namespace view, and Query messages whose plan needs only a relay, by their
    bytes. The oldest message goes first: its plan is still cached.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        *,
        pushdown: bool,
        entries_max: int,
        text_max: int,
        counts: CacheCounts | None = None,
    ) -> None:
        super().__init__(
            namespaces, pushdown=pushdown, entries_max=entries_max, text_max=text_max, counts=counts
        )
        self.messages: OrderedDict[bytes, Shortcut] = OrderedDict()
        self._messages_max = entries_max

    def keep(self, data: bytes, found: Shortcut) -> None:
        """Remember what a Query message becomes."""
        self.messages[data] = found
        if len(self.messages) > self._messages_max:
            self.messages.popitem(last=False)


def query(session: Session, data: bytes) -> Shortcut | None:
    """A Query with a cached plan."""
    if session.client.codec != _UTF8 or "" in session.statements:
        return None  # the same bytes are another text; a Query ends the unnamed statement
    plans = session.current_plans()
    found = plans.messages.get(data)
    if found is None:
        if read_header(data)[1] + 1 != len(data):
            return None
        if data.find(0, HEADER_BYTES) != len(data) - 1:
            return None
        try:
            text = data[HEADER_BYTES:-1].decode()
        except UnicodeDecodeError:
            return None
        plan = plans.find(text)
        if plan is None or not plan.inert:
            return None
        wire = data
        if plan.wire_text != text:
            wire = message(ClientType.QUERY, plan.wire_text.encode() + b"\0")
        found = wire, plan
        if plan.analysis is not None:  # not of a template: its text may well come again
            plans.keep(data, found)
    plans.counts.hits += 1
    return found


def batch(session: Session, data: bytes, entry: Entry) -> Shortcut | None:
    """Bind, Describe (or not), Execute of the unnamed portal, and Sync: one entry for them all."""
    end = read_header(data)[1] + 1
    rest = data[end:]
    describes = rest == _DESCRIBE_AND_RUN
    if not describes and rest != _RUN:
        return None
    name_end = data.find(0, HEADER_BYTES + 1, end)
    if data[HEADER_BYTES] != 0 or name_end < 0:
        return None
    try:
        prepared = session.statements.get(data[HEADER_BYTES + 1 : name_end].decode())
    except UnicodeDecodeError:
        return None
    backend = session.relay.backend
    if prepared is None or backend is None or prepared.name not in backend.statements:
        return None
    plan = prepared.plan
    if not plan.runs_inert or prepared.epoch != session.snapshot.epoch:
        return None
    portals = session.portals
    if portals and "" not in portals:
        return None  # there may be as many as there can be
    portal = prepared.unnamed
    if portal is None:
        portal = prepared.unnamed = Portal("", prepared)
    portals[""] = portal
    entry.describes = describes
    return data, plan
