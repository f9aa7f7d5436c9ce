"""What a planning process is asked, and a plan in a form that is cheap to hand over."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.errors import MorphError
from engine.plans import INERT_KINDS, Plan, make_plan
from rewrite.analysis import Action, Analysis, StatementPlan
from rewrite.context import NeedsWidth
from rewrite.edits import Rendered
from rewrite.namespaces import Namespaces


@dataclass(frozen=True, slots=True)
class Question:
    """What `make_plan` is called with."""

    text: str
    namespaces: Namespaces
    pushdown: bool = True
    widths: Mapping[int, int] = field(default_factory=dict)


Answer = Plan | MorphError | NeedsWidth


@dataclass(frozen=True, slots=True)
class FlatRendered(Rendered):
    """A result whose pieces are bytes, as many thousand tuples would take long to unpickle: three
    64-bit numbers a piece, the third the length of what was copied, or -1.
    """

    packed: bytes = b""

    @classmethod
    def of(cls, rendered: Rendered) -> FlatRendered:
        """The same, flat."""
        numbers = array("q")
        for out, source, length, copied in rendered.pieces:
            numbers.extend((out, source, length if copied else -1))
        return cls(rendered.text, (), numbers.tobytes())

    def source_offset(self, offset: int) -> int:
        """See Rendered."""
        numbers = memoryview(self.packed).cast("q")
        place = bisect_right(numbers[::3], offset) - 1
        if place < 0:
            return 0
        out, source, length = numbers[3 * place : 3 * place + 3]
        return source + min(offset - out, max(length, 0))


@dataclass(frozen=True, slots=True)
class FlatAnalysis(Analysis):
    """An analysis whose statements are all relayed: their texts, by where they start, are what
    anybody asks of its edits.
    """

    parts: Mapping[int, str] = field(default_factory=dict)

    def part(self, statement: StatementPlan) -> Rendered:
        """See Analysis; without positions."""
        return Rendered(self.parts[statement.start], ())


def answer_to(question: Question) -> Answer:
    """The plan, flat if all is relayed; or what was raised."""
    try:
        plan = make_plan(
            question.text,
            question.namespaces,
            pushdown=question.pushdown,
            widths=dict(question.widths),
        )
    except (MorphError, NeedsWidth) as error:
        return error
    if plan.analysis is not None and all(map(_is_relayed, plan.statements)):
        return _flat(plan, plan.analysis)
    return plan


def _is_relayed(statement: StatementPlan) -> bool:
    """Nobody looks into the tree of such a statement."""
    return statement.action is Action.RELAY and statement.kind in INERT_KINDS


def _flat(plan: Plan, analysis: Analysis) -> Plan:
    parts = {}
    if not plan.relay_only:
        parts = {s.start: analysis.part(s).text for s in plan.statements}
    statements = tuple(map(_without_tree, plan.statements))
    flat = FlatAnalysis(
        analysis.text,
        FlatRendered.of(analysis.rendered),
        (),
        statements,
        analysis.parsed,
        analysis.widths,
        parts,
    )
    return replace(plan, analysis=flat, statements=statements)


def _without_tree(statement: StatementPlan) -> StatementPlan:
    """Of its nodes the types are kept."""
    return replace(
        statement,
        node=type(statement.node)(),
        relations=tuple(replace(r, owner=type(r.owner)()) for r in statement.relations),
    )
