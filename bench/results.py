"""Figures of a run: medians, targets, verdicts, JSON, and the comparison of two runs. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.targets import TARGETS, Target

FORMAT = 1
MET, AIM, MISSED, AIM_MISSED = "met", "aim met", "MISSED", "aim missed"
INFORMATION, UNAVAILABLE = "-", "not available"
# Two runs on shared cores differ by as much without a cause.
NOISE = 0.15


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity of a case: its samples, one a repeat. No samples: not available."""

    case: str
    name: str
    unit: str
    samples: tuple[float, ...] = ()
    note: str = ""

    @property
    def key(self) -> str:
        """What identifies it in a report."""
        return f"{self.case}: {self.name}"

    @property
    def value(self) -> float | None:
        """The median."""
        return statistics.median(self.samples) if self.samples else None

    @property
    def target(self) -> Target | None:
        """Its target, None when it is information only."""
        return TARGETS.get((self.case, self.name))

    @property
    def verdict(self) -> str:
        """met, aim met, MISSED, aim missed (no must), not available, or - without a target."""
        value, target = self.value, self.target
        if value is None:
            return UNAVAILABLE
        if target is None:
            return INFORMATION
        if not target.allows(value, target.must):
            return MISSED
        if target.aim is not None and target.allows(value, target.aim):
            return AIM
        return AIM_MISSED if target.must is None else MET


@dataclass(slots=True)
class Figures:
    """The figures of one case, as it measures them."""

    case: str
    found: list[Figure] = field(default_factory=list)

    def add(self, name: str, unit: str, samples: Sequence[float], note: str = "") -> None:
        """A measured figure."""
        self.found.append(Figure(self.case, name, unit, tuple(samples), note))

    def missing(self, name: str, unit: str, why: str) -> None:
        """A figure that cannot be measured, and why."""
        self.found.append(Figure(self.case, name, unit, (), why))


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """The ratio of each round: what disturbs a round disturbs both of its contenders."""
    return [a / b for a, b in zip(over, under, strict=True)]


def differences(left: Sequence[float], right: Sequence[float]) -> list[float]:
    """The difference of each round."""
    return [a - b for a, b in zip(left, right, strict=True)]


def number(value: float | None) -> str:
    """A figure for reading: three digits that mean something."""
    if value is None:
        return ""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines of text."""
    lines = []
    case = ""
    for figure in figures:
        if figure.case != case:
            case = figure.case
            lines.append(f"\n{case}")
        target = figure.target
        limits = ""
        if target is not None:
            pairs = (("must", target.must), ("aim", target.aim))
            limits = ", ".join(f"{w} {target.sign} {number(x)}" for w, x in pairs if x is not None)
        spread = ""
        if len(figure.samples) > 1:
            spread = f"{number(min(figure.samples))} … {number(max(figure.samples))}"
        note = f"  ({figure.note})" if figure.note else ""
        lines.append(
            f"  {figure.name:<52} {number(figure.value):>9} {figure.unit:<7} {spread:<20} "
            f"{figure.verdict:<13} {limits}{note}"
        )
    return "\n".join(lines).lstrip("\n")


def to_json(
    figures: Sequence[Figure], machine: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """A report that `from_json` reads."""
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "options": dict(options),
        "figures": [
            {
                "case": f.case,
                "name": f.name,
                "unit": f.unit,
                "median": f.value,
                "samples": list(f.samples),
                "must": f.target.must if f.target else None,
                "aim": f.target.aim if f.target else None,
                "verdict": f.verdict,
                "note": f.note,
            }
            for f in figures
        ],
    }


def from_json(report: Mapping[str, Any]) -> list[Figure]:
    """The figures of a report; ValueError for another format."""
    if report.get("format") != FORMAT:
        raise ValueError(f"not a report of format {FORMAT}: {report.get('format')!r}")
    return [
        Figure(f["case"], f["name"], f["unit"], tuple(f["samples"]), f["note"])
        for f in report["figures"]
    ]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in two runs; `factor` is new ÷ old."""

    key: str
    old: float | None
    new: float | None
    factor: float | None
    word: str


def compare(old: Sequence[Figure], new: Sequence[Figure]) -> list[Change]:
    """What changed: a figure counts as changed when the medians differ by more than NOISE and the
    ranges of the samples do not overlap.
    """
    before = {figure.key: figure for figure in old}
    changes = [_change(figure, before.pop(figure.key, None)) for figure in new]
    return changes + [Change(f.key, f.value, None, None, "gone") for f in before.values()]


def _change(new: Figure, old: Figure | None) -> Change:
    if old is None:
        return Change(new.key, None, new.value, None, "new")
    if old.value is None or new.value is None:
        word = "same" if old.value is new.value is None else "gone" if new.value is None else "new"
        return Change(new.key, old.value, new.value, None, word)
    if old.value == 0:
        return Change(new.key, 0.0, new.value, None, "same" if new.value == 0 else "changed")
    factor = new.value / old.value
    overlap = min(new.samples) <= max(old.samples) and min(old.samples) <= max(new.samples)
    if overlap or abs(factor - 1) <= NOISE:
        return Change(new.key, old.value, new.value, factor, "same")
    target = new.target
    if target is None:
        return Change(new.key, old.value, new.value, factor, "changed")
    better = (factor < 1) == (target.sign == "≤")
    return Change(new.key, old.value, new.value, factor, "better" if better else "WORSE")


def changes_table(changes: Sequence[Change]) -> str:
    """The comparison as lines of text."""
    lines = [f"{'figure':<72} {'old':>9} {'new':>9} {'new÷old':>8}"]
    for change in changes:
        factor = "" if change.factor is None else f"{change.factor:.2f}"
        lines.append(
            f"{change.key:<72} {number(change.old):>9} {number(change.new):>9} {factor:>8} "
            f" {change.word}"
        )
    return "\n".join(lines)
