"""Writes to fields of documents: `SET qty = e` becomes `SET _store_doc = put(_store_doc, …)`.

The statement was described against the shapes before, so the assignment is known to be legal and
an explicit cast to the column's type is the assignment cast (document types carry no length).
Expressions stay where the client wrote them, as spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from catalog.model import Column, DocPath, Stored, Table
from catalog.readers import RAW_DOC, extract, field_of
from catalog.sqltext import quote_ident, text_array
from core.errors import FeatureNotSupported
from rewrite.context import DOC_COLUMN, Context, direct, needs_document_write
from rewrite.edits import Edit, Span
from rewrite.puts import Assignment, Parts, column_of, put_chain, stored_assignment
from rewrite.rules.insert_documents import rewrite_insert
from rewrite.scope import RelationRef
from rewrite.tree import CLOSE_PAREN, OPEN_PAREN, Node, Tokens, ast, walk

_SET_STOP = frozenset({"FROM", "WHERE", "RETURNING", "WHEN"})


class _SetList:
    """Rebuilds one SET list."""

    def __init__(self, context: Context, ref: RelationRef) -> None:
        self._tokens: Tokens = context.tokens
        self._table = ref.resolved.table
        self._base: Parts = (f"{quote_ident(ref.alias)}.{RAW_DOC}",)
        self._kept: list[Parts] = []
        self._puts: list[Assignment] = []
        self._whole: Parts | None = None

    def edit(self, targets: Sequence[Node]) -> Edit:
        first = self._tokens.index_at(targets[0].location)
        if self._tokens.name(first - 1) == OPEN_PAREN:
            first -= 1
        items, _ = self._tokens.list_items(first, _SET_STOP)
        at = 0
        for start, end in items:
            target = targets[at]
            if isinstance(target.val, ast.MultiAssignRef):
                width = target.val.ncolumns
                self._multiple(targets[at : at + width], start, end)
                at += width
            else:
                self._single(target, start, end)
                at += 1
        parts = list(self._kept)
        base = self._whole or self._base
        if self._puts or self._whole:
            parts.append((f"{RAW_DOC} = ", *put_chain(base, self._puts)))
        joined: list[str | Span] = []
        for index, part in enumerate(parts):
            joined += ([", "] if index else []) + list(part)
        return Edit(items[0][0], items[-1][1], tuple(joined))

    def _single(self, target: Node, start: int, end: int) -> None:
        index = self._tokens.index_at(start)
        while self._tokens.name(index) != "ASCII_61":
            index += 1
        value: Parts | None = (Span(self._tokens.items[index + 1].start, end),)
        if isinstance(target.val, ast.SetToDefault):
            value = None
        if target.name == DOC_COLUMN and not target.indirection:
            self._document(target.val, value)
            return
        self._assign(column_of(self._table, target), value, (Span(start, end),))

    def _assign(self, column: Column | None, value: Parts | None, original: Parts) -> None:
        if column is None or direct(column):
            self._kept.append(original)
        elif isinstance(column.source, Stored):
            self._kept.append(stored_assignment(column, value))
        elif isinstance(column.source, DocPath):
            self._puts.append(Assignment(column, value))
        else:
            self._kept.append(original)  # PostgreSQL says why it cannot be written

    def _document(self, node: Node, value: Parts | None) -> None:
        if value is None:
            value = ("'{}'::jsonb",)
        if any(isinstance(n, (ast.FuncCall, ast.SubLink)) for n in walk(node)):
            raise FeatureNotSupported(
                'the new value of "_doc" must not call functions or sub-selects',
                hint="Compute it in a FROM item and assign its column.",
            )
        document: Parts = ("CAST((", *value, ") AS jsonb)")
        physical = [c for c in self._table.columns if direct(c)]
        for column in physical:
            marker = "\x00"
            text = extract(marker, (field_of(column),), column.type, clean=True)
            parts: list[str | Span] = [f"{quote_ident(column.name)} = "]
            for piece_index, piece in enumerate(text.split(marker)):
                parts += (list(document) if piece_index else []) + [piece]
            self._kept.append(tuple(parts))
        keys = text_array(tuple(field_of(c) for c in physical))
        self._whole = ("(", *document, f" OPERATOR(pg_catalog.-) {keys})")

    def _multiple(self, targets: Sequence[Node], start: int, end: int) -> None:
        index = self._tokens.index_at(start)
        close = self._tokens.matching_close(index)
        value_at = close + 2
        source = targets[0].val.source
        if isinstance(source, ast.RowExpr):
            if self._tokens.name(value_at) == "ROW":
                value_at += 1
            values, _ = self._tokens.list_items(value_at + 1, frozenset({CLOSE_PAREN}))
            for target, (low, high) in zip(targets, values, strict=True):
                default = isinstance(target.val, ast.SetToDefault)
                value: Parts | None = None if default else (Span(low, high),)
                plain: Parts = (f"{quote_ident(target.name)} = ", Span(low, high))
                self._assign(column_of(self._table, target), value, plain)
            return
        columns = [column_of(self._table, t) for t in targets]
        if all(c is None or direct(c) for c in columns):
            self._kept.append((Span(start, end),))
            return
        self._from_select(targets, columns, Span(self._tokens.items[value_at].start, end))

    def _from_select(
        self, targets: Sequence[Node], columns: Sequence[Column | None], query: Span
    ) -> None:
        names, values, puts = [], [], []
        for number, (target, column) in enumerate(zip(targets, columns, strict=True)):
            value = f'"_m{number}"'
            if column is not None and isinstance(column.source, DocPath):
                puts.append(Assignment(column, (value,)))
            else:
                names.append(quote_ident(target.name))
                values.append(value)
        base = self._whole or self._base
        document = put_chain(base, puts)
        aliases = ", ".join(f'"_m{n}"' for n in range(len(targets)))
        head = f"({', '.join([*names, RAW_DOC])}) = (SELECT {', '.join([*values, ''])}"
        self._kept.append((head, *document, " FROM ", query, f' AS "_m"({aliases}))'))


def _set_lists(owner: Node) -> Iterable[Sequence[Node]]:
    if isinstance(owner, ast.UpdateStmt):
        yield owner.targetList
    elif isinstance(owner, ast.InsertStmt):
        clause = owner.onConflictClause
        if clause is not None and clause.targetList:
            yield clause.targetList
    elif isinstance(owner, ast.MergeStmt):
        for when in owner.mergeWhenClauses:
            if when.targetList and when.commandType.name == "CMD_UPDATE":
                yield when.targetList


def _touches_documents(targets: Sequence[Node], table: Table) -> bool:
    for target in targets:
        column = table.column(target.name)
        if target.name == DOC_COLUMN or target.indirection:
            return True
        if column is not None and not direct(column):
            return True
    return False


def write_documents(context: Context) -> Iterable[Edit]:
    """Rewrite SET lists and inserted columns of every target that holds documents."""
    for ref in context.relations:
        if not needs_document_write(ref):
            continue
        for targets in _set_lists(ref.owner):
            if _touches_documents(targets, ref.resolved.table):
                yield _SetList(context, ref).edit(targets)
        if isinstance(ref.owner, (ast.InsertStmt, ast.MergeStmt)):
            yield from rewrite_insert(context, ref)
