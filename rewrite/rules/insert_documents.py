"""Inserted rows: document fields of a row become one `_store_doc` value.

`VALUES` rows are rewritten in place, each expression as a span; a query is wrapped:
`SELECT s."id", JSON_OBJECT('qty': s."qty" …) FROM (query) AS s("id", "qty")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from catalog.model import Column, DocPath, Lensed, Seed, Stored, Table
from catalog.naming import DOC_COLUMN
from catalog.readers import RAW_DOC, RAW_WROTE, extract, field_of
from catalog.sqltext import quote_ident, quote_literal, text_array
from core.errors import FeatureNotSupported
from rewrite.context import Context, NeedsWidth, defaulted, direct
from rewrite.documents import EMPTY_DOC, WIDE_TYPES, new_document
from rewrite.edits import Edit, Span, insert_text
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
from rewrite.scope import RelationRef
from rewrite.tree import COMMA, OPEN_PAREN, Node, Tokens, ast, walk

_NO_STOP: frozenset[str] = frozenset()
_SOURCE = '"_s"'


class _Row:
    """Which inserted columns stay, and how the document is made from the others."""

    def __init__(
        self, ref: RelationRef, columns: Sequence[Column | None], names: Sequence[str]
    ) -> None:
        self._version = ref.resolved.version
        self._table = ref.resolved.table
        self._columns = columns
        self._names = names

    @property
    def has_document(self) -> bool:
        """True when `_doc` itself is inserted."""
        return DOC_COLUMN in self._names

    @property
    def repeats(self) -> bool:
        """True when a value may stand several times in the document's expression."""
        return any(
            c is not None and isinstance(c.source, DocPath) and c.type in WIDE_TYPES
            for c in self._columns
        )

    @property
    def _extracted(self) -> list[Column]:
        """Physical columns that are taken out of an inserted `_doc`."""
        if not self.has_document:
            return []
        return [
            c
            for c in self._table.columns
            if isinstance(c.source, Stored | Lensed) and c.name not in self._names
        ]

    @property
    def _defaulted(self) -> list[Column]:
        """Columns that are not listed and whose default the view does not know."""
        return [c for c in defaulted(self._table) if c.name not in self._names]

    def _target_name(self, column: Column | None, name: str) -> str | None:
        if column is None:
            return None if name == DOC_COLUMN else quote_ident(name)
        if isinstance(column.source, Stored | Lensed):
            return raw_name(column)
        return None if isinstance(column.source, DocPath | Seed) else quote_ident(name)

    def target_names(self) -> list[str]:
        """The column list of the rewritten INSERT."""
        names = []
        for column, name in zip(self._columns, self._names, strict=True):
            kept = self._target_name(column, name)
            if kept is not None:
                names.append(kept)
        names += [raw_name(c) for c in self._extracted]
        if not self.has_document:
            names += [raw_name(c) for c in self._defaulted if not isinstance(c.source, DocPath)]
        names += [RAW_WROTE] if wrote(self._table.columns) else []
        return [*names, RAW_DOC] if self._table.has_doc else names

    def values(self, values: Sequence[Parts | None], *, repeatable: bool = False) -> Parts:
        """The rewritten row, comma separated; None is DEFAULT. `repeatable`: see new_document."""
        kept: list[Parts] = []
        puts: list[Assignment] = []
        document = EMPTY_DOC
        for column, name, value in zip(self._columns, self._names, values, strict=True):
            if name == DOC_COLUMN and column is None:
                document = value or EMPTY_DOC
            elif column is not None and isinstance(column.source, DocPath):
                if value is not None or column.default is not None:
                    puts.append(Assignment(column, value))
            elif column is not None and _raw(column):
                kept.append(as_raw(self._table, column, value))
            elif self._target_name(column, name) is not None:
                kept.append(value or ("DEFAULT",))
        if self.has_document:
            kept += [self._taken(c, document) for c in self._extracted]
            keys = [c for c in self._table.columns if isinstance(c.source, Stored | Lensed)]
            names = text_array(tuple(field_of(c) for c in keys))
            missing = [c for c in self._defaulted if isinstance(c.source, DocPath)]
            first = new_document([Assignment(c, None) for c in missing], repeatable=True)
            both = (*first, " OPERATOR(pg_catalog.||) ", *document)
            document = put_chain(("((", *both, f") OPERATOR(pg_catalog.-) {names})"), puts)
        else:
            for column in self._defaulted:
                if not isinstance(column.source, DocPath):
                    kept.append(as_raw(self._table, column, None))
                else:
                    puts.append(Assignment(column, None))
            document = new_document(puts, repeatable=repeatable)
        if marks := wrote(self._table.columns):  # an INSERT assigns every lensed column
            kept.append((marks,))
        if not self._table.has_doc:
            return _join(kept)
        return _join([*kept, self._fitting(puts, document, repeatable)])

    def _fitting(self, puts: Sequence[Assignment], document: Parts, repeatable: bool) -> Parts:
        wide = {doc_path(p.column): p for p in puts if p.column.type == "jsonb"}
        every = [doc_path(p.column) for p in puts]
        alone = not any(p[:n] in wide for p in every for n in range(1, len(p)))
        values = {
            path: ("CAST((", *put.value, ") AS jsonb)")
            for path, put in wide.items()
            if put.value is not None
        }
        known = values if repeatable and alone and len(values) == len(wide) else None
        return fitting(self._version, self._table, list(wide), document, known)

    def checked_document(self, document: Parts) -> Parts:
        """An inserted `_doc`, checked in the places of all columns."""
        value: Parts = ("CAST((", *document, ") AS jsonb)")
        return fitting(self._version, self._table, [()], value)

    def _taken(self, column: Column, document: Parts) -> Parts:
        text = extract("\x00", (field_of(column),), column.type, clean=True)
        value = _split(text, document)
        if column.default is not None:
            key = quote_literal(field_of(column))
            value = (
                *("CASE WHEN ", *document, f" OPERATOR(pg_catalog.?) {key} THEN "),
                *(*value, f" ELSE {column.default} END"),
            )
        return value if direct(column) else as_raw(self._table, column, value)


