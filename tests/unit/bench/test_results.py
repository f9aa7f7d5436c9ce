"""Figures: medians, verdicts against targets, JSON, comparison of two runs."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from bench import targets
from bench.bed import Options
from bench.results import (
    Change,
    Figure,
    Figures,
    changes_table,
    compare,
    differences,
    from_json,
    number,
    ratios,
    table,
    to_json,
)


def point_cpu(*samples: float) -> Figure:
    return Figure(targets.POINT, "proxy CPU", "µs", samples)


def test_the_value_is_the_median() -> None:
    assert point_cpu(900, 40, 50).value == 50
    assert point_cpu(40, 50).value == 45
    assert point_cpu().value is None


@pytest.mark.parametrize(
    ("value", "verdict"), [(150.1, "MISSED"), (150, "met"), (60.1, "met"), (60, "aim met")]
)
def test_the_verdict_of_a_smaller_is_better_target(value: float, verdict: str) -> None:
    assert point_cpu(value).verdict == verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.34, "MISSED"), (0.35, "met"), (0.59, "met"), (0.6, "aim met")]
)
def test_the_verdict_of_a_greater_is_better_target(value: float, verdict: str) -> None:
    assert Figure(targets.POINT, "QPS ÷ native jsonb", "×", (value,)).verdict == verdict


def test_a_target_without_must_is_never_missed() -> None:
    name = "proxy CPU ÷ PgBouncer's"
    assert Figure(targets.RELAY, name, "×", (9.0,)).verdict == "aim missed"
    assert Figure(targets.RELAY, name, "×", (0.9,)).verdict == "aim met"


def test_what_was_not_measured_is_not_met() -> None:
    figures = Figures(targets.MERGE)
    figures.missing("100 rows, overhead over tier 1", "ms", "not there")
    assert figures.found[0].verdict == "not available"
    assert "not there" in table(figures.found)


def test_a_figure_without_target_is_information() -> None:
    assert Figure(targets.POINT, "QPS", "/s", (1.0,)).verdict == "-"


def test_every_target_names_a_case() -> None:
    from bench.cases import CASES
    from bench.changes.cases import CASES as CHANGES
    from bench.stores.bed import SERVERS

    others = {targets.STORE.format(name) for name in SERVERS}
    others |= {targets.CHANGE.format(name) for name in CHANGES}
    assert set(CASES) <= {case for case, _ in targets.TARGETS} <= {*CASES, *others}


def test_ratios_and_differences_are_those_of_each_round() -> None:
    assert ratios([10, 30], [5, 10]) == [2, 3]
    assert differences([10, 30], [5, 10]) == [5, 20]
    with pytest.raises(ValueError, match="zip"):
        ratios([1], [1, 2])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"),
        (0.01234, "0.012"), (-12.34, "-12.3"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_table_says_value_spread_limits_and_verdict() -> None:
    text = table([point_cpu(40, 50, 70)])
    assert text.startswith("point\n")
    for part in ("50.0", "40.0 … 70.0", "aim met", "must ≤ 150, aim ≤ 60.0"):
        assert part in text


def test_a_report_is_read_back() -> None:
    figures = [point_cpu(40, 50), Figure(targets.MERGE, "x", "ms", (), "why")]
    report = to_json(figures, {"cores": 2}, asdict(Options()))
    assert from_json(json.loads(json.dumps(report, allow_nan=False))) == figures
    assert report["figures"][0]["verdict"] == "aim met"


def test_a_report_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        from_json({"format": 99})


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ((40, 41, 42), (60, 61, 62), "WORSE"),
        ((60, 61, 62), (40, 41, 42), "better"),
        ((40, 41, 42), (43, 44, 45), "same"),  # apart, but within the noise of two runs
        ((40, 41, 70), (60, 61, 62), "same"),  # their ranges overlap
        ((), (60,), "new"),
        ((60,), (), "gone"),
        ((), (), "same"),
    ],
)
def test_the_word_of_a_change(old: tuple[float, ...], new: tuple[float, ...], word: str) -> None:
    assert compare([point_cpu(*old)], [point_cpu(*new)])[0].word == word


def test_more_is_better_where_the_target_says_so() -> None:
    name = "QPS ÷ native jsonb"
    old = Figure(targets.POINT, name, "×", (0.4,))
    new = Figure(targets.POINT, name, "×", (0.6,))
    assert compare([old], [new])[0].word == "better"
    assert compare([new], [old])[0].word == "WORSE"


def test_without_a_target_a_change_is_only_a_change() -> None:
    old, new = Figure("point", "QPS", "/s", (1.0,)), Figure("point", "QPS", "/s", (2.0,))
    assert compare([old], [new]) == [Change("point: QPS", 1.0, 2.0, 2.0, "changed")]


def test_figures_of_one_run_only_are_told() -> None:
    left, right = Figure("point", "a", "µs", (1.0,)), Figure("point", "b", "µs", (0.0,))
    changes = compare([left], [right])
    assert [(c.key, c.word) for c in changes] == [("point: b", "new"), ("point: a", "gone")]
    assert "gone" in changes_table(changes)


def test_a_zero_has_no_factor() -> None:
    zero, one = Figure("point", "a", "MB", (0.0,)), Figure("point", "a", "MB", (1.0,))
    assert compare([zero], [one])[0] == Change("point: a", 0.0, 1.0, None, "changed")
    assert compare([zero], [zero])[0].word == "same"
