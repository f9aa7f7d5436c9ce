"""Static SQL inside DO blocks and functions is spliced too; dynamic SQL (EXECUTE) is not.

plpgsql's own parser gives the text of every expression and statement of the body. Each of them that
names a store table is rewritten and replaced where it stands. A body in LANGUAGE sql is a text of
statements. The string literal that holds the body is replaced by a dollar-quoted one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pglast import parse_sql
from pglast.parser import ParseError, parse_plpgsql_json

from rewrite.context import Context, make_context
from rewrite.edits import Edit, render, replace_text
from rewrite.namespaces import Namespaces
from rewrite.tree import Tokens, ast

# PLpgSQL_expr.parseMode: 0 = statements, 2 = expression, 3.. = assignment (plpgsql.h RawParseMode).
_EXPRESSION = 2
_ASSIGNMENT = 3


def _body(context: Context) -> tuple[str, str, Any] | None:
    """(language, body, name of the option) of a DO or CREATE FUNCTION statement."""
    node = context.statement
    options = node.args if isinstance(node, ast.DoStmt) else node.options
    language, body = "plpgsql" if isinstance(node, ast.DoStmt) else "", None
    for option in options or ():
        if option.defname == "language":
            language = option.arg.sval.lower()
        elif option.defname == "as":
            arg = option.arg
            body = arg.sval if isinstance(arg, ast.String) else arg[0].sval
    return (language, body, node) if body is not None else None


def _queries(tree: object) -> Iterator[tuple[str, int]]:
    if isinstance(tree, dict):
        expr = tree.get("PLpgSQL_expr")
        if isinstance(expr, dict) and "query" in expr:
            yield expr["query"], int(expr.get("parseMode", 0))
        for value in tree.values():
            yield from _queries(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _queries(value)


def rewrite_text(text: str, namespaces: Namespaces) -> str:
    """A text of statements with all rules applied; unchanged when it does not parse."""
    from rewrite.rules import RULES  # the rules need nothing of this module

    try:
        raw: Any = parse_sql(text)
    except ParseError:
        return text
    tokens = Tokens(text)
    edits: list[Edit] = []
    for item in raw:
        end = item.stmt_location + item.stmt_len if item.stmt_len else len(text)
        context = make_context(text, item.stmt_location, end, tokens, item.stmt, namespaces, {})
        edits += [edit for rule in RULES for edit in rule(context)]
    return render(text, tuple(dict.fromkeys(edits))).text


def _rewrite_query(query: str, mode: int, namespaces: Namespaces) -> str:
    if mode == _EXPRESSION:
        prefix = "SELECT "
        return rewrite_text(prefix + query, namespaces)[len(prefix) :]
    if mode >= _ASSIGNMENT:
        for separator in (":=", "="):
            head, found, value = query.partition(separator)
            if found:
                prefix = "SELECT "
                return head + found + rewrite_text(prefix + value, namespaces)[len(prefix) :]
    return rewrite_text(query, namespaces)


def _plpgsql_source(context: Context, body: str) -> str:
    if isinstance(context.statement, ast.DoStmt):
        tag = _dollar_tag(body)
        return f"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS {tag}{body}{tag}"
    return context.text[context.start : context.end]


def _dollar_tag(body: str) -> str:
    number = 0
    while f"$m{number}$" in body:
        number += 1
    return f"$m{number}$"


def _new_body(context: Context, language: str, body: str) -> str:
    if language == "sql":
        return rewrite_text(body, context.namespaces)
    try:
        tree = json.loads(parse_plpgsql_json(_plpgsql_source(context, body)))
    except (ParseError, ValueError):
        return body
    result = body
    for query, mode in sorted(set(_queries(tree)), key=lambda q: -len(q[0])):
        changed = _rewrite_query(query, mode, context.namespaces)
        if changed == query:
            continue
        if query not in result and query.startswith("SELECT "):
            # plpgsql's parser shows PERFORM as the SELECT that it runs.
            query, changed = query.removeprefix("SELECT "), changed.removeprefix("SELECT ")
        result = result.replace(query, changed)
    return result


def body_edits(context: Context) -> Iterable[Edit]:
    """Replace the body's literal when a statement in it names a store table."""
    found = _body(context)
    if found is None:
        return
    language, body, _ = found
    if language not in ("plpgsql", "sql"):
        return
    changed = _new_body(context, language, body)
    if changed == body:
        return
    tag = _dollar_tag(changed)
    for token in context.tokens.items:
        if token.name == "SCONST" and context.start <= token.start < context.end:
            literal = context.text[token.start : token.end]
            if body[:20].replace("'", "''") in literal or body[:20] in literal:
                yield replace_text(token.start, token.end, f"{tag}{changed}{tag}")
                return
