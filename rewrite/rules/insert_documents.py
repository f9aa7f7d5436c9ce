"""Inserted rows: document fields of a row become one `_store_doc` value.

`VALUES` rows are rewritten in place, each expression as a span; a query is wrapped:
`SELECT s."id", put(…, s."qty") FROM (query) AS s("id", "qty")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from catalog.model import Column, DocPath, Stored, Table
from catalog.readers import RAW_DOC, extract, field_of
from catalog.sqltext import quote_ident, text_array
from core.errors import UndefinedColumn
from rewrite.context import DOC_COLUMN, Context, NeedsWidth, direct
from rewrite.edits import Edit, Span, insert_text
from rewrite.puts import Assignment, Parts, column_of, put_chain
from rewrite.scope import RelationRef
from rewrite.tree import COMMA, OPEN_PAREN, Node, Tokens, ast

_EMPTY_DOC: Parts = ("'{}'::jsonb",)
_NO_STOP: frozenset[str] = frozenset()
_SOURCE = '"_s"'


class _Row:
    """Which inserted columns stay, and how the document is made from the others."""

    def __init__(
        self, table: Table, columns: Sequence[Column | None], names: Sequence[str]
    ) -> None:
        self._table = table
        self._columns = columns
        self._names = names

    @property
    def has_document(self) -> bool:
        """True when `_doc` itself is inserted."""
        return DOC_COLUMN in self._names

    @property
    def extracted(self) -> list[Column]:
        """Physical columns that are taken out of an inserted `_doc`."""
        if not self.has_document:
            return []
        return [c for c in self._table.columns if direct(c) and c.name not in self._names]

    def target_names(self) -> list[str]:
        """The column list of the rewritten INSERT."""
        names = []
        for column, name in zip(self._columns, self._names, strict=True):
            if column is not None and isinstance(column.source, Stored):
                names.append(quote_ident(name if direct(column) else column.source.column))
            elif name != DOC_COLUMN and not (column and isinstance(column.source, DocPath)):
                names.append(quote_ident(name))
        names += [quote_ident(c.name) for c in self.extracted]
        return [*names, RAW_DOC]

    def values(self, values: Sequence[Parts | None]) -> Parts:
        """The rewritten row, comma separated; None is DEFAULT."""
        kept: list[Parts] = []
        puts: list[Assignment] = []
        document = _EMPTY_DOC
        for column, name, value in zip(self._columns, self._names, values, strict=True):
            if name == DOC_COLUMN and column is None:
                document = ("CAST((", *(value or _EMPTY_DOC), ") AS jsonb)")
            elif column is not None and isinstance(column.source, DocPath):
                if value is not None or column.default is not None:
                    puts.append(Assignment(column, value))
            elif column is not None and isinstance(column.source, Stored) and not direct(column):
                kept.append(_cast(column, value))
            else:
                kept.append(value or ("DEFAULT",))
        if self.has_document:
            kept += [_split(extract("\x00", (field_of(c),), c.type, clean=True), document)
                     for c in self.extracted]  # fmt: skip
            keys = text_array(tuple(field_of(c) for c in self._table.columns if direct(c)))
            document = ("(", *document, f" OPERATOR(pg_catalog.-) {keys})")
        return _join([*kept, put_chain(document, puts)])


def _split(text: str, document: Parts) -> Parts:
    parts: list[str | Span] = []
    for number, piece in enumerate(text.split("\x00")):
        parts += (list(document) if number else []) + [piece]
    return tuple(parts)


def _cast(column: Column, value: Parts | None) -> Parts:
    if value is None:
        return ("DEFAULT",)
    assert isinstance(column.source, Stored)
    return ("CAST(CAST((", *value, f") AS {column.type}) AS {column.source.type})")


def _join(items: Sequence[Parts]) -> Parts:
    parts: list[str | Span] = []
    for number, item in enumerate(items):
        parts += ([", "] if number else []) + list(item)
    return tuple(parts)


class _Insert:
    def __init__(self, context: Context, ref: RelationRef) -> None:
        self._context = context
        self._tokens: Tokens = context.tokens
        self._node = ref.owner
        self._ref = ref
        self._table = ref.resolved.table

    def edits(self) -> Iterable[Edit]:
        at, names_range = self._after_target()
        if self._node.selectStmt is None:
            return
        query = self._node.selectStmt
        names, columns = self._columns(self._node.cols, self._width(query, at))
        row = _Row(self._table, columns, names)
        plain_values = query.valuesLists and not query.sortClause and not query.limitCount
        yield self._name_edit(row, names_range, at)
        if plain_values and not row.has_document:
            yield from self._value_rows(row, query.valuesLists, at)
        else:
            yield from self._wrap(row, names, at)

    def _after_target(self) -> tuple[int, tuple[int, int] | None]:
        """Offset where the query starts, and the range of the column list with its brackets."""
        tokens = self._tokens
        chain = tokens.name_chain(self._ref.node.location)
        index = tokens.index_at(chain[-1].end)
        if tokens.name(index) == "AS":
            index += 2
        names_range = None
        if self._node.cols:
            close = tokens.matching_close(index)
            names_range = (tokens.items[index].start, tokens.items[close].end)
            index = close + 1
        if tokens.name(index) == "OVERRIDING":
            index += 3
        return tokens.items[index].start, names_range

    def _query_end(self, at: int) -> int:
        tokens = self._tokens
        end = self._context.end
        index = tokens.index_at(at)
        while index < len(tokens.items):
            index = tokens.find_top(index, frozenset({"RETURNING", "ON"}), end)
            if tokens.name(index) != "ON" or tokens.name(index + 1) == "CONFLICT":
                break
            index += 1
        inside = index < len(tokens.items) and tokens.items[index].start < end
        return tokens.items[index - 1].end if inside else end

    def _width(self, query: Node, at: int) -> int:
        if self._node.cols:
            return len(self._node.cols)
        if query.valuesLists:
            return len(query.valuesLists[0])
        targets = query.targetList or ()
        starred = any(
            isinstance(t.val, ast.ColumnRef) and isinstance(t.val.fields[-1], ast.A_Star)
            for t in targets
        )
        if targets and not starred:
            return len(targets)
        width = self._context.widths.get(at)
        if width is None:
            raise NeedsWidth(at, self._query_end(at))
        return width

    def _columns(
        self, cols: Sequence[Node] | None, width: int
    ) -> tuple[list[str], list[Column | None]]:
        if cols:
            columns = [column_of(self._table, c) for c in cols]
            names = [c.name if c else t.name for c, t in zip(columns, cols, strict=True)]
            return names, columns
        shown = list(self._table.columns[:width])
        if width > len(shown):
            raise UndefinedColumn("INSERT has more expressions than target columns")
        return [c.name for c in shown], list(shown)

    def _name_edit(self, row: _Row, names_range: tuple[int, int] | None, at: int) -> Edit:
        text = f"({', '.join(row.target_names())})"
        if names_range is not None:
            return Edit(*names_range, (text,))
        # Before OVERRIDING there is no list to replace: the list goes right after the target.
        chain = self._tokens.name_chain(self._ref.node.location)
        index = self._tokens.index_at(chain[-1].end)
        if self._tokens.name(index) == "AS":
            return insert_text(self._tokens.items[index + 1].end, f" {text} ")
        return insert_text(chain[-1].end, f" {text} ")

    def _value_rows(self, row: _Row, rows: Sequence[Sequence[Node]], at: int) -> Iterable[Edit]:
        tokens = self._tokens
        index = tokens.index_at(at) + 1
        for nodes in rows:
            yield _row_edit(tokens, row, nodes, index)
            index = tokens.matching_close(index) + 1
            if tokens.name(index) == COMMA:
                index += 1

    def _wrap(self, row: _Row, names: Sequence[str], at: int) -> Iterable[Edit]:
        values: list[Parts | None] = [(f"{_SOURCE}.{quote_ident(n)}",) for n in names]
        aliases = ", ".join(quote_ident(n) for n in names)
        end = self._query_end(at)
        yield Edit(
            at,
            end,
            (
                "SELECT ",
                *row.values(values),
                " FROM (",
                Span(at, end),
                f") AS {_SOURCE}({aliases})",
            ),
        )


def _row_edit(tokens: Tokens, row: _Row, nodes: Sequence[Node], open_index: int) -> Edit:
    ranges, _ = tokens.list_items(open_index + 1, _NO_STOP)
    values: list[Parts | None] = [
        None if isinstance(node, ast.SetToDefault) else (Span(low, high),)
        for node, (low, high) in zip(nodes, ranges, strict=True)
    ]
    return Edit(ranges[0][0], ranges[-1][1], row.values(values))


def _merge_inserts(context: Context, ref: RelationRef) -> Iterable[Edit]:
    tokens = context.tokens
    index = tokens.index_at(ref.node.location)
    inserts = [
        w for w in ref.owner.mergeWhenClauses if w.commandType.name == "CMD_INSERT" and w.values
    ]
    for when in inserts:
        index = tokens.find_top(index, frozenset({"INSERT"}), context.end) + 1
        yield from _merge_insert(context, ref, when, index)


def _merge_insert(context: Context, ref: RelationRef, when: Node, index: int) -> Iterable[Edit]:
    tokens, table = context.tokens, ref.resolved.table
    if when.targetList:
        columns = [column_of(table, t) for t in when.targetList]
        names = [c.name if c else t.name for c, t in zip(columns, when.targetList, strict=True)]
    else:
        shown = table.columns[: len(when.values)]
        names, columns = [c.name for c in shown], list(shown)
    row = _Row(table, columns, names)
    text = f"({', '.join(row.target_names())})"
    if when.targetList:
        close = tokens.matching_close(index)
        yield Edit(tokens.items[index].start, tokens.items[close].end, (text,))
        index = close + 1
    else:
        yield insert_text(tokens.items[index - 1].end, f" {text} ")
    while tokens.name(index) not in ("VALUES", ""):
        index += 1
    assert tokens.name(index + 1) == OPEN_PAREN
    yield _row_edit(tokens, row, when.values, index + 1)


def rewrite_insert(context: Context, ref: RelationRef) -> Iterable[Edit]:
    """The edits for an INSERT, or for the INSERT actions of a MERGE."""
    if isinstance(ref.owner, ast.MergeStmt):
        yield from _merge_inserts(context, ref)
    else:
        yield from _Insert(context, ref).edits()