def _raw(column: Column) -> bool:
    """True when the whole view has the column under a raw name."""
    return isinstance(column.source, Stored | Lensed) and not direct(column)


def _split(text: str, document: Parts) -> Parts:
    parts: list[str | Span] = []
    for number, piece in enumerate(text.split("\x00")):
        parts += (list(document) if number else []) + [piece]
    return tuple(parts)


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
        query = self._node.selectStmt
        if query is None:
            yield from self._default_values()
            return
        names, columns = self._columns(self._node.cols, self._width(query, at))
        plain = query.valuesLists and not (
            query.sortClause or query.limitCount or query.limitOffset or query.withClause
        )
        rows = query.valuesLists if plain else ()
        if len(names) != len(columns) or any(len(r) != len(names) for r in rows):
            return  # not as many values as columns: the describe says so
        row = _Row(self._ref, columns, names)
        subscripts = any(has_subscripts(c) for c in self._node.cols or ())
        yield self._name_edit(row, names_range)
        if plain and not row.has_document:
            yield from self._value_rows(row, query.valuesLists, at)
        elif subscripts:
            raise FeatureNotSupported(
                "elements of document columns can only be inserted by plain VALUES",
                hint="Insert the whole column.",
            )
        else:
            yield from self._wrap(row, names, at)

    def _default_values(self) -> Iterable[Edit]:
        """DEFAULT VALUES, where the view does not know all defaults."""
        if not defaulted(self._table):
            return
        row = _Row(self._ref, (), ())
        tokens = self._tokens
        index = tokens.index_at(tokens.name_chain(self._ref.node.location)[-1].end)
        while tokens.name(index) != "DEFAULT":
            index += 1
        yield Edit(
            tokens.items[index].start,
            tokens.items[index + 1].end,
            (f"({', '.join(row.target_names())}) VALUES (", *row.values(()), ")"),
        )

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
            end = self._query_end(at)
            raise NeedsWidth(at, end, visible_with(self._context, self._node) + self._text(at, end))
        return width

    def _text(self, start: int, end: int) -> str:
        return self._context.text[start:end]

    def _columns(
        self, cols: Sequence[Node] | None, width: int
    ) -> tuple[list[str], list[Column | None]]:
        if cols:
            columns = [column_of(self._table, c) for c in cols]
            names = [c.name if c else t.name for c, t in zip(columns, cols, strict=True)]
            return names, columns
        shown = list(self._table.columns[:width])
        names = [c.name for c in shown]
        return names + ["?"] * (width - len(shown)), list(shown)

    def _name_edit(self, row: _Row, names_range: tuple[int, int] | None) -> Edit:
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
        index = tokens.index_at(at)
        while tokens.name(index) == OPEN_PAREN:
            index += 1
        index += 1
        for nodes in rows:
            yield self._row_edit(row, nodes, index)
            index = tokens.matching_close(index) + 1
            if tokens.name(index) == COMMA:
                index += 1

    def _row_edit(self, row: _Row, nodes: Sequence[Node], index: int) -> Edit:
        return _row_edit(self._tokens, self._table, row, nodes, index, self._node.cols)

    def _wrap(self, row: _Row, names: Sequence[str], at: int) -> Iterable[Edit]:
        values: list[Parts | None] = [(f"{_SOURCE}.{quote_ident(n)}",) for n in names]
        aliases = ", ".join(quote_ident(n) for n in names)
        end = self._query_end(at)
        source: Parts = ("(", Span(at, end), f") AS {_SOURCE}({aliases})")
        if row.has_document:
            # OFFSET 0 keeps PostgreSQL from checking the document once a column.
            at_doc = names.index(DOC_COLUMN)
            checked = row.checked_document(values[at_doc] or EMPTY_DOC)
            source = (
                *(f"(SELECT {_SOURCE}.*, ", *checked, ' AS "_d" FROM ', *source),
                f" OFFSET 0) AS {_SOURCE}",
            )
            values[at_doc] = (f'{_SOURCE}."_d"',)
        elif row.repeats:
            # OFFSET 0 keeps what the client computes from being computed again.
            source = (f"(SELECT {_SOURCE}.* FROM ", *source, f" OFFSET 0) AS {_SOURCE}")
        made = row.values(values, repeatable=True)
        yield Edit(at, end, ("SELECT ", *made, " FROM ", *source))


