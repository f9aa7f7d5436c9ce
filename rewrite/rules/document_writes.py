"""Writes to fields of documents: `SET qty = e` becomes `SET _store_doc = put(_store_doc, …)`.

The statement was described against the shapes before, so the assignment is known to be legal and
an explicit cast to the column's type is the assignment cast (document types carry no length).
Expressions stay where the client wrote them, as spans. Sub-selects of multiple assignments become
FROM items of one sub-select that computes the document, because it can be assigned only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from catalog.model import Column, DocPath, Lensed, Seed, Stored, Table
from catalog.naming import DOC_COLUMN
from catalog.readers import RAW_DOC, RAW_WROTE, extract, field_of, written_raw
from catalog.sqltext import quote_ident, text_array
from core.errors import FeatureNotSupported
from rewrite.context import Context, direct, needs_document_write
from rewrite.edits import Edit, Span
from rewrite.fits import fitting
from rewrite.puts import (
    Assignment,
    Parts,
    as_raw,
    column_of,
    doc_path,
    has_subscripts,
    put_chain,
    raw_name,
    subscripted,
    wrote,
)
from rewrite.rules.insert_documents import rewrite_insert
from rewrite.scope import RelationRef
from rewrite.tree import CLOSE_PAREN, OPEN_PAREN, Node, Tokens, ast

_SET_STOP = frozenset({"FROM", "WHERE", "RETURNING", "WHEN"})
_EQUALS = "ASCII_61"


class _SetList:
    """Rebuilds one SET list."""

    def __init__(self, context: Context, ref: RelationRef) -> None:
        self._tokens: Tokens = context.tokens
        self._table = ref.resolved.table
        self._version = ref.resolved.version
        self._alias = quote_ident(ref.alias)
        self._kept: list[Parts] = []
        self._puts: list[Assignment] = []
        self._whole: Parts | None = None
        self._pairs: list[tuple[str, Parts]] = []
        self._from: list[tuple[int, Parts]] = []
        self._assigned: set[str] = set()
        self._lensed: list[Column] = []

    def edit(self, targets: Sequence[Node]) -> Edit:
        self._assigned = {c.name for t in targets if (c := column_of(self._table, t)) is not None}
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
        joined: list[str | Span] = []
        for index, part in enumerate(self._clauses()):
            joined += ([", "] if index else []) + list(part)
        return Edit(items[0][0], items[-1][1], tuple(joined))

    def _clauses(self) -> list[Parts]:
        clauses = list(self._kept)
        pairs = list(self._pairs)
        if self._puts or self._whole:
            pairs.append((RAW_DOC, self._document()))
        if marks := wrote(self._lensed):
            pairs.append((RAW_WROTE, (marks,)))
        if not self._from:
            clauses += [(f"{name} = ", *value) for name, value in pairs]
        elif pairs:
            values: list[str | Span] = []
            for _, value in pairs:
                values += ([", "] if values else []) + list(value)
            names = ", ".join(name for name, _ in pairs)
            origin: list[str | Span] = ['(SELECT 1) AS "_m"("_one")']
            for number, (width, query) in enumerate(self._from):
                columns = ", ".join(f'"_m{number}_{n}"' for n in range(width))
                # OFFSET 0: values are computed once, and only for rows that the query has.
                origin += [" LEFT JOIN (SELECT * FROM ", *query, ' AS "_q" OFFSET 0)']
                origin.append(f' AS "_m{number}"({columns}) ON true')
            clauses.append((f"({names}) = (SELECT ", *values, " FROM ", *origin, ")"))
        if not clauses:
            clauses.append(self._nothing())
        return clauses

    def _nothing(self) -> Parts:
        """An assignment without effect: SET lists of DEFAULTs for generated columns only."""
        if self._table.has_doc:
            return (f"{RAW_DOC} = {self._alias}.{RAW_DOC}",)
        name = next(quote_ident(c.name) for c in self._table.columns if direct(c))
        return (f"{name} = {self._alias}.{name}",)

    def _document(self) -> Parts:
        base = self._whole or (f"{self._alias}.{RAW_DOC}",)
        document = put_chain(base, self._puts)
        paths = [doc_path(p.column) for p in self._puts if p.column.type == "jsonb"]
        return fitting(self._version, self._table, paths, document)

    # ------------------------------------------------------------------ one column

    def _single(self, target: Node, start: int, end: int) -> None:
        index = self._tokens.index_at(start)
        while self._tokens.name(index) != _EQUALS:
            index = self._tokens.after_brackets(index)
        value: Parts | None = (Span(self._tokens.items[index + 1].start, end),)
        if isinstance(target.val, ast.SetToDefault):
            value = None
        if target.name == DOC_COLUMN and not target.indirection:
            self._whole_document(value)
            return
        self._assign(target, value, (Span(start, end),))

    def _assign(self, target: Node, value: Parts | None, original: Parts) -> None:
        column = column_of(self._table, target)
        if column is None or direct(column):
            self._kept.append(original)
        elif isinstance(column.source, DocPath):
            if has_subscripts(target):
                self._subscripted(target, column, value or ("NULL",))
            else:
                self._puts.append(Assignment(column, value))
        elif written_raw(column) and has_subscripts(target):
            base: Parts = (f"{self._alias}.{quote_ident(column.name)}",)
            whole = subscripted(self._tokens, target, column, base, value or ("NULL",))
            self._raw(column, whole)
        elif isinstance(column.source, Stored | Lensed):
            if has_subscripts(target):
                raise FeatureNotSupported(
                    f'cannot assign to an element of the column "{column.name}"',
                    detail="Its type in this version differs from its type in the store.",
                    hint="Assign the whole column.",
                )
            self._raw(column, value)
        elif not (isinstance(column.source, Seed) and value is None):
            self._kept.append(original)  # PostgreSQL says why it cannot be written

    def _raw(self, column: Column, value: Parts | None) -> None:
        self._pairs.append((raw_name(column), as_raw(self._table, column, value)))
        self._lensed.append(column)

    def _subscripted(self, target: Node, column: Column, value: Parts) -> None:
        """`tags[1] = e`; several elements of one column are assigned one after the other."""
        base: Parts = (f"{self._alias}.{quote_ident(column.name)}",)
        for number, item in enumerate(self._puts):
            if item.column is column and item.value is not None:
                base = item.value
                del self._puts[number]
                break
        whole = subscripted(self._tokens, target, column, base, value)
        self._puts.append(Assignment(column, whole, typed=True))

    def _whole_document(self, value: Parts | None) -> None:
        """`_doc = e`: physical columns take their fields out of it, the rest stays document."""
        number = len(self._from)
        document = f'"_m{number}"."_m{number}_0"'
        physical = [c for c in self._table.columns if isinstance(c.source, Stored | Lensed)]
        keys = text_array(tuple(field_of(c) for c in physical))
        fresh = fitting(
            self._version, self._table, [()], ("CAST((", *(value or ("'{}'",)), ") AS jsonb)")
        )
        self._from.append((1, ("(SELECT ", *fresh, ")")))
        for column in physical:
            if column.name in self._assigned:
                continue
            taken: Parts = (extract(document, (field_of(column),), column.type, clean=True),)
            if direct(column):
                self._pairs.append((raw_name(column), taken))
            else:
                self._raw(column, taken)
        self._whole = (f"({document} OPERATOR(pg_catalog.-) {keys})",)

    # ------------------------------------------------------------------ several columns

    def _multiple(self, targets: Sequence[Node], start: int, end: int) -> None:
        index = self._tokens.index_at(start)
        close = self._tokens.matching_close(index)
        value_at = close + 2
        source = targets[0].val.source
        if isinstance(source, ast.RowExpr):
            if self._tokens.name(value_at) == "ROW":
                value_at += 1
            values, _ = self._tokens.list_items(value_at + 1, frozenset({CLOSE_PAREN}))
            for target, node, (low, high) in zip(targets, source.args, values, strict=True):
                default = isinstance(node, ast.SetToDefault)
                value: Parts | None = None if default else (Span(low, high),)
                plain: Parts = (f"{self._name(target)} = ", Span(low, high))
                self._assign(target, value, plain)
            return
        query = Span(self._tokens.items[value_at].start, end)
        self._from_select(targets, (query,))

    def _name(self, target: Node) -> str:
        """The target as the client wrote it, subscripts included."""
        index = self._tokens.index_at(target.location)
        end = self._tokens.target_end(index)
        return self._tokens.text[target.location : end]

    def _from_select(self, targets: Sequence[Node], query: Parts) -> None:
        number = len(self._from)
        self._from.append((len(targets), query))
        for position, target in enumerate(targets):
            value: Parts = (f'"_m{number}"."_m{number}_{position}"',)
            column = column_of(self._table, target)
            if column is None or direct(column):
                self._pairs.append((self._name(target), value))
            else:
                self._assign(target, value, (f"{self._name(target)} = ", *value))


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
        column = column_of(table, target)
        if target.name == DOC_COLUMN or (column is not None and not direct(column)):
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
