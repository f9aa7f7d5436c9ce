"""The rewriter's properties: edits and positions, purity, and equality with plain tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from private_pg.cluster import Cluster
from rewrite.analysis import analyse
from rewrite.edits import Edit, Span, render
from rewrite.namespaces import parse_search_path
from tests.property.document_cluster import document_databases
from tests.property.document_database import Rewritten
from tests.unit.rewrite.shop_model import namespaces

# --------------------------------------------------------------------------- edits and positions


@st.composite
def _edited(draw: st.DrawFn) -> tuple[str, list[Edit]]:
    """A text and edits that lie side by side or inside a span of another one."""
    text = draw(st.text("abc(),é🙂", min_size=1, max_size=30))
    edits: list[Edit] = []

    def fill(low: int, high: int, depth: int) -> None:
        cuts = sorted(draw(st.sets(st.integers(low, high), max_size=4)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False):
            kind = draw(st.sampled_from(["replace", "insert", "wrap"]))
            if kind == "wrap" and end - start > 1 and depth:
                edits.append(Edit(start, end, ("<", Span(start, end), ">")))
                fill(start + 1, end - 1, depth - 1)
            elif kind == "insert":
                edits.append(Edit(start, start, ("+",)))
            else:
                edits.append(Edit(start, end, (draw(st.text("XY", max_size=3)),)))

    fill(0, len(text), 2)
    return text, edits


@given(st.text(max_size=50))
def test_no_edits_change_nothing(text: str) -> None:
    # R0.3
    rendered = render(text, ())
    assert rendered.text == text
    assert [rendered.source_offset(n) for n in range(len(text))] == list(range(len(text)))


@settings(max_examples=300)
@given(_edited())
def test_what_is_copied_maps_back_to_itself(case: tuple[str, list[Edit]]) -> None:
    # R0.1: error positions are those of the client's text
    text, edits = case
    rendered = render(text, edits)
    for out, source, length, copied in rendered.pieces:
        if copied:
            assert rendered.text[out : out + length] == text[source : source + length]
            for n in range(length):
                assert rendered.source_offset(out + n) == source + n
    offsets = [rendered.source_offset(n) for n in range(len(rendered.text) + 1)]
    assert all(0 <= offset <= len(text) for offset in offsets)


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda s: "\0" not in s), max_size=4))
def test_a_search_path_is_read_as_it_was_written(names: list[str]) -> None:
    # R0.3
    text = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    assert parse_search_path(text) == tuple(names)


@settings(max_examples=200, deadline=None)
@given(st.text("SELECT FROMordes.id=1'\"$(),;*/-\n[]:", max_size=60))
def test_any_text_is_analysed_or_refused(text: str) -> None:
    # R0.3: no text crashes the rewriter; what does not parse stays as it is
    analysis = analyse(text, namespaces())
    if not analysis.parsed:
        assert analysis.rendered.text == text


# --------------------------------------------------------------------------- equality


@pytest.fixture(scope="module")
def databases(pg18_cluster: Cluster) -> Iterator[Rewritten]:
    """Documents and plain tables side by side."""
    with document_databases(pg18_cluster) as found:
        yield found


_TABLES = {
    "orders": {
        "number": ["id", "customer_id", "qty", "price", '"address.geo.lat"', "amount"],
        "text": ["status", '"address.city"', '"Odd ""~0~1Name"', "note"],
    },
    "customers": {"number": ["id", "score"], "text": ["name", "status"]},
    "plain": {"number": ["id", "n"], "text": ["v"]},
    "prices": {"number": ["id", "price"], "text": ["code", "v"]},
}
_WRITTEN = {
    "orders": {
        "number": ["customer_id", "qty"],
        "text": ["status", '"address.city"', '"Odd ""~0~1Name"', "note"],
    },
    "customers": {"number": ["score"], "text": ["name", "status"]},
    "plain": {"number": ["n"], "text": ["v"]},
    "prices": {"number": ["price"], "text": ["code", "v"]},
}
_SPELLINGS = {
    "orders": ["orders", '"orders"', "public.orders", "ONLY orders", "Orders", "public . orders"],
    "customers": ["customers", "public.customers", '"customers"', "customers *"],
    "plain": ["plain", "public.plain", "PLAIN"],
    "prices": ["prices", "public.prices"],
}


class _Scope:
    """The relations that an expression may name: (alias, table)."""

    def __init__(self, draw: st.DrawFn, relations: list[tuple[str, str]]) -> None:
        self.draw = draw
        self.relations = relations

    def pick(self, options: list[str]) -> str:
        return self.draw(st.sampled_from(options))

    def column(self, kind: str) -> str:
        alias, table = self.draw(st.sampled_from(self.relations))
        return f"{alias}.{self.pick(_TABLES[table][kind])}"

    def number(self, depth: int = 2) -> str:
        choice = self.draw(st.integers(0, 6 if depth else 2))
        if choice <= 1:
            return self.column("number")
        if choice == 2:
            return self.pick(["0", "1", "2.5", "NULL::bigint", "'3'::bigint"])
        if choice == 3:
            return f"({self.number(depth - 1)} {self.pick(['+', '-'])} {self.number(depth - 1)})"
        if choice == 4:
            return f"coalesce({self.number(depth - 1)}, 0)"
        if choice == 5:
            return f"length({self.text(depth - 1)})"
        table = self.pick(list(_TABLES))
        inner = _Scope(self.draw, [*self.relations, ("z", table)])
        return f"(SELECT count(*) FROM {table} z WHERE {inner.condition(depth - 1)})"

    def text(self, depth: int = 2) -> str:
        choice = self.draw(st.integers(0, 4 if depth else 1))
        if choice == 0:
            return self.column("text")
        if choice == 1:
            return self.pick(["'new'", "E'it''s \\\\'", "$q$orders$q$", "''", "NULL::text"])
        if choice == 2:
            return f"({self.text(depth - 1)} || {self.text(depth - 1)})"
        if choice == 3:
            return f"upper({self.text(depth - 1)})"
        then, other = self.text(depth - 1), self.text(depth - 1)
        return f"CASE WHEN {self.condition(depth - 1)} THEN {then} ELSE {other} END"

    def condition(self, depth: int = 2) -> str:
        choice = self.draw(st.integers(0, 6 if depth else 2))
        if choice == 0:
            return f"{self.number(0)} {self.pick(['<', '=', '>=', '<>'])} {self.number(0)}"
        if choice == 1:
            return f"{self.column('text')} IS {self.pick(['NULL', 'NOT NULL'])}"
        if choice == 2:
            return f"{self.column('text')} LIKE '%e%'"
        if choice == 3:
            return f"({self.condition(depth - 1)} {self.pick(['AND', 'OR'])} {self.condition(0)})"
        if choice == 4:
            return f"NOT ({self.condition(depth - 1)})"
        table = self.pick(list(_TABLES))
        inner = _Scope(self.draw, [*self.relations, ("e", table)])
        if choice == 5:
            return f"EXISTS (SELECT FROM {table} e WHERE {inner.condition(depth - 1)})"
        return f"{self.column('number')} IN (SELECT e.id FROM {table} AS e)"


@st.composite
def _select(draw: st.DrawFn) -> str:
    tables = draw(st.lists(st.sampled_from(list(_TABLES)), min_size=1, max_size=2))
    relations = [(f"t{n}", table) for n, table in enumerate(tables)]
    scope = _Scope(draw, relations)
    items = [f"{draw(st.sampled_from(_SPELLINGS[t]))} AS {a}" for a, t in relations]
    origin = items[0]
    for item in items[1:]:
        join = draw(st.sampled_from(["JOIN", "LEFT JOIN", "FULL JOIN", ","]))
        on = f" ON t0.id = {relations[1][0]}.id" if join != "," else ""
        origin += f" {join} {item}{on}" if join != "," else f", {item}"
    where = f" WHERE {scope.condition()}" if draw(st.booleans()) else ""
    form = draw(st.sampled_from(["plain", "star", "group", "key", "set", "window", "cte", "row"]))
    if form == "group":
        key = scope.column("text")
        outputs = f"{key}, count(*), max({scope.column('number')})"
        return f"SELECT {outputs} FROM {origin}{where} GROUP BY {key}"
    if form == "key":
        outputs = f"t0.id, {_Scope(draw, relations[:1]).text()}, count(*)"
        having = f" HAVING {_Scope(draw, relations[:1]).condition()}" if draw(st.booleans()) else ""
        return f"SELECT {outputs} FROM {origin}{where} GROUP BY t0.id{having}"
    query = f"SELECT {scope.number()} AS a, {scope.text()} AS b FROM {origin}{where}"
    if form == "star":
        return f"SELECT {draw(st.sampled_from(['*', 't0.*', 't0.*, 1 AS x']))} FROM {origin}{where}"
    if form == "set":
        operator = draw(st.sampled_from(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]))
        return f"{query} {operator} SELECT id, status FROM orders"
    if form == "window":
        window = f"PARTITION BY {scope.column('text')} ORDER BY t0.id"
        return f"SELECT count(*) OVER w, t0.id FROM {origin}{where} WINDOW w AS ({window})"
    if form == "cte":
        name = draw(st.sampled_from(["x", "orders", "customers"]))
        return f"WITH {name} AS ({query}) SELECT * FROM {name}, plain WHERE plain.id = 1"
    if form == "row":
        return f"SELECT t0, row_to_json(t0), (t0).id FROM {origin}{where}"
    return query


@st.composite
def _value(draw: st.DrawFn, scope: _Scope | None, kind: str) -> str:
    if draw(st.integers(0, 5)) == 0:
        return "DEFAULT"
    if scope is None:
        plain = {
            "number": ["1", "NULL", "'7'", "-3", "2+2"],
            "text": ["'x'", "NULL", "E'\\\\'", "'é'"],
        }
        return draw(st.sampled_from(plain[kind]))
    value = scope.number(1) if kind == "number" else scope.text(1)
    return f"({value})::bigint" if kind == "number" else value


@st.composite
def _assignments(draw: st.DrawFn, table: str, scope: _Scope) -> str:
    kinds = [(c, k) for k, columns in _WRITTEN[table].items() for c in columns]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4, unique=True))
    form = draw(st.sampled_from(["single", "row", "select"]))
    if form == "single":
        return ", ".join(f"{c} = {draw(_value(scope, k))}" for c, k in chosen)
    names = ", ".join(c for c, _ in chosen)
    if form == "row":
        values = ", ".join(draw(_value(scope, k)) for _, k in chosen)
        return f"({names}) = ROW({values})"
    values = ", ".join(
        f"({scope.number(1)})::bigint" if k == "number" else scope.text(1) for _, k in chosen
    )
    where = draw(st.sampled_from(["", f" WHERE {scope.condition(1)}"]))
    return f"({names}) = (SELECT {values}{where})"


@st.composite
def _write(draw: st.DrawFn) -> str:
    table = draw(st.sampled_from(list(_TABLES)))
    other = draw(st.sampled_from(list(_TABLES)))
    spelling = draw(st.sampled_from(_SPELLINGS[table]))
    form = draw(
        st.sampled_from(["update", "from", "delete", "insert", "query", "upsert", "merge", "cte"])
    )
    returning = draw(
        st.sampled_from(
            [
                "",
                " RETURNING *",
                " RETURNING old.*, new.*",
                " RETURNING t",
                " RETURNING t.id AS k, row_to_json(t.*)",
            ]
        )
    )
    scope = _Scope(draw, [("t", table)])
    if form == "update":
        sets = draw(_assignments(table, scope))
        return f"UPDATE {spelling} AS t SET {sets} WHERE {scope.condition()}{returning}"
    if form == "from":
        both = _Scope(draw, [("t", table), ("s", other)])
        sets = draw(_assignments(table, both))
        return f"UPDATE {spelling} AS t SET {sets} FROM {other} AS s WHERE s.id = t.id{returning}"
    if form == "delete":
        where = f"s.id = t.id AND {scope.condition()}"
        return f"DELETE FROM {spelling} AS t USING {other} s WHERE {where}{returning}"
    if form == "merge":
        both = _Scope(draw, [("t", table), ("s", other)])
        sets = draw(_assignments(table, both))
        return (
            f"MERGE INTO {table} AS t USING {other} AS s ON t.id = s.id "
            f"WHEN MATCHED AND {both.condition(1)} THEN UPDATE SET {sets} "
            "WHEN MATCHED THEN DELETE "
            f"WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id + 50){returning}"
        )
    kinds = [(c, k) for k, columns in _WRITTEN[table].items() for c in columns]
    chosen = draw(st.lists(st.sampled_from(kinds), max_size=3, unique=True))
    names = ", ".join(["id", *(c for c, _ in chosen)])
    if form == "query":
        source = _Scope(draw, [("s", other)])
        outputs = [
            "s.id + 100",
            *(
                f"({source.number(1)})::bigint" if k == "number" else source.text(1)
                for _, k in chosen
            ),
        ]
        query = f"SELECT {', '.join(outputs)} FROM {other} s WHERE {source.condition(1)}"
        return f"INSERT INTO {table} AS t ({names}) {query}{returning}"
    if form == "cte":
        sets = draw(_assignments(table, scope))
        return (
            f"WITH w AS (UPDATE {table} AS t SET {sets} WHERE t.id < 3 RETURNING t.id) "
            "INSERT INTO customers (id, name) SELECT id + 70, 'w' FROM w"
        )
    rows = ", ".join(
        f"({', '.join([str(i), *(draw(_value(None, k)) for _, k in chosen)])})" for i in (1, 60)
    )
    conflict = ""
    if form == "upsert":
        conflict = f" ON CONFLICT (id) DO UPDATE SET {draw(_assignments(table, scope))}"
    return f"INSERT INTO {table} AS t ({names}) VALUES {rows}{conflict}{returning}"


_DATABASE = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_DATABASE
@given(_select())
def test_random_reads_are_those_of_a_plain_table(databases: Rewritten, text: str) -> None:
    # R0.3
    databases.compare(text)


@_DATABASE
@given(_write())
def test_random_writes_are_those_of_a_plain_table(databases: Rewritten, text: str) -> None:
    # R0.3
    databases.compare(text)


@settings(max_examples=100, deadline=None)
@given(st.one_of(_select(), _write()))
def test_the_same_text_gives_the_same_result_and_is_not_spliced_twice(text: str) -> None:
    # R0.3: pure, and no edit can be applied to its own result
    first = analyse(text, namespaces())
    assert analyse(text, namespaces()).rendered == first.rendered
    assume(first.touches_store)
    assert first.rendered.text.count("morph_v1") + first.rendered.text.count("morph_w1") >= 1
    for statement in first.statements:
        part = first.part(statement)
        assert part.text.strip() == first.rendered.text.strip()
