"""The text of a generator expression: parsed once, changed by splices, never printed again.

An expression is parsed as `SELECT (<text>)`; offsets of the tree count characters of that text, and
`Expression.position` turns them into positions of the client's statement. What no splice touches
stays as the client wrote it. Everything that comes out is in parentheses, so it can stand for a
column in any other expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pglast import ast
from pglast.parser import ParseError, parse_sql

from catalog.sqltext import quote_ident
from core.errors import ProgramLimitExceeded, SyntaxErrorAt
from rewrite.edits import Edit, render, replace_text
from rewrite.tree import CLOSE_PAREN, OPEN_PAREN, Node, Tokens, walk

_PREFIX = "SELECT "
_START = len(_PREFIX) + 1

# A chain of virtual columns that read one another twice each doubles in length at every step.
EXPANDED_CHARACTERS_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. `at` is its character offset in the client's statement."""

    source: str
    text: str
    node: Node
    tokens: Tokens
    at: int

    def position(self, offset: int) -> int:
        """The 1-based position in the statement for an offset of `text`."""
        return self.at + max(offset - _START, 0) + 1


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """A reference to a column: its names from left to right, and its range in the text."""

    names: tuple[str, ...]
    start: int
    end: int


def parse_expression(source: str, *, at: int = 0) -> Expression:
    """Parse exactly one expression; SyntaxErrorAt with PostgreSQL's words when it is none."""
    # The newline keeps a comment at the end from swallowing the parenthesis.
    text = f"{_PREFIX}({source}" + ("\n)" if "--" in source else ")")
    try:
        statements = parse_sql(text)
    except ParseError as error:
        message, offset = (*error.args, None)[:2]
        inside = len(source) if offset is None else min(max(offset - _START, 0), len(source))
        raise SyntaxErrorAt(str(message), position=at + inside + 1) from error
    tokens = Tokens(text)
    node = _only_expression(statements, tokens)
    if node is None:
        raise SyntaxErrorAt("generation expression must be one expression", position=at + 1)
    return Expression(source, text, node, tokens, at)


def _only_expression(statements: Sequence[Node], tokens: Tokens) -> Node | None:
    """The node inside our parentheses; None when the text closed them itself or holds a list."""
    if len(statements) != 1 or tokens.matching_close(1) != len(tokens.items) - 1:
        return None
    node = statements[0].stmt.targetList[0].val
    if isinstance(node, ast.RowExpr) and node.location == len(_PREFIX):
        return None
    return node


def column_uses(expression: Expression, node: Node | None = None) -> Iterator[ColumnUse]:
    """All references to columns, in no sub-select: a valid expression has none."""
    for part in walk(expression.node if node is None else node):
        if isinstance(part, ast.ColumnRef):
            yield column_use(expression, part)


def column_use(expression: Expression, node: Node) -> ColumnUse:
    """Names and range of a ColumnRef; a star has the name "*"."""
    names = tuple(str(f.sval) if isinstance(f, ast.String) else "*" for f in node.fields)
    chain = expression.tokens.name_chain(node.location)
    return ColumnUse(names, node.location, chain[-1].end)


def call_arguments(expression: Expression, node: Node) -> tuple[list[tuple[int, int]], int]:
    """Ranges of a function call's arguments, and the end of the call."""
    tokens = expression.tokens
    index = tokens.index_at(node.location)
    while tokens.name(index) != OPEN_PAREN:
        index += 1
    ranges, close = tokens.list_items(index + 1, frozenset())
    assert tokens.name(close) == CLOSE_PAREN
    return ranges, tokens.items[close].end


def splice(expression: Expression, edits: Sequence[Edit]) -> str:
    """The expression with the edits, in parentheses; 54000 when it grew past the limit."""
    text = render(expression.text, edits).text[len(_PREFIX) :]
    if len(text) > EXPANDED_CHARACTERS_MAX:
        raise ProgramLimitExceeded(
            "generation expression is too long when it is expanded",
            detail=f"It has more than {EXPANDED_CHARACTERS_MAX} characters.",
            hint="Virtual columns that read other virtual columns hold their whole expressions.",
        )
    return text


def column_edits(
    expression: Expression,
    replace: Callable[[str], str | None],
    *,
    outside: Sequence[tuple[int, int]] = (),
) -> list[Edit]:
    """Edits that put replace(name) for each column; None leaves it, ranges `outside` are left."""
    edits = []
    for use in column_uses(expression):
        if any(start <= use.start < end for start, end in outside):
            continue
        text = replace(use.names[-1])
        if text is not None:
            edits.append(replace_text(use.start, use.end, text))
    return edits


def substitute(expression: str, replacements: Mapping[str, str]) -> str:
    """The expression, in parentheses, with columns replaced by SQL (in parentheses each).

    `c` and `table.c` are both the column c; columns that are not in the mapping stay.
    """
    parsed = parse_expression(expression)

    def replace(name: str) -> str | None:
        return f"({replacements[name]})" if name in replacements else None

    return splice(parsed, column_edits(parsed, replace))


def qualified(alias: str, name: str) -> str:
    """`alias."name"`."""
    return f"{quote_ident(alias)}.{quote_ident(name)}"
