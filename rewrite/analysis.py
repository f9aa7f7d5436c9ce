"""From a client's text to what is to be done with it: the entry point of the rewriter (pure).

`analyse` parses the text with PostgreSQL's grammar, finds the store tables, applies the rules, and
says of each statement whether it can be relayed as it stands (after the splices) or needs more:
DDL, CALL of an operation, COPY in, EXPLAIN, a describe against the shapes first, or the merge tier.
A text that does not parse is relayed unchanged: PostgreSQL words its own syntax errors best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pglast.parser import ParseError

from catalog.sqltext import SYSTEM_SCHEMA
from core.errors import StatementTooComplex
from rewrite.bodies import body_edits
from rewrite.context import Context, make_context, mentions_document, needs_document_write
from rewrite.copying import copy_edits
from rewrite.deprecations import Notice, deprecation_notices
from rewrite.edits import Edit, Rendered, render
from rewrite.namespaces import Namespaces
from rewrite.parsing import parse_statements
from rewrite.rules import RULES
from rewrite.rules.dotted_paths import quote_dotted_paths, quote_dotted_targets
from rewrite.scope import RelationRef, is_foreign
from rewrite.tree import Node, Tokens, ast, walk


class Action(Enum):
    """What a statement needs beyond being relayed."""

    RELAY = "relay"
    DDL = "ddl"
    CALL = "call"
    COPY_IN = "copy in"
    EXPLAIN = "explain"
    MERGE = "merge"
    FEDERATE = "federate"
    MAINTAIN = "maintain"


@dataclass(frozen=True, slots=True)
class StatementPlan:
    """One statement of the text; `start` and `end` are its characters in the source."""

    node: Node
    action: Action
    start: int
    end: int
    relations: tuple[RelationRef, ...] = ()
    describe_first: bool = False
    notices: tuple[Notice, ...] = ()
    functions: frozenset[str] = frozenset()
    system_views: frozenset[str] = frozenset()
    described: tuple[Edit, ...] = ()  # what the text to describe first needs
    keeps_state: bool = False
    makes_temporary: bool = False

    @property
    def kind(self) -> str:
        """The statement's kind: Select, Insert, …"""
        return type(self.node).__name__.removesuffix("Stmt")


@dataclass(frozen=True, slots=True)
class Analysis:
    """The text rewritten as a whole, and its statements."""

    text: str
    rendered: Rendered
    edits: tuple[Edit, ...]
    statements: tuple[StatementPlan, ...]
    parsed: bool = True
    widths: Mapping[int, int] = field(default_factory=dict)

    @property
    def relay_only(self) -> bool:
        """True when the whole text can be forwarded as one message."""
        return all(
            s.action is Action.RELAY and not s.describe_first and not s.notices
            for s in self.statements
        )

    @property
    def touches_store(self) -> bool:
        """True when some statement refers to a store table."""
        return any(s.relations for s in self.statements)

    def part(self, statement: StatementPlan) -> Rendered:
        """One statement rewritten alone; positions are those of the whole text."""
        inside = [e for e in self.edits if statement.start <= e.start and e.end <= statement.end]
        padded = " " * statement.start + self.text[statement.start : statement.end]
        rendered = render(padded, inside)
        cut = statement.start
        pieces = tuple(
            (max(out - cut, 0), src + max(cut - out, 0), length - max(cut - out, 0), copied)
            for out, src, length, copied in rendered.pieces
            if out + length > cut
        )
        return Rendered(rendered.text[cut:], pieces)


_KEEPS_STATE = (
    ast.PrepareStmt,
    ast.ListenStmt,
    ast.DoStmt,
    ast.LoadStmt,
    ast.CallStmt,
    ast.ConstraintsSetStmt,
)
_DDL = (
    ast.AlterTableStmt,
    ast.RenameStmt,
    ast.DropStmt,
    ast.IndexStmt,
    ast.CommentStmt,
    ast.GrantStmt,
    ast.AlterObjectSchemaStmt,
    ast.AlterOwnerStmt,
    ast.CreateTrigStmt,
    ast.RuleStmt,
    ast.RefreshMatViewStmt,
    ast.ClusterStmt,
    ast.CreatePolicyStmt,
    ast.ReindexStmt,
)
_FOREIGN = (
    ast.CreateForeignServerStmt,
    ast.AlterForeignServerStmt,
    ast.CreateUserMappingStmt,
    ast.AlterUserMappingStmt,
    ast.DropUserMappingStmt,
    ast.CreateForeignTableStmt,
    ast.ImportForeignSchemaStmt,
)
_DROP_KINDS = {
    "OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_INDEX", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE",
}  # fmt: skip


