"""Plans that another process made are those that would be made here."""

from __future__ import annotations

import asyncio
import pickle
import re

import pytest

from core.errors import InternalError, ProgramLimitExceeded, ReservedName
from engine.apart import process
from engine.apart.answers import FlatRendered, Question, answer_to
from engine.apart.process import Planners
from engine.plans import Plan, make_plan
from rewrite.context import NeedsWidth
from rewrite.edits import render, replace_text
from tests.unit.rewrite.shop_model import namespaces

TEXTS = [
    "SELECT id, qty FROM orders WHERE id IN (1, 2)",
    "INSERT INTO orders (id, qty) VALUES (1, 2), (3, 4)",
    "INSERT INTO orders (id, qty) VALUES (1, 2); UPDATE orders SET qty = 3; SELECT 1",
    "DELETE FROM plain WHERE id = 1",
    "SELECT 1; SET search_path = v1",
    "CREATE TABLE more (id int)",
    "EXPLAIN SELECT id FROM orders",
    "SELECT nonsense FROM (",
    "",
]


def _facts(plan: Plan) -> dict[str, object]:
    assert plan.analysis is not None
    return {
        "text": plan.text,
        "wire": plan.wire_text,
        "flags": (plan.relay_only, plan.touches_store, plan.inert, plan.writes),
        "kinds": [s.kind for s in plan.statements],
        "actions": [s.action for s in plan.statements],
        "parts": [plan.analysis.part(s).text for s in plan.statements if not plan.relay_only],
        "described": [s.described for s in plan.statements],
        "tables": [
            (r.node.relname, r.role, r.resolved.table.name, r.resolved.version.number)
            for s in plan.statements
            for r in s.relations
        ],
        "places": [
            plan.analysis.rendered.source_offset(at) for at in range(len(plan.wire_text) + 3)
        ],
    }


@pytest.mark.parametrize("text", TEXTS)
def test_an_answer_says_what_the_plan_says(text: str) -> None:  # R0.3
    answer = pickle.loads(pickle.dumps(answer_to(Question(text, namespaces()))))
    assert isinstance(answer, Plan)
    assert _facts(answer) == _facts(make_plan(text, namespaces(), pushdown=True))


def test_settings_of_the_session_count() -> None:  # R0.3
    answer = answer_to(Question("SELECT id FROM orders", namespaces(), pushdown=False))
    assert isinstance(answer, Plan)
    assert [s.action.value for s in answer.statements] == ["merge"]


def test_trees_of_relayed_statements_stay_behind() -> None:  # R5.1
    long = "SELECT id FROM orders WHERE id IN (" + ", ".join(map(str, range(5000))) + ")"
    size = len(pickle.dumps(answer_to(Question(long, namespaces()))))
    assert size < 2 * len(long) + 20_000


def test_flat_pieces_find_the_same_places() -> None:  # R0.1
    text = "SELECT a FROM b WHERE c"
    rendered = render(text, [replace_text(7, 8, "(long one)"), replace_text(14, 15, "")])
    flat = FlatRendered.of(rendered)
    for at in range(-1, len(rendered.text) + 5):
        assert flat.source_offset(at) == rendered.source_offset(at)


def test_one_process_answers_many_texts() -> None:  # R5.1
    async def run() -> None:
        planners = Planners(2, 60)
        try:
            for text in TEXTS:
                plan = await planners.plan(Question(text, namespaces()))
                assert plan.wire_text == make_plan(text, namespaces(), pushdown=True).wire_text
            assert planners.processes == 1
        finally:
            await planners.close()
        assert planners.processes == 0

    asyncio.run(run())


def test_what_planning_raises_is_raised_here() -> None:  # R0.1
    async def run() -> None:
        planners = Planners(1, 60)
        try:
            with pytest.raises(ReservedName, match="reserved"):
                await planners.plan(Question("SELECT * FROM morph_v1.orders", namespaces()))
            question = Question("INSERT INTO orders SELECT * FROM customers", namespaces())
            with pytest.raises(NeedsWidth) as raised:
                await planners.plan(question)
            widths = {raised.value.start: 2}
            plan = await planners.plan(Question(question.text, namespaces(), True, widths))
            fresh = make_plan(question.text, namespaces(), pushdown=True, widths=widths)
            assert plan.wire_text == fresh.wire_text
        finally:
            await planners.close()

    asyncio.run(run())


def _slow() -> Question:
    return Question("SELECT " + ", ".join(map(str, range(300_000))), namespaces())


def test_a_text_that_takes_too_long_is_refused_and_its_process_ended() -> None:  # R6.3
    async def run() -> None:
        planners = Planners(1, 60)
        try:
            await planners.plan(Question("SELECT 1", namespaces()))
            planners._timeout_s = 0.05
            with pytest.raises(ProgramLimitExceeded, match="too long to be planned"):
                await planners.plan(_slow())
            planners._timeout_s = 60
            assert (await planners.plan(Question("SELECT 1", namespaces()))).inert
        finally:
            await planners.close()

    asyncio.run(run())


def test_a_text_that_is_not_waited_for_is_not_worked_on() -> None:  # R6.3
    async def run() -> None:
        planners = Planners(1, 60)
        try:
            await planners.plan(Question("SELECT 1", namespaces()))
            task = asyncio.create_task(planners.plan(_slow()))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(5):
                while planners.processes:
                    await asyncio.sleep(0.01)
        finally:
            await planners.close()

    asyncio.run(run())


def test_a_process_that_dies_is_an_error_and_not_the_end() -> None:  # R6.3
    async def run() -> None:
        planners = Planners(1, 60)
        try:
            await planners.plan(Question("SELECT 1", namespaces()))
            task = asyncio.create_task(planners.plan(_slow()))
            await asyncio.sleep(0.05)
            for planner in planners._all:
                planner._process.kill()
            with pytest.raises(InternalError, match="ended early"):
                await task
            assert (await planners.plan(Question("SELECT 1", namespaces()))).inert
        finally:
            await planners.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "value"), [("IDLE_S", 0.05), ("KEPT_TEXT_MAX", 5)], ids=["idle", "grown"]
)
def test_a_process_does_not_stay(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:  # R6.3
    monkeypatch.setattr(process, name, value)

    async def run() -> None:
        planners = Planners(1, 60)
        try:
            plan = await planners.plan(Question("SELECT 1 FROM orders", namespaces()))
            assert re.search("morph_v1", plan.wire_text)
            async with asyncio.timeout(5):
                while planners.processes:
                    await asyncio.sleep(0.01)
        finally:
            await planners.close()

    asyncio.run(run())
