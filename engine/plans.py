"""The plan cache: what to forward for a text, in one namespace of one catalog epoch.

Two levels (PERFORMANCE, "Planning cost"): the exact text, and for plain single statements the text
with its literals taken out. A rewrite depends on the names in a text, never on its literals, so the
template is the rewritten text between the literals; the literals themselves go through untouched.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from core.errors import MorphError
from rewrite.analysis import Action, Analysis, StatementPlan, analyse
from rewrite.edits import Span
from rewrite.foreign_views import expand_foreign_views
from rewrite.namespaces import Namespaces
from rewrite.scope import is_foreign
from rewrite.tree import ast, walk

# Numbers and plain strings; a text with anything that could hide or bend one is not templated.
# It begins with a set of characters, so that the search skips to the next of them.
_LITERAL = re.compile(
    r"([0-9'](?:(?<=')[^']*(?:''[^']*)*'"
    r"|(?<=[0-9])(?<![\w.$][0-9])[0-9]*(?:\.[0-9]+)?(?![\w.])))"
)
_BENT_STRING = re.compile(r"[eEbBxXnNuU&']'")
_T = TypeVar("_T")
_K = TypeVar("_K")
_TemplateKey = tuple[str, ...]
INERT_KINDS = frozenset({"Select", "Insert", "Update", "Delete", "Merge"})
_TEMPLATE_KINDS = frozenset({"Select", "Insert", "Update", "Delete"})


@dataclass(slots=True, eq=False)  # frozen in spirit: a frozen one takes a µs more to make
class Plan:
    """What to do with a text. `wire_text` is what the private PostgreSQL gets for all of it.
    `inert` statements are relayed, and leave nothing behind that a session must know of. `writes`:
    it changes rows of the embedded store. `runs_inert`: it is inert once it is prepared, when what
    had to be described first has been.
    """

    text: str
    wire_text: str
    analysis: Analysis | None
    relay_only: bool
    statements: tuple[StatementPlan, ...]
    touches_store: bool
    inert: bool = False
    writes: bool = False
    runs_inert: bool = False

    @property
    def single(self) -> StatementPlan | None:
        """The only statement of the text, None for none or several."""
        return self.statements[0] if len(self.statements) == 1 else None


def make_plan(
    text: str, namespaces: Namespaces, *, pushdown: bool, widths: Mapping[int, int] | None = None
) -> Plan:
    """Analyse a text; raises what `analyse` raises. Views of foreign tables are written out."""
    text = expand_foreign_views(text, namespaces)
    analysis = analyse(text, namespaces, pushdown=pushdown, widths=widths)
    inert = _inert(analysis, namespaces)
    return Plan(
        text,
        analysis.rendered.text,
        analysis,
        analysis.relay_only,
        analysis.statements,
        analysis.touches_store,
        inert and analysis.relay_only,
        _writes(analysis.statements),
        inert,
    )


def _writes(statements: Sequence[StatementPlan]) -> bool:
    return any(
        ref.role == "target" and not is_foreign(ref)
        for statement in statements
        for ref in statement.relations
    )


def _inert(analysis: Analysis, namespaces: Namespaces) -> bool:
    current = namespaces.snapshot.current
    return all(
        s.kind in INERT_KINDS
        and s.action is Action.RELAY
        and not s.notices
        and not (s.keeps_state or s.makes_temporary or s.functions or s.system_views)
        # reading a superseded version warns
        and all(ref.resolved.version.number >= current for ref in s.relations)
        for s in analysis.statements
    )


@dataclass(frozen=True, slots=True)
class _Template:
    segments: tuple[str, ...]
    statements: tuple[StatementPlan, ...]
    touches_store: bool
    inert: bool
    writes: bool


@dataclass(slots=True)
class CacheCounts:
    """Hits and misses of all caches of a worker; they outlive the caches."""

    hits: int = 0
    misses: int = 0


class PlanCache:
    """Plans of one namespace view; bounded by entries and by the length of cached texts."""

    def __init__(
        self,
        namespaces: Namespaces,
        *,
        pushdown: bool,
        entries_max: int,
        text_max: int,
        counts: CacheCounts | None = None,
    ) -> None:
        self._namespaces = namespaces
        self._pushdown = pushdown
        self._entries_max = entries_max
        self._text_max = text_max
        self._exact: OrderedDict[str, Plan] = OrderedDict()
        self._templates: OrderedDict[_TemplateKey, _Template] = OrderedDict()
        self.counts = counts or CacheCounts()

    @property
    def namespaces(self) -> Namespaces:
        """The names that the plans were made with."""
        return self._namespaces

    @property
    def entries(self) -> int:
        """Plans and templates kept."""
        return len(self._exact) + len(self._templates)

    def lookup(self, text: str) -> Plan:
        """The plan for a text; raises MorphError when the text cannot be served."""
        plan = self.find(text)
        if plan is not None:
            self.counts.hits += 1
            return plan
        self.counts.misses += 1
        plan = make_plan(text, self._namespaces, pushdown=self._pushdown)
        if len(text) <= self._text_max:
            remember(self._exact, text, plan, self._entries_max)
            if not _hides_literals(text):
                self._learn(_LITERAL.split(text), plan)
        return plan

    def remember(self, text: str, plan: Plan) -> None:
        """Remember a plan that was made elsewhere."""
        if len(text) <= self._text_max:
            remember(self._exact, text, plan, self._entries_max)

    def find(self, text: str) -> Plan | None:
        """The plan for a text if it is cached, or its template is; it is not counted."""
        plan = self._exact.get(text)
        if plan is not None:
            self._exact.move_to_end(text)
            return plan
        if len(text) > self._text_max or "\\" in text:
            return None
        # What could hide a literal was not in the text that the template is of, so it is not in
        # this one: the text between the literals is the same. In a literal only \ has a meaning.
        parts = _LITERAL.split(text)
        key = _template_key(parts)
        template = self._templates.get(key)
        if template is None:
            return None
        self._templates.move_to_end(key)
        parts[::2] = template.segments
        wire_text = "".join(parts)
        return Plan(
            text,
            wire_text,
            None,
            True,
            template.statements,
            template.touches_store,
            template.inert,
            template.writes,
            template.inert,
        )

    def _learn(self, parts: list[str], plan: Plan) -> None:
        statement = plan.single
        if len(parts) < 2 or statement is None or plan.analysis is None or not plan.relay_only:
            return
        if statement.kind not in _TEMPLATE_KINDS:
            return
        if statement.system_views or _groups_by_position(statement):
            return
        segments = _edited_segments(plan.analysis, parts)
        if segments is not None:
            template = _Template(
                segments, plan.statements, plan.touches_store, plan.inert, plan.writes
            )
            remember(self._templates, _template_key(parts), template, self._entries_max)


def _hides_literals(text: str) -> bool:
    """Whether something in the text may hide a literal or bend it: comments, quoted names, dollar
    quotes, escapes, a second statement.
    """
    if '"' in text or "\\" in text or "$" in text or "\x01" in text:
        return True
    if "--" in text or "/*" in text:
        return True
    end = text.find(";")
    if end >= 0 and text[end + 1 :].strip():
        return True
    return "'" in text and _BENT_STRING.search(text) is not None


def _template_key(parts: list[str]) -> _TemplateKey:
    """The text between the literals, and of each literal whether it is a number or a string."""
    key = parts[::2]
    for literal in parts[1::2]:
        key.append("'" if literal[0] == "'" else "0")
    return tuple(key)


def _groups_by_position(statement: StatementPlan) -> bool:
    """GROUP BY 1 means another column than GROUP BY 2: the one literal that changes a rewrite."""
    items = [
        item
        for node in walk(statement.node)
        if isinstance(node, ast.SelectStmt)
        for item in node.groupClause or ()
    ]
    return any(isinstance(node, ast.A_Const) for item in items for node in walk(item))


def remember(cache: OrderedDict[_K, _T], key: _K, value: _T, entries_max: int) -> None:
    cache[key] = value
    if len(cache) > entries_max:
        cache.popitem(last=False)


def _edited_segments(analysis: Analysis, parts: list[str]) -> tuple[str, ...] | None:
    """The text between the literals with the edits applied; None when an edit meets a literal."""
    segments = []
    start = 0
    edits = sorted(analysis.edits, key=lambda e: e.start)
    at = 0
    for number, part in enumerate(parts):
        end = start + len(part)
        if number % 2 == 0:
            out, position = [], start
            while at < len(edits) and edits[at].end <= end:
                edit = edits[at]
                if edit.start < position or any(isinstance(p, Span) for p in edit.parts):
                    return None
                out += [analysis.text[position : edit.start], *[str(p) for p in edit.parts]]
                position = edit.end
                at += 1
            segments.append("".join([*out, analysis.text[position:end]]))
        start = end
    return tuple(segments) if at == len(edits) else None


def explain_position(plan: Plan, cache: PlanCache, offset: int) -> int:
    """The character of the client's text that an offset of `wire_text` stands for (both from 0)."""
    analysis = plan.analysis
    if analysis is None:
        try:
            analysis = analyse(plan.text, cache.namespaces)
        except MorphError:
            return offset
    return analysis.rendered.source_offset(offset)


__all__ = ["Action", "Plan", "PlanCache", "explain_position", "make_plan"]
