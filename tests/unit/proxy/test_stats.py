"""Counters of statements: bounded, least recently used first, keyed on plans that are alive."""

from __future__ import annotations

from core.telemetry.metrics import Metrics
from engine.plans import Plan, make_plan
from proxy.stats import STATEMENTS_MAX, Statements
from tests.unit.rewrite.shop_model import namespaces


def _plan(text: str) -> Plan:
    return make_plan(text, namespaces(), pushdown=True)


def test_what_is_used_again_stays() -> None:
    statements = Statements(Metrics())
    kept = _plan("SELECT kept()")
    for number in range(STATEMENTS_MAX + 10):
        statements.record(kept, 0.001, failed=False)
        statements.record(_plan(f"SELECT f{number}()"), 0.001, failed=False)
    rows = {row[1]: row for row in statements.rows()}
    assert rows["SELECT kept()"][4] == STATEMENTS_MAX + 10
    assert len(statements._by_key) == STATEMENTS_MAX


def test_plans_that_are_gone_lend_nobody_their_counters() -> None:
    statements = Statements(Metrics())
    for number in range(200):
        # nobody else holds the plan: its address would be given to the next one
        statements.record(_plan(f"SELECT f{number}()"), 0.001, failed=False)
    rows = statements.rows()
    assert len(rows) == 200
    assert {row[4] for row in rows} == {1}


def test_runs_reach_the_metrics() -> None:
    metrics = Metrics()
    statements = Statements(metrics)
    plan = _plan("SELECT 1")
    statements.record(plan, 0.001, failed=False)
    statements.record(plan, 0.002, failed=True)
    assert metrics.statements.cell(plan.statements[0].kind, "1").value == 1
    assert sum(metrics.statement_seconds.cell("1").counts) == 2
