"""Views over foreign tables are written into the statement that reads them (R1.8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.model import Column, Native, Table
from core.errors import StatementTooComplex
from rewrite.foreign_views import expand_foreign_views
from tests.unit.engine.foreign_tables import NAMESPACES


def _view(number: int, name: str, query: str, *columns: str) -> Table:
    shown = tuple(Column(number * 10 + n, c, "text", Native(())) for n, c in enumerate(columns))
    return Table(number, name, "view", shown, definition=query)


VIEWS = (
    _view(50, "names", "SELECT name FROM people", "n"),
    _view(51, "notes", "SELECT note FROM vips", "note"),
    _view(52, "mixed", "SELECT a.n FROM names a JOIN notes ON note = a.n", "n"),
)
_VERSION = NAMESPACES.snapshot.versions[1]
WITH_VIEWS = replace(
    NAMESPACES,
    snapshot=replace(
        NAMESPACES.snapshot,
        versions={1: replace(_VERSION, tables=(*_VERSION.tables, *VIEWS))},
    ),
)
NAMES = '(SELECT * FROM (SELECT name FROM "v1"."people" AS "people") AS _v ("n"))'


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("SELECT * FROM names", f'SELECT * FROM {NAMES} AS "names"'),
        ("SELECT x.n FROM public.names x", f"SELECT x.n FROM {NAMES} x"),
        ("SELECT note FROM notes", "SELECT note FROM notes"),
        ("INSERT INTO vips SELECT 1, n FROM names",
         f'INSERT INTO vips SELECT 1, n FROM {NAMES} AS "names"'),
        ("CREATE TEMP TABLE t AS SELECT n FROM names",
         f'CREATE TEMP TABLE t AS SELECT n FROM {NAMES} AS "names"'),
        ("COPY names TO STDOUT", f'COPY (SELECT "n" FROM {NAMES} AS "names") TO STDOUT'),
        ("COPY names (n) TO STDOUT", f'COPY (SELECT "n" FROM {NAMES} AS "names") TO STDOUT'),
        ("EXPLAIN SELECT * FROM names", f'EXPLAIN SELECT * FROM {NAMES} AS "names"'),
        ("SELECT n FROM mixed", "SELECT n FROM (SELECT * FROM (SELECT a.n FROM "
         f'{NAMES} a JOIN "v1"."notes" AS "notes" ON note = a.n) AS _v ("n")) AS "mixed"'),
        ("CREATE VIEW w AS SELECT * FROM names", "CREATE VIEW w AS SELECT * FROM names"),
        ("DROP VIEW names", "DROP VIEW names"),
        ("WITH names AS (SELECT 1) SELECT * FROM names",
         "WITH names AS (SELECT 1) SELECT * FROM names"),
        ("SELEKT names", "SELEKT names"),
    ],
)  # fmt: skip
def test_expansion(text: str, expanded: str) -> None:
    assert expand_foreign_views(text, WITH_VIEWS) == expanded


def test_views_nested_too_deep() -> None:
    deep = [_view(60, "d0", "SELECT name FROM people", "n")]
    deep += [_view(60 + n, f"d{n}", f"SELECT n FROM d{n - 1}", "n") for n in range(1, 30)]
    version = replace(_VERSION, tables=(*_VERSION.tables, *deep))
    names = replace(
        NAMESPACES, snapshot=replace(NAMESPACES.snapshot, epoch=2, versions={1: version})
    )
    with pytest.raises(StatementTooComplex, match="nested deeper than 20"):
        expand_foreign_views("SELECT * FROM d29", names)
