"""R4.5: V1 compares results by their encoded rows; V6 replays queries and knows noise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pyarrow as pa
import pytest

from core.encoding import encode_data_rows
from core.types import type_by_name
from evolution.validation.inline import ResultSum, compare_results
from evolution.validation.replay import Answer, Check, Layout, Replay
from evolution.validation.report import Report

FIELDS = [type_by_name("int4")]
NUMBERS = list(range(1_000))


def encoded(numbers: Sequence[int]) -> memoryview:
    batch = pa.record_batch([pa.array(numbers, pa.int32())], names=["n"])
    return encode_data_rows(batch, FIELDS, [1])


def summed(numbers: Sequence[int], batch: int = 1_000) -> ResultSum:
    made = ResultSum()
    for at in range(0, len(numbers), batch):
        made.add_data_rows(encoded(numbers[at : at + batch]))
    made.end()
    return made


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("batch", [1, 7, 256, 300])
def test_batches_do_not_matter(ordered: bool, batch: int) -> None:
    assert compare_results(summed(NUMBERS), summed(NUMBERS, batch), ordered=ordered) is None


def test_order_matters_only_where_it_was_asked_for() -> None:
    other = summed([*NUMBERS[:600], *NUMBERS[:599:-1]])
    assert compare_results(summed(NUMBERS), other, ordered=False) is None
    found = compare_results(summed(NUMBERS), other, ordered=True)
    assert found == (
        "ORDER_MISMATCH", "the same rows in another order, from row 513 on at the earliest",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (NUMBERS[1:], "1000 rows from the live table, 999 from the shadow"),
        ([*NUMBERS, 5], "1000 rows from the live table, 1001 from the shadow"),
        ([*NUMBERS[:-1], -1], "from row 769 on"),
        ([-1, *NUMBERS[1:]], "from row 1 on"),
        ([5, 5, *NUMBERS[2:]], "they are not the same"),
    ],
)
def test_differences_are_told(numbers: list[int], message: str) -> None:
    for ordered in (True, False):
        found = compare_results(summed(NUMBERS), summed(numbers), ordered=ordered)
        assert found is not None
        assert found[0] == "VALUE_MISMATCH"
        assert message in found[1] or not ordered


class Answers:
    """A change whose layouts' answers are given."""

    def __init__(self, *live: Answer, shadow: Answer, shuffled: Answer | None = None) -> None:
        self._live = list(live)
        self._others = {"shadow": shadow, "shuffled": shuffled or live[0]}

    async def ask(self, layout: Layout) -> Answer:
        return self._live.pop(0) if layout == "live" else self._others[layout]

    @asynccontextmanager
    async def opened(self, check: Check) -> AsyncIterator[Answers]:
        """For `Replay`."""
        yield self


def answer(
    numbers: Sequence[int] = (1, 2), sqlstate: str = "", kind: str = "int4", seconds: float = 0.5
) -> Answer:
    return Answer((("n", kind),), summed(numbers), sqlstate, seconds)


@pytest.mark.parametrize(
    ("live", "shadow", "again", "category"),
    [
        (answer(), answer(), answer(), None),
        (answer(), answer([1, 3]), answer(), "VALUE_MISMATCH"),
        (answer(), answer([2, 1]), answer(), "ORDER_MISMATCH"),
        (answer(), answer(kind="int8"), answer(), "ROWDESC_MISMATCH"),
        (answer(), answer(sqlstate="22012"), answer(), "ERROR_MISMATCH"),
        (
            answer(sqlstate="22012"),
            answer(sqlstate="22003"),
            answer(sqlstate="22012"),
            "ERROR_MISMATCH",
        ),
        (answer(sqlstate="22012"), answer(sqlstate="22012"), answer(sqlstate="22012"), None),
        (answer(), answer([7, 8]), answer([9]), "NONDETERMINISTIC"),
    ],
)
async def test_answers_are_compared_as_clients_see_them(
    live: Answer, shadow: Answer, again: Answer, category: str | None
) -> None:
    report = Report(1, 5, 7, "query")
    replay = Replay(Answers(live, again, shadow=shadow).opened, report)
    await replay.run([Check("q1", "SELECT …", ordered=True)])
    assert list(report.findings.counts) == ([category] if category else [])
    assert report.state == "done"
    critical = category not in (None, "ORDER_MISMATCH", "NONDETERMINISTIC")
    assert report.verdict == ("different" if critical else "equal")


async def test_times_are_compared() -> None:
    report = Report(1, 5, 7, "query")
    live = answer(seconds=0.4), answer(seconds=0.2)
    replay = Replay(Answers(*live, shadow=answer(seconds=0.5)).opened, report)
    await replay.run([Check("q1", "SELECT …")])
    assert replay.ratios == [2.5]
    assert report.message == "1 answers, median time of the shadow: 2.50 x"


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_depends_on_the_order_of_rows_is_no_difference(ordered: bool) -> None:
    """LIMIT without ORDER BY, ties, sums of floats: the live rows in another order tell."""
    report = Report(1, 5, 7, "query")
    answers = Answers(answer(), answer(), shadow=answer([3, 4]), shuffled=answer([4, 5]))
    await Replay(answers.opened, report).run([Check("q1", "SELECT …", ordered)])
    assert list(report.findings.counts) == ["NONDETERMINISTIC"]
    assert report.verdict == "equal"


async def test_queries_that_fail_in_both_layouts_are_counted() -> None:
    report = Report(1, 5, 7, "query")
    failed = answer(sqlstate="42703")
    await Replay(Answers(failed, failed, shadow=failed).opened, report).run([Check("q", "…")])
    assert report.message == "1 answers (1 of them errors)"
    assert report.verdict == "equal"
