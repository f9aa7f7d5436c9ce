"""Scans of statements: columns, conjuncts and where they may go (R0.3, R0.5, R1.7).

That reduced scans give the same answers is proven in tests/differential.
"""

from __future__ import annotations

import pytest
from pglast import parse_sql

from backends.base import OrderKey
from catalog.model import Column, DocPath, Table
from core import expr as ir
from engine.predicates import PlacedTable
from engine.scans import JOINS_MAX, Scan, list_scans


def _table(number: int, name: str, *columns: str) -> PlacedTable:
    made = (
        Column(number * 10 + i, column, "integer", DocPath((column,)))
        for i, column in enumerate(columns)
    )
    return PlacedTable(Table(number, name, "table", tuple(made), f"t{number}", True), 3)


TABLES = {
    ("", "a"): _table(1, "a", "id", "x", "y"),
    ("", "b"): _table(2, "b", "id", "a_id", "z"),
    ("v1", "a"): _table(1, "a", "id", "x"),
}
NAMES = {c.id: c.name for placed in TABLES.values() for c in placed.table.columns}


def _scans(statement: str) -> tuple[Scan, ...]:
    return list_scans(
        parse_sql(statement)[0], lambda schema, name: TABLES.get((schema, name)), {1: "integer"}
    )


def _columns(scan: Scan) -> list[str]:
    return [NAMES[each] for each in scan.columns]


def _predicates(statement: str) -> list[str]:
    return [ir.to_text(s.predicate, NAMES) if s.predicate else "" for s in _scans(statement)]


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        ("SELECT x FROM a", [["x"]]),
        ("SELECT count(*) FROM a", [[]]),
        ("SELECT * FROM a", [["id", "x", "y"]]),
        ("SELECT a.* FROM a, b", [["id", "x", "y"], []]),
        ("SELECT a FROM a", [["id", "x", "y"]]),
        ("SELECT to_json(t) FROM a t", [["id", "x", "y"]]),
        ("SELECT (t).x FROM a t", [["id", "x", "y"]]),
        ("SELECT t.full_name FROM a t", [["id", "x", "y"]]),
        ("SELECT p FROM a t(p, q)", [["id", "x", "y"]]),
        ("SELECT x FROM a NATURAL JOIN b", [["id", "x", "y"], ["id", "a_id", "z"]]),
        ("SELECT x FROM a JOIN b USING (id)", [["id", "x"], ["id"]]),
        ("SELECT j.x FROM (a JOIN b ON z = 1) j", [["id", "x", "y"], ["id", "a_id", "z"]]),
        ("SELECT 1 FROM a ORDER BY y", [["y"]]),
        ("SELECT s.x FROM (SELECT * FROM a) s", [["id", "x", "y"]]),
        ("SELECT * FROM (SELECT x FROM a) s", [["x"]]),
        (
            "SELECT x FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id)",
            [["id", "x"], ["a_id"]],
        ),
        ("SELECT count(x) FILTER (WHERE y = 1) OVER (PARTITION BY id) FROM a", [["id", "x", "y"]]),
        ("SELECT x FROM v1.a", [["x"]]),
        ("SELECT x FROM pg_class, nobody.a", []),
        (
            "SELECT a.x, s.z FROM a, LATERAL (SELECT z FROM b WHERE b.id = a.id) s",
            [["id", "x"], ["id", "z"]],
        ),
        ("WITH a AS (SELECT z FROM b) SELECT x FROM a", [["z"]]),
        ("WITH c AS (SELECT x FROM a), a AS (SELECT 1) SELECT * FROM a, c", [["x"]]),
        ("WITH RECURSIVE c AS (SELECT x FROM a), a AS (SELECT 1) SELECT * FROM a, c", []),
        ("SELECT 1 FROM (WITH a AS (SELECT 1) SELECT * FROM a) s, a", [[]]),
        ("WITH a AS (SELECT 1) SELECT x FROM v1.a", [["x"]]),
        ("INSERT INTO b SELECT x FROM a", [["x"]]),
        ("CREATE TABLE c AS SELECT x FROM a", [["x"]]),
        ("UPDATE b SET z = 1", []),
        (
            "SELECT x FROM a UNION SELECT z FROM b EXCEPT SELECT id FROM v1.a",
            [["id", "x"], ["id", "z"], ["id", "x"]],
        ),
    ],
)
def test_columns(statement: str, columns: list[list[str]]) -> None:
    assert [_columns(scan) for scan in _scans(statement)] == columns