def analyse(
    text: str,
    namespaces: Namespaces,
    *,
    pushdown: bool = True,
    widths: Mapping[int, int] | None = None,
) -> Analysis:
    """Analyse and rewrite a text of one or more statements.

    Raises ReservedName (42939), FeatureNotSupported (0A000) and NeedsWidth (see context).
    """
    try:
        raw: Any = parse_statements(text)
        tokens = Tokens(text)
    except ParseError:
        return Analysis(text, render(text, ()), (), (), parsed=False)
    except RecursionError as error:
        raise StatementTooComplex(
            "stack depth limit exceeded", hint="The statement is nested too deeply."
        ) from error
    edits: list[Edit] = []
    plans = []
    try:
        for item in raw:
            end = item.stmt_location + item.stmt_len if item.stmt_len else len(text)
            end = _trim(text, item.stmt_location, end)
            context = make_context(
                text, item.stmt_location, end, tokens, item.stmt, namespaces, widths or {}
            )
            plan = _plan(context, pushdown=pushdown)
            plans.append(plan)
            if plan.action is not Action.DDL:
                edits += _edits(context)
            made = _made_relation(item.stmt) if plan.makes_temporary else None
            if made is not None:
                hidden = namespaces.temporary | {made.relname}
                namespaces = replace(namespaces, temporary=hidden)
    except RecursionError as error:
        raise StatementTooComplex(
            "stack depth limit exceeded", hint="The statement is nested too deeply."
        ) from error
    unique = tuple(dict.fromkeys(edits))
    return Analysis(text, render(text, unique), unique, tuple(plans), widths=widths or {})


def _trim(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1] in " \t\r\n;":
        end -= 1
    return end


def _edits(context: Context) -> Iterable[Edit]:
    node = context.statement
    if isinstance(node, ast.CopyStmt) and node.relation is not None:
        return copy_edits(context)
    if isinstance(node, (ast.DoStmt, ast.CreateFunctionStmt)) and not context.relations:
        return body_edits(context)
    edits = [edit for rule in RULES for edit in rule(context)]
    if any(is_foreign(ref) and ref.role == "target" for ref in context.relations):
        edits += quote_dotted_targets(context)
    return edits


def _described(context: Context) -> tuple[Edit, ...]:
    return (*quote_dotted_paths(context), *quote_dotted_targets(context))


def _plan(context: Context, *, pushdown: bool) -> StatementPlan:
    node = context.statement
    functions, system_views = _mentioned(node)
    action = _action(context, pushdown=pushdown)
    query = node.query if isinstance(node, ast.ExplainStmt) else node
    temporary = _makes_temporary(node)
    hold = isinstance(node, ast.DeclareCursorStmt) and bool(node.options & 0x20)
    first = (
        action in (Action.RELAY, Action.EXPLAIN)
        and not isinstance(query, ast.PrepareStmt)
        and any(needs_document_write(r) for r in context.relations)
        and not mentions_document(node)
    )
    return StatementPlan(
        node=node,
        action=action,
        start=context.start,
        end=context.end,
        relations=context.relations,
        describe_first=first,
        described=_described(context) if first else (),
        notices=deprecation_notices(context),
        functions=functions,
        system_views=system_views,
        keeps_state=temporary or hold or isinstance(node, _KEEPS_STATE),
        makes_temporary=temporary or isinstance(node, (ast.DoStmt, ast.CallStmt)),
    )


def _mentioned(node: Node) -> tuple[frozenset[str], frozenset[str]]:
    functions, views = set(), set()
    for item in walk(node):
        if isinstance(item, ast.FuncCall):
            functions.add(".".join(n.sval for n in item.funcname))
        elif isinstance(item, ast.RangeVar) and item.schemaname == SYSTEM_SCHEMA:
            views.add(item.relname)
    return frozenset(functions), frozenset(views)


