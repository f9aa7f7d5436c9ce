"""The plan cache never changes what a text means (R0.3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.plans import PlanCache, explain_position, make_plan
from tests.unit.rewrite.shop_model import namespaces


def _cache(entries: int = 64) -> PlanCache:
    return PlanCache(namespaces(), pushdown=True, entries_max=entries, text_max=4096)


_NUMBER = st.one_of(
    st.integers(0, 10**20).map(str),
    st.decimals(0, 100, places=2).map(str),
    st.sampled_from(["1e5", ".5", "5.", "1_000", "0x1F", "٣", "1.5.2", "$1", "1a"]),
)
_STRING = st.one_of(
    st.text("ab'%_ ;-/*\\$\"\x01\n٣é", max_size=6).map(lambda s: "'" + s.replace("'", "''") + "'"),
    st.sampled_from(["E'a\\'b'", "$$x$$", "U&'\\0041'", "''", "'a' 'b'", "B'1'", "'orders'"]),
)
_LITERAL = st.one_of(_NUMBER, _STRING)
_SHAPES = st.sampled_from(
    [
        "SELECT id FROM orders WHERE id = {} AND status = {}",
        "SELECT id, {} FROM orders LIMIT {}",
        "SELECT id, qty FROM orders GROUP BY {} ORDER BY {}",
        "SELECT qty, id FROM orders GROUP BY id, {} HAVING count(*) > {}",
        "SELECT * FROM orders o JOIN customers c ON o.id = {} WHERE c.name LIKE {}",
        "SELECT {}::regclass, o.id FROM orders o WHERE o.id IN ({}, 3)",
        "SELECT set_config('search_path', {}, false) FROM plain WHERE id = {}",
        "INSERT INTO plain (id, v) VALUES ({}, {})",
        "UPDATE plain SET v = {} WHERE id = {}",
        "DELETE FROM orders WHERE id={} OR status={};",
        "SELECT 1 FROM orders AS x{} WHERE x{} IS NOT NULL",
        "SELECT id FROM orders{}, customers {}",
        "SELECT tags[{}] FROM orders WHERE id = {}",
        "WITH x AS (SELECT {} FROM orders) SELECT * FROM x, orders WHERE id = {}",
        "SELECT id -{}--{}\n FROM orders",
        "SELECT public.orders.id FROM public.orders WHERE status = {} /* {} */",
        "SELECT {}, {}",
        "SELECT {}::regclass, relname FROM pg_catalog.pg_class WHERE oid = {}",
        "SELECT set_config('search_path', {}, false), {}",
        "SELECT count(*) FROM pg_class GROUP BY {} HAVING count(*) > {}",
        "VALUES ({}, {})",
        "INSERT INTO elsewhere VALUES ({}, {})",
    ]
)


@settings(max_examples=400, deadline=None)
@given(_SHAPES, st.lists(st.tuples(_LITERAL, _LITERAL), min_size=2, max_size=5))
def test_a_cached_plan_is_the_plan_that_would_be_made_now(
    shape: str, literals: list[tuple[str, str]]
) -> None:
    # R0.3
    cache = _cache()
    for pair in literals:
        text = shape.format(*pair)
        fresh = make_plan(text, cache.namespaces, pushdown=True)
        for _ in range(2):
            plan = cache.lookup(text)
            assert plan.wire_text == fresh.wire_text
            assert plan.text == text
            assert plan.relay_only == fresh.relay_only
            assert plan.touches_store == fresh.touches_store
            assert plan.inert == fresh.inert
            assert [s.kind for s in plan.statements] == [s.kind for s in fresh.statements]
            assert [s.functions for s in plan.statements] == [s.functions for s in fresh.statements]


@settings(max_examples=300, deadline=None)
@given(st.text("SELECT FROMordersid=1'2, ();\n-\x01\"", max_size=40), st.integers(0, 99))
def test_any_text_gets_the_plan_of_its_own(noise: str, number: int) -> None:
    # R0.3
    cache = _cache()
    cache.lookup("SELECT id FROM orders WHERE id = 1")
    cache.lookup("SELECT 1 FROM orders WHERE status = 'a'")
    for text in (
        noise,
        f"SELECT id FROM orders WHERE id = {number}{noise}",
        f"SELECT {number} FROM orders WHERE status = \x01",
    ):
        assert (
            cache.lookup(text).wire_text
            == make_plan(text, cache.namespaces, pushdown=True).wire_text
        )


def test_texts_that_differ_in_literals_share_one_analysis() -> None:
    # R0.3
    cache = _cache()
    for number in range(20):
        plan = cache.lookup(f"SELECT id FROM orders WHERE id = {number}")
        assert plan.wire_text == f'SELECT id FROM "morph_v1".orders WHERE id = {number}'
    assert cache.counts.misses == 1


def test_statements_without_tables_share_one_analysis_too() -> None:
    # R5.1
    cache = _cache()
    for number in range(20):
        plan = cache.lookup(f"SELECT {number}, 'a{number}'")
        assert plan.wire_text == f"SELECT {number}, 'a{number}'"
        assert not plan.touches_store
    assert cache.counts.misses == 1
    assert cache.entries == 2


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, qty FROM orders GROUP BY 1 LIMIT 3",
        "SELECT o.id FROM orders o, morph.sessions s WHERE s.session_id = 5",
        "UPDATE orders SET qty = 5",
        "EXPLAIN SELECT id FROM orders WHERE id = 5",
        "SELECT id FROM orders WHERE id = 5; SELECT 1",
    ],
)
def test_what_a_literal_can_change_is_analysed_each_time(text: str) -> None:
    # R0.3
    cache = _cache()
    cache.lookup(text)
    cache.lookup(text.replace("5", "6").replace("3", "4"))
    assert cache.counts.misses == 2


@pytest.mark.parametrize(
    ("text", "inert", "runs_inert"),
    [
        ("SELECT id FROM orders", True, True),
        ("SELECT id FROM orders WHERE id = 5", True, True),
        ("INSERT INTO plain (id) VALUES (1)", True, True),
        ("INSERT INTO customers (id, name) VALUES (1, 'x')", False, True),
        ("INSERT INTO customers (id, name) VALUES (1, f())", False, False),
        ("SELECT set_config('search_path', 'v1', false)", False, False),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", False, False),
        ("BEGIN", False, False),
    ],
)
def test_what_leaves_nothing_behind(text: str, inert: bool, runs_inert: bool) -> None:
    # R5.1: what is described first is inert once it is prepared
    cache = _cache()
    for _ in range(2):
        plan = cache.lookup(text)
        assert (plan.inert, plan.runs_inert) == (inert, runs_inert)


def test_positions_of_a_template_map_back() -> None:
    # R0.1
    cache = _cache()
    cache.lookup("SELECT nosuch FROM orders WHERE id = 1")
    plan = cache.lookup("SELECT nosuch FROM orders WHERE id = 22")
    assert plan.analysis is None
    at = plan.wire_text.index("id = 22")
    assert explain_position(plan, cache, at) == plan.text.index("id = 22")


def test_the_cache_is_bounded() -> None:
    # R6.3
    cache = _cache(entries=4)
    for number in range(50):
        cache.lookup(f"SELECT id AS a{number} FROM orders WHERE id = {number}")
    assert len(cache._exact) == 4
    assert len(cache._templates) == 4


def test_long_texts_are_not_kept() -> None:
    # R6.3
    cache = PlanCache(namespaces(), pushdown=True, entries_max=4, text_max=30)
    cache.lookup("SELECT id FROM orders WHERE id = 1")
    assert not cache._exact
