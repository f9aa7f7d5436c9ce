"""Static SQL inside DO blocks and functions is spliced too; dynamic SQL (EXECUTE) is not.

A plpgsql body is read as tokens, so neither strings nor comments can be mistaken for SQL: wherever
a query can begin (SELECT, INSERT, …, PERFORM, the value of an assignment) the text up to its end is
parsed, and its edits are moved to where it stands. `INTO target`, plpgsql's own, is blanked for the
parser. What does not parse stays; if it names a store table it fails at run time with 42501.
A body in LANGUAGE sql is a text of statements; a BEGIN ATOMIC body is part of the statement's tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pglast import parse_sql
from pglast.parser import ParseError

from core.errors import FeatureNotSupported
from rewrite.context import Context, NeedsWidth, make_context
from rewrite.edits import Edit, Span, render, replace_text
from rewrite.namespaces import Namespaces
from rewrite.tree import SEMICOLON, Node, Tokens, ast

_QUERY_STARTS = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE_P", "MERGE", "WITH", "VALUES", "TABLE"}
)
# plpgsql takes these as the beginning of a SELECT list: `n := count(*) FROM orders`.
_EXPRESSION_STARTS = frozenset({"perform", "return", "if", "elsif", "elseif", "while", ":="})
_ENDS = frozenset({"loop", "then", "end"})
_SELECT = "SELECT "
_OPEN = frozenset({"ASCII_40", "ASCII_91"})
_CLOSE = frozenset({"ASCII_41", "ASCII_93"})


def text_edits(text: str, namespaces: Namespaces) -> list[Edit]:
    """The edits for a text of statements; none when it does not parse."""
    from rewrite.rules import RULES  # the rules need nothing of this module

    try:
        raw: Any = parse_sql(text)
    except ParseError:
        return []
    tokens = Tokens(text)
    edits: list[Edit] = []
    for item in raw:
        end = item.stmt_location + item.stmt_len if item.stmt_len else len(text)
        context = make_context(text, item.stmt_location, end, tokens, item.stmt, namespaces, {})
        try:
            edits += [edit for rule in RULES for edit in rule(context)]
        except NeedsWidth as error:
            raise FeatureNotSupported(
                "INSERT of all columns of a query into a store table is not supported here",
                detail="Inside functions and views the rewriter must see the number of columns.",
                hint="Name the columns.",
            ) from error
    return list(dict.fromkeys(edits))


def rewrite_text(text: str, namespaces: Namespaces) -> str:
    """A text of statements with all rules applied; unchanged when it does not parse."""
    return render(text, text_edits(text, namespaces)).text


def _moved(edit: Edit, by: int) -> Edit:
    parts = tuple(Span(p.start + by, p.end + by) if isinstance(p, Span) else p for p in edit.parts)
    return Edit(edit.start + by, edit.end + by, parts)


class _Body:
    """The tokens of a plpgsql body and the edits of the queries in it."""

    def __init__(self, text: str, namespaces: Namespaces) -> None:
        self._text = text
        self._namespaces = namespaces
        self._tokens = Tokens(text)
        self._words = [text[t.start : t.end].lower() for t in self._tokens.items]

    def edits(self) -> Iterator[Edit]:
        index = 0
        while index < len(self._words):
            after = index + 1
            if self._tokens.name(index) in _QUERY_STARTS:
                end = self._end(index)
                found = self._query(index, end, "")
            elif self._words[index] in _EXPRESSION_STARTS:
                end = self._end(index + 1)
                found = self._query(index + 1, end, _SELECT) if self._reads(index + 1, end) else []
            else:
                index = after
                continue
            if found:
                yield from found
                after = end
            index = after

    def _end(self, index: int) -> int:
        """Index of the token that ends the query which begins at `index`."""
        depth = cases = 0
        for at in range(index, len(self._words)):
            name, word = self._tokens.name(at), self._words[at]
            if name in _OPEN:
                depth += 1
            elif name in _CLOSE:
                depth -= 1
                if depth < 0:
                    return at
            elif name == "CASE":
                cases += 1
            elif cases and word == "end":
                cases -= 1
            elif depth == 0 and (name == SEMICOLON or (not cases and word in _ENDS)):
                return at
        return len(self._words)

    def _reads(self, start: int, end: int) -> bool:
        """True when an expression has a FROM clause of its own."""
        return self._tokens.find_top(start, frozenset({"FROM"}), self._offset(end)) < end

    def _offset(self, index: int) -> int:
        items = self._tokens.items
        return items[index].start if index < len(items) else len(self._text)

    def _query(self, start: int, end: int, prefix: str) -> list[Edit]:
        if start >= end:
            return []
        low, high = self._tokens.items[start].start, self._tokens.items[end - 1].end
        text = self._text[low:high]
        for first, last in self._into(start, end):
            a, b = self._tokens.items[first].start - low, self._tokens.items[last - 1].end - low
            text = text[:a] + " " * (b - a) + text[b:]
        edits = text_edits(prefix + text, self._namespaces)
        return [_moved(edit, low - len(prefix)) for edit in edits]

    def _into(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The INTO clauses of plpgsql among the tokens of a query."""
        depth = 0
        at = start
        while at < end:
            name = self._tokens.name(at)
            depth += (name in _OPEN) - (name in _CLOSE)
            into = name == "INTO" and depth == 0
            if into and self._tokens.name(at - 1) not in ("INSERT", "MERGE"):
                last = at + (2 if self._words[at + 1 : at + 2] == ["strict"] else 1)
                last = self._target_end(last)
                while self._tokens.name(last) == "ASCII_44":
                    last = self._target_end(last + 1)
                yield at, min(last, end)
                at = last
            else:
                at += 1

    def _target_end(self, index: int) -> int:
        if index >= len(self._words):
            return index
        return self._tokens.index_at(self._tokens.target_end(index))


def body_text(body: str, language: str, namespaces: Namespaces) -> str:
    """A body with its static SQL rewritten."""
    if language == "sql":
        return rewrite_text(body, namespaces)
    try:
        parts = _Body(body, namespaces)
    except ParseError:
        return body
    return render(body, list(dict.fromkeys(parts.edits()))).text


def _body(statement: Node) -> tuple[str, str, int] | None:
    """(language, body, offset at or before its literal) of a DO or CREATE FUNCTION statement."""
    is_block = isinstance(statement, ast.DoStmt)
    language, found = "plpgsql" if is_block else "", None
    for option in (statement.args if is_block else statement.options) or ():
        if option.defname == "language":
            language = option.arg.sval.lower()
        elif option.defname == "as":
            body = option.arg.sval if is_block else option.arg[0].sval
            found = body, option.location
    return (language, *found) if found is not None else None


def _dollar_tag(body: str) -> str:
    number = 0
    while f"$m{number}" in body:
        number += 1
    return f"$m{number}$"


def body_edits(context: Context) -> Iterable[Edit]:
    """Replace the body's literal when a statement in it names a store table."""
    found = _body(context.statement)
    if found is None or found[0] not in ("plpgsql", "sql"):
        return
    language, body, location = found
    changed = body_text(body, language, context.namespaces)
    if changed == body:
        return
    tokens = context.tokens
    index = tokens.index_at(location)
    while tokens.name(index) != "SCONST":
        index += 1
    last = index
    while tokens.name(last + 1) == "SCONST":  # 'parts' on several lines are one literal
        last += 1
    tag = _dollar_tag(changed)
    yield replace_text(tokens.items[index].start, tokens.items[last].end, f"{tag}{changed}{tag}")