# R0.5: where conjuncts go
@pytest.mark.parametrize(
    ("statement", "predicates"),
    [
        ("SELECT 1 FROM a, b WHERE x = 1 AND z = 2 AND a.id = b.id", ["x = 1", "z = 2"]),
        ("SELECT 1 FROM a JOIN b ON x = 1 AND z = 2", ["x = 1", "z = 2"]),
        (
            "SELECT 1 FROM a LEFT JOIN b ON x = 1 AND z = 2 WHERE y = 3 AND a_id = 4",
            ["y = 3", "z = 2"],
        ),
        (
            "SELECT 1 FROM a RIGHT JOIN b ON x = 1 AND z = 2 WHERE y = 3 AND a_id = 4",
            ["x = 1", "a_id = 4"],
        ),
        ("SELECT 1 FROM a FULL JOIN b ON x = 1 AND z = 2 WHERE y = 3", ["", ""]),
        ("SELECT 1 FROM a LEFT JOIN (b JOIN v1.a c ON z = 1) ON c.x = 2", ["", "z = 1", "x = 2"]),
        (
            "SELECT 1 FROM a LEFT JOIN (b LEFT JOIN v1.a c ON z = 1) ON c.x = 2 AND b.id = 3",
            ["", "id = 3", ""],
        ),
        (
            "SELECT 1 FROM (a LEFT JOIN b ON true) JOIN v1.a c ON z = 1 AND a.y = 2",
            ["y = 2", "", ""],
        ),
        ("SELECT 1 FROM a WHERE x = 1 GROUP BY y HAVING y = 2", ["x = 1"]),
        ("SELECT 1 FROM a t(p, q) WHERE p = 1", [""]),
        ("SELECT 1 FROM (a JOIN b ON z = 1) j WHERE x = 1", ["", ""]),
        ("SELECT 1 FROM a TABLESAMPLE system (10) WHERE x = 1", [""]),
        ("SELECT 1 FROM a JOIN b USING (id) WHERE id = 1 AND a.id = 2", ["id = 2", ""]),
        ("SELECT 1 FROM a, v1.a WHERE a.x = 1", ["", ""]),
        (
            "SELECT (SELECT max(z) FROM b WHERE z < 5 AND a_id = id) FROM a WHERE x = $1",
            ["(z < 5) and (a_id = id)", "x = $1::integer"],
        ),
        ("SELECT 1 FROM c, a JOIN b ON x = 1", ["x = 1", ""]),
    ],
)
def test_predicates(statement: str, predicates: list[str]) -> None:
    assert _predicates(statement) == predicates


# R0.5: what may raise is run only where PostgreSQL would run it
@pytest.mark.parametrize(
    ("statement", "pushed"),
    [
        ("SELECT x FROM a WHERE 1 / y = 1", True),
        ("SELECT x FROM a WHERE x = 2 AND 1 / y = 1", True),
        ("EXPLAIN SELECT x FROM a WHERE 1 / y = 1", True),
        ("SELECT x FROM a WHERE x = 2 AND 1 / y = 1 AND foo(x)", False),
        ("SELECT x FROM a, b WHERE 1 / y = 1", False),
        ("SELECT x FROM a, generate_series(1, 0) WHERE 1 / y = 1", False),
        ("SELECT x FROM a WHERE 1 / y = 1 LIMIT 1", False),
        ("SELECT x FROM a WHERE 1 / y = 1 UNION SELECT 1", False),
        ("SELECT (SELECT x FROM a WHERE 1 / y = 1)", False),
        ("DECLARE c CURSOR FOR SELECT x FROM a WHERE 1 / y = 1", False),
        ("WITH c AS (SELECT 1) SELECT x FROM a WHERE 1 / y = 1", False),
    ],
)
def test_raising_conjuncts(statement: str, pushed: bool) -> None:
    (scan,) = [s for s in _scans(statement) if s.name == "a"]
    text = "" if scan.predicate is None else ir.to_text(scan.predicate)
    assert ("/" in text) is pushed
    assert scan.whole is pushed
    assert ("may raise on rows that the statement does not reach" in scan.reasons) is not pushed