def _is_temporary(relation: Node) -> bool:
    return bool(relation.relpersistence == "t" or relation.schemaname == "pg_temp")


def _made_relation(node: Node) -> Node | None:
    if isinstance(node, ast.CreateStmt):
        return node.relation
    if isinstance(node, ast.ViewStmt):
        return node.view
    if isinstance(node, ast.CreateTableAsStmt):
        return node.into.rel
    if isinstance(node, ast.CreateSeqStmt):
        return node.sequence
    if isinstance(node, ast.SelectStmt) and node.intoClause is not None:
        return node.intoClause.rel
    return None


def _makes_temporary(node: Node) -> bool:
    made = _made_relation(node)
    return made is not None and _is_temporary(made)


def _action(context: Context, *, pushdown: bool) -> Action:
    node = context.statement
    if isinstance(node, ast.CallStmt):
        names = [n.sval for n in node.funccall.funcname]
        return Action.CALL if names[0] == SYSTEM_SCHEMA and len(names) == 2 else Action.RELAY
    foreign = any(map(is_foreign, context.relations))
    if isinstance(node, ast.CopyStmt):
        if node.is_from and context.relations:
            return Action.COPY_IN
        return Action.FEDERATE if foreign else Action.RELAY
    if isinstance(node, ast.ExplainStmt):
        return Action.EXPLAIN if context.relations else Action.RELAY
    if isinstance(node, (ast.TruncateStmt, ast.VacuumStmt)):
        everything = isinstance(node, ast.VacuumStmt) and not node.rels
        return Action.MAINTAIN if context.relations or everything else Action.RELAY
    if _defines(context):
        return Action.DDL
    if foreign:
        return Action.FEDERATE
    if isinstance(node, ast.SelectStmt) and context.relations and not pushdown:
        return Action.MERGE
    return Action.RELAY


def _defines(context: Context) -> bool:
    node = context.statement
    if isinstance(node, (ast.CreateStmt, ast.ViewStmt, ast.CreateTableAsStmt)):
        return not _makes_temporary(node)
    if isinstance(node, ast.SelectStmt):
        return node.intoClause is not None and not _makes_temporary(node)
    if isinstance(node, _FOREIGN):
        return True
    if isinstance(node, ast.DropStmt):
        if node.removeType.name == "OBJECT_FOREIGN_SERVER":
            return True
        return node.removeType.name in _DROP_KINDS and _drops_managed(context)
    if isinstance(node, ast.RenameStmt) and node.renameType.name == "OBJECT_FOREIGN_SERVER":
        return True
    if isinstance(node, ast.RenameStmt) and node.relation is not None:
        return bool(context.relations) or _names_index(context, node.relation)
    return isinstance(node, _DDL) and (bool(context.relations) or _comments_column(context))


def _drops_managed(context: Context) -> bool:
    namespaces = context.namespaces
    for item in context.statement.objects:
        names = [n.sval for n in item]
        schema = names[-2] if len(names) > 1 else None
        if namespaces.resolve(schema, names[-1]) is not None:
            return True
        if context.statement.removeType.name == "OBJECT_INDEX" and _has_index(
            namespaces, names[-1]
        ):
            return True
    return False


def _has_index(namespaces: Namespaces, name: str) -> bool:
    version = namespaces.default_version
    return version is not None and any(
        name in (i.name for i in t.indexes) or t.key_constraint(name) is not None
        for t in version.tables
    )


def _names_index(context: Context, relation: Node) -> bool:
    return _has_index(context.namespaces, relation.relname)


_COMMENTED = frozenset(("OBJECT_TABLE", "OBJECT_COLUMN", "OBJECT_VIEW", "OBJECT_FOREIGN_TABLE"))


def _comments_column(context: Context) -> bool:
    node = context.statement
    if not isinstance(node, ast.CommentStmt):
        return False
    if node.objtype.name not in _COMMENTED:
        return False
    names = [n.sval for n in node.object]
    if node.objtype.name == "OBJECT_COLUMN":
        names = names[:-1]
    schema = names[-2] if len(names) > 1 else None
    return bool(names) and context.namespaces.resolve(schema, names[-1]) is not None