def _row_edit(
    tokens: Tokens,
    table: Table,
    row: _Row,
    nodes: Sequence[Node],
    open_index: int,
    targets: Sequence[Node] | None,
) -> Edit:
    ranges, _ = tokens.list_items(open_index + 1, _NO_STOP)
    values: list[Parts | None] = [
        None if isinstance(node, ast.SetToDefault) else (Span(low, high),)
        for node, (low, high) in zip(nodes, ranges, strict=True)
    ]
    for number, target in enumerate(targets or ()):
        column = column_of(table, target)
        if column is not None and has_subscripts(target) and isinstance(column.source, DocPath):
            base = (f"CAST(NULL AS {column.type})",)
            values[number] = subscripted(tokens, target, column, base, values[number] or ("NULL",))
    return Edit(ranges[0][0], ranges[-1][1], row.values(values))


def _merge_inserts(context: Context, ref: RelationRef) -> Iterable[Edit]:
    tokens = context.tokens
    index = tokens.index_at(ref.node.location)
    inserts = [w for w in ref.owner.mergeWhenClauses if w.commandType.name == "CMD_INSERT"]
    for when in inserts:
        index = tokens.find_top(index, frozenset({"INSERT"}), context.end) + 1
        yield from _merge_insert(context, ref, when, index)


def _merge_insert(context: Context, ref: RelationRef, when: Node, index: int) -> Iterable[Edit]:
    tokens, table = context.tokens, ref.resolved.table
    if not when.values:
        if defaulted(table):
            row = _Row(ref, (), ())
            text = f"({', '.join(row.target_names())}) VALUES ("
            low, high = tokens.items[index].start, tokens.items[index + 1].end
            yield Edit(low, high, (text, *row.values(()), ")"))
        return
    columns: list[Column | None]
    if when.targetList:
        columns = [column_of(table, t) for t in when.targetList]
        names = [c.name if c else t.name for c, t in zip(columns, when.targetList, strict=True)]
    else:
        shown = table.columns[: len(when.values)]
        names, columns = [c.name for c in shown], list(shown)
    if len(columns) != len(when.values):
        return  # not as many values as columns: the describe says so
    row = _Row(ref, columns, names)
    if row.has_document:
        raise FeatureNotSupported(
            'MERGE cannot insert "_doc"', hint="Use INSERT … ON CONFLICT, or name the columns."
        )
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
    yield _row_edit(tokens, table, row, when.values, index + 1, when.targetList)


def visible_with(context: Context, owner: Node) -> str:
    """The WITH clause that a query inside of `owner` sees, as text to put in front of it."""
    tokens = context.tokens
    items: list[str] = []
    recursive = False
    for node in walk(context.statement):
        clause = getattr(node, "withClause", None)
        if clause is None:
            continue
        inside = [c for c in clause.ctes if any(n is owner for n in walk(c.ctequery))]
        if node is not owner and not inside:
            continue
        ends = [*(c.location for c in clause.ctes[1:]), None]
        recursive = recursive or bool(clause.recursive)
        for cte, next_start in zip(clause.ctes, ends, strict=True):
            if cte in inside:
                break
            items.append(_cte_text(tokens, cte, next_start))
    head = "WITH RECURSIVE " if recursive else "WITH "
    return head + ", ".join(items) + " " if items else ""


def _cte_text(tokens: Tokens, cte: Node, next_start: int | None) -> str:
    index = tokens.index_at(cte.location)
    if next_start is not None:
        end = tokens.index_at(next_start) - 1
    else:
        end = index
        while tokens.name(end) not in ("INSERT", "SELECT", "UPDATE", "DELETE_P", "MERGE", ""):
            end = tokens.after_brackets(end)
    return tokens.text[tokens.items[index].start : tokens.items[end - 1].end]


def rewrite_insert(context: Context, ref: RelationRef) -> Iterable[Edit]:
    """The edits for an INSERT, or for the INSERT actions of a MERGE."""
    if isinstance(ref.owner, ast.MergeStmt):
        yield from _merge_inserts(context, ref)
    else:
        yield from _Insert(context, ref).edits()
