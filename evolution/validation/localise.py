"""From two unequal chunks to the rows and columns that differ: a merge-join by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from config.validation import Category
from evolution.layouts.base import Chunk, Discrepancy, Row, Side, SideColumn, Sides
from evolution.validation.canonical import hash_of, same_value
from evolution.validation.categories import SeverityPolicy, classify
from evolution.validation.findings import Found
from evolution.validation.lines import cut_lines


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a difference is reported with."""

    table_id: int
    policy: SeverityPolicy

    def found(
        self, category: Category, message: str, side: Side, key: bytes | None, lsn: int = 0
    ) -> Found:
        """A discrepancy of a whole row."""
        record = side.key_text(key) if key is not None else ""
        return Found(
            Discrepancy(
                category,
                message,
                record,
                self.table_id,
                lsn=lsn,
                severity=self.policy.of(category),
            ),
            key,
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """The rows of one key: one each where nothing is missing or extra."""

    key: bytes
    live: Row | None
    shadow: Row | None

    @property
    def lsn(self) -> int:
        """The newest write of the row."""
        return max(self.live.lsn if self.live else 0, self.shadow.lsn if self.shadow else 0)


def unequal_rows(live: Chunk, shadow: Chunk) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows of two chunks without those that both have, if these are found without cutting."""
    if live.cut is None or shadow.cut is None:
        return live.split(), shadow.split()
    one, other = cut_lines(live.data), cut_lines(shadow.data)
    left, right = set(one), set(other)
    if len(left) < len(one) or len(right) < len(other):
        return live.split(), shadow.split()  # a row that is there twice
    common = left & right
    return (
        [live.cut(line) for line in one if line not in common],
        [shadow.cut(line) for line in other if line not in common],
    )


def unequal(live: Sequence[Row], shadow: Sequence[Row]) -> Iterator[Pair]:
    """The rows that are not byte for byte the same, in the live side's key order; then what only
    the shadow has. A key that is there twice in the shadow has one extra row.
    """
    left: dict[bytes, list[Row]] = {}
    for row in shadow:
        left.setdefault(row.key, []).append(row)
    for row in live:
        candidates = left.get(row.key)
        if not candidates:
            yield Pair(row.key, row, None)
            continue
        at = next((n for n, c in enumerate(candidates) if c.data == row.data), 0)
        other = candidates.pop(at)
        if other.data != row.data:
            yield Pair(row.key, row, other)
    for key, extra in left.items():
        for row in extra:
            yield Pair(key, None, row)


def differences(sides: Sides, pair: Pair, comparison: Comparison) -> Iterator[Found]:
    """What is wrong with a pair: nothing where the values are the same in other texts."""
    live, shadow = sides
    if pair.shadow is None:
        message = "the row is not in the shadow"
        yield comparison.found("MISSING_IN_SHADOW", message, live, pair.key, pair.lsn)
    elif pair.live is None:
        message = "the row is not in the live table, or there once only"
        yield comparison.found("EXTRA_IN_SHADOW", message, shadow, pair.key, pair.lsn)
    else:
        values = zip(live.columns, live.values(pair.live), shadow.values(pair.shadow), strict=True)
        for column, one, other in values:
            if not same_value(column.type, one, other):
                yield _of_column(live, pair, comparison, column, one, other)


def _of_column(
    side: Side,
    pair: Pair,
    comparison: Comparison,
    column: SideColumn,
    live: bytes | None,
    shadow: bytes | None,
) -> Found:
    category, message = classify(column.type, live, shadow)
    return Found(
        Discrepancy(
            category,
            message,
            side.key_text(pair.key),
            comparison.table_id,
            column=column.name,
            primary_value_hash=hash_of(column.type, live),
            shadow_value_hash=hash_of(column.type, shadow),
            lsn=pair.lsn,
            severity=comparison.policy.of(category),
        ),
        pair.key,
    )


def column_differences(sides: Sides, comparison: Comparison) -> Iterable[Found]:
    """Columns that the sides show under different names or types: values are compared by place."""
    live, shadow = sides
    if len(live.columns) != len(shadow.columns):
        message = f"{len(live.columns)} columns in the live table, {len(shadow.columns)} here"
        yield comparison.found("TYPE_MISMATCH", message, live, None)
    for one, other in zip(live.columns, shadow.columns, strict=False):
        if (one.id, one.name, one.type) == (other.id, other.name, other.type):
            continue
        message = f"{one.name} {one.type} in the live table, {other.name} {other.type} here"
        found = comparison.found("TYPE_MISMATCH", message, live, None).discrepancy
        yield Found(
            Discrepancy(
                found.type, found.message, "", found.table_id, one.name, severity=found.severity
            )
        )
