"""Prepared statements and portals of a session, as the client knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.plans import Plan
from rewrite.analysis import Action

if TYPE_CHECKING:
    from proxy.alone import StoreAnswer


@dataclass(slots=True)
class Prepared:
    """A statement: its text, its parameter types as the client gave them (raw end of Parse), the
    plan, and the row description that the client was shown (None until described).
    """

    name: str
    text: str
    types: bytes
    plan: Plan
    epoch: int
    search_path: str
    description: bytes | None = None
    refused: bool = False  # planned anew, its row description would change
    unnamed: Portal | None = None  # its unnamed portal, where running it is a relay only
    store_answer: StoreAnswer | None = None  # a store answers it alone

    @property
    def action(self) -> Action:
        """What executing it needs."""
        single = self.plan.single
        return single.action if single is not None else Action.RELAY


@dataclass(slots=True)
class Portal:
    """A portal: the statement, and the raw Bind when executing needs more than a relay. `inner` is
    the portal of the merge tier that goes on where a limited Execute ended, `rest` the rows that a
    store has answered and the client has not asked for yet.
    """

    name: str
    prepared: Prepared
    bind: bytes = b""
    inner: str = ""
    rest: list[bytes] | None = None