@pytest.mark.parametrize(
    ("tail", "limit"),
    [
        ("LIMIT 5", 5),
        ("LIMIT 5 OFFSET 2", 7),
        ("WHERE x = 1 FETCH FIRST 3 ROWS ONLY", 3),
        ("ORDER BY x DESC, a.y LIMIT 5", 5),
        ("ORDER BY x + 1 LIMIT 5", None),
        ("ORDER BY 1 LIMIT 5", None),
        ("ORDER BY x USING < LIMIT 5", None),
        ("FETCH FIRST 3 ROWS WITH TIES", None),
        ("LIMIT ALL", None),
        ("LIMIT $1", None),
        ("OFFSET 2", None),
        ("WHERE foo(x) LIMIT 5", None),
        ("WHERE 1 / x = 1 LIMIT 5", None),
        ("GROUP BY x LIMIT 5", None),
        ("FOR UPDATE LIMIT 5", None),
        ("UNION ALL SELECT 1 LIMIT 5", None),
    ],
)
def test_limit(tail: str, limit: int | None) -> None:
    order = "ORDER BY x " if "WITH TIES" in tail else ""
    assert _scans(f"SELECT x FROM a {order}{tail}")[0].limit == limit


def test_limit_needs_plain_outputs() -> None:
    assert _scans("SELECT generate_series(1, x) FROM a LIMIT 5")[0].limit is None
    assert _scans("SELECT t.some_function FROM a t LIMIT 5")[0].limit is None
    assert _scans("SELECT DISTINCT x FROM a LIMIT 5")[0].limit is None
    assert _scans("SELECT y AS x FROM a ORDER BY x LIMIT 5")[0].limit is None
    assert _scans("SELECT * FROM a ORDER BY x NULLS FIRST LIMIT 5")[0].order == (
        OrderKey(11, False, True),
    )


def test_where_a_reference_stands() -> None:
    statement = "SELECT 'é', x FROM a o, v1.a"
    scans = _scans(statement)
    assert [statement[s.location :].split(maxsplit=1)[0] for s in scans] == ["a", "v1.a"]
    assert [(s.schema, s.name, s.alias) for s in scans] == [("", "a", "o"), ("v1", "a", "a")]


def test_system_columns_are_told() -> None:
    assert _scans("SELECT ctid, x FROM a")[0].system_columns == ("ctid",)
    assert _columns(_scans("SELECT a.ctid FROM a")[0]) == []


def test_ask_binds_parameters() -> None:
    scan = _scans("SELECT x FROM a WHERE x = $1")[0]
    ask = scan.ask({1: "7"})
    assert ask.version == 3
    assert ask.predicate == ir.Compare("=", ir.ColumnRef(11, "integer"), ir.Literal("integer", "7"))
    assert ask.predicate is not None
    assert type(ask.judge(ask.predicate)).__name__ == "Exact"


# R0.1: long and deep statements end in an answer
def test_long_join_trees() -> None:
    count = JOINS_MAX * 3
    joins = "".join(f" JOIN b b{i} ON b{i}.z = 1" for i in range(count))
    scans = _scans(f"SELECT 1 FROM a{joins}")
    assert len(scans) == count + 1
    assert scans[-1].predicate is not None
