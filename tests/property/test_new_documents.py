"""A document made in one expression is the one that a chain of `put` calls makes; plain tests of
what fits say what the function says (R0.3, DESIGN 7.8).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catalog.model import Column, DocPath
from private_pg.cluster import Cluster
from rewrite.documents import EMPTY_DOC, new_document
from rewrite.fits import fitting
from rewrite.puts import Assignment, Parts, put_chain
from tests.property.document_cluster import document_databases
from tests.unit.rewrite.shop_model import PEOPLE, V1

Connection = psycopg.Connection[Any]
PATHS = [("a",), ("a", "b"), ("a", "b", "c"), ("a", "d"), ("e",), ("f", "g"), ("Odd '\"~",)]
VALUES = {
    "jsonb": [None, "null", "5", '"x"', "[]", "{}", '{"b": {"c": 1, "z": null}}', '{"b": 5}',
              '{"b": null, "d": [1]}', '{"b": []}', '{"b": {}}'],
    "text": [None, "", "é'\"\\"],
    "bigint": [None, "7"],
    "timestamp with time zone": [None, "2024-02-29 12:00:00.5+00", "infinity"],
    "bigint[]": [None, "{}", "{1,NULL}", "{{1},{2}}"],
}  # fmt: skip
LOOK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def database(pg18_cluster: Cluster) -> Iterator[Connection]:
    with (
        document_databases(pg18_cluster),
        psycopg.connect(pg18_cluster.dsn(database="morph"), autocommit=True) as connection,
    ):
        yield connection


@st.composite
def _columns(draw: st.DrawFn) -> list[tuple[tuple[str, ...], str, str | None, bool]]:
    """(path, type, value, whether the value is the column's default)"""
    found = []
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=6)):
        kind = draw(st.sampled_from(["jsonb", *VALUES]))
        value = draw(st.sampled_from(VALUES[kind]))
        found.append((path, kind, value, draw(st.booleans())))
    return found


def _answer(connection: Connection, sql: str, values: list[str | None]) -> object:
    try:
        return connection.execute(sql, values).fetchone()
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary


@LOOK
@given(_columns(), st.booleans())
@example([(("a",), "jsonb", "5", False), (("a", "b"), "text", "x", False)], True)
@example([(("a", "b"), "text", None, False), (("a",), "jsonb", "{}", False)], True)
@example([(("a",), "jsonb", "null", False), (("a", "b"), "text", None, False)], True)
@example([(("a",), "jsonb", '{"b": null}', False), (("a", "b", "c"), "text", None, False)], True)
def test_one_expression_is_the_chain(
    database: Connection,
    columns: list[tuple[tuple[str, ...], str, str | None, bool]],
    repeatable: bool,
) -> None:
    assignments, selected, values = [], [], []
    for number, (path, kind, value, default) in enumerate(columns):
        own = f"s.v{number}"
        column = Column(number + 1, own, kind, DocPath(path), default=own if default else None)
        assignments.append(Assignment(column, None if default else (own,)))
        selected.append(f"CAST(%s AS {kind}) AS v{number}")
        values.append(value)
    source = f"(SELECT {', '.join(selected)} OFFSET 0) AS s"
    made = new_document(assignments, repeatable=repeatable)
    chained = put_chain(EMPTY_DOC, assignments)
    answers = [
        _answer(database, f"SELECT ({_text(parts)})::text FROM {source}", values)
        for parts in (made, chained)
    ]
    if isinstance(answers[1], tuple) and len(answers[1]) == 2:
        # Which of several values that cannot be written is named first is not said.
        assert isinstance(answers[0], tuple)
        assert answers[0][0] in {answers[1][0], "22023", "0A000"}
    else:
        assert answers[0] == answers[1]


def _text(parts: Parts) -> str:
    return "".join(map(str, parts)).replace("%", "%%")


json_values = st.recursive(
    st.sampled_from(["null", "true", "5", "1.5", '"x"', '"7"', "[]", "{}"]),
    lambda inner: (
        st.dictionaries(st.sampled_from(["city", "zip", "shop", "spent"]), inner, max_size=3).map(
            lambda d: "{" + ", ".join(f'"{k}": {v}' for k, v in d.items()) + "}"
        )
        | st.lists(inner, max_size=2).map(lambda each: f"[{', '.join(each)}]")
    ),
    max_leaves=5,
)


@LOOK
@given(st.none() | json_values, st.none() | json_values)
@example('{"city": "Oslo"}', None)
@example('{"city": "Oslo", "zip": 5}', "[]")
@example("5", None)
def test_plain_tests_say_what_the_function_says(
    database: Connection, address: str | None, visits: str | None
) -> None:
    source = "(SELECT CAST(%s AS jsonb) AS a, CAST(%s AS jsonb) AS v OFFSET 0) AS s"
    values: dict[tuple[str, ...], Parts] = {("address",): ("s.a",), ("visits",): ("s.v",)}
    by_path = {c.source.path: c for c in PEOPLE.columns if isinstance(c.source, DocPath)}
    document = new_document(
        [Assignment(by_path[path], value) for path, value in values.items()], repeatable=True
    )
    answers = [
        _answer(
            database,
            f"SELECT ({_text(fitting(V1, PEOPLE, list(values), document, known))})::text "
            f"FROM {source}",
            [address, visits],
        )
        for known in (values, None)
    ]
    assert answers[0] == answers[1]
