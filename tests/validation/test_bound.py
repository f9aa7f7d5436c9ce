"""R4.5: V5's bound holds however often one looks, and samples are fair and repeatable."""

from __future__ import annotations

import random

import pytest

from evolution.validation.bound import log_evidence, rows_for, upper_bound
from evolution.validation.report import Report
from evolution.validation.sample import Sample, SmallestHashes
from private_pg.cluster import Cluster
from tests.validation.test_scrub import bed, details, make


@pytest.mark.parametrize(("share", "rows"), [(1e-2, 416), (1e-3, 4_168), (1e-4, 41_686)])
def test_equal_rows_bound_the_share(share: float, rows: int) -> None:
    """No more rows than EVOLUTION 8 promises, and more than a fixed number would need."""
    assert upper_bound(rows, 0) <= share
    assert upper_bound(round(2.996 / share), 0) > share


def test_rows_for_a_bound() -> None:
    assert upper_bound(rows_for(0.05), 0) <= 0.05 < upper_bound(rows_for(0.05) - 1, 0)


def test_the_bound_follows_what_was_found() -> None:
    assert upper_bound(0, 0) == upper_bound(5, 5) == 1.0
    assert 0.001 < upper_bound(1_000_000, 1_000) < 0.0013
    assert upper_bound(1_000, 0) < upper_bound(1_000, 1) < upper_bound(1_000, 10) < 0.03


def test_the_evidence_is_rarely_above_its_threshold_at_any_time() -> None:
    """At the true share the bound is too low in at most 5 % of runs, looking after every row that
    differs and at doublings: the moments at which it is highest."""
    choose = random.Random(7)
    share, rows, runs, wrong = 0.05, 400, 200, 0
    for _ in range(runs):
        different = 0
        for n in range(1, rows + 1):
            different += choose.random() < share
            if n % 40 == 0 and log_evidence(n, different, share) > 2.9957:
                wrong += 1
                break
    assert wrong / runs <= 0.07


def test_smallest_hashes_do_not_depend_on_order_or_batches() -> None:
    keys = [b"%d" % n for n in range(5_000)]
    one, other, third = SmallestHashes(100), SmallestHashes(100), SmallestHashes(100, seed=1)
    one.add(keys)
    third.add(keys)
    shuffled = random.Random(3).sample(keys, len(keys))
    for at in range(0, len(keys), 37):
        other.add(shuffled[at : at + 37])
    other.add(keys[:50])
    assert len(one.keys()) == 100
    assert sorted(one.keys()) == sorted(other.keys()) != sorted(third.keys())
    more = SmallestHashes(100)
    more.add([*keys, *(b"x%d" % n for n in range(500))])
    assert len(set(more.keys()) & set(one.keys())) > 75


async def test_a_sample_compares_only_its_rows(validation_cluster: Cluster, root) -> None:  # type: ignore[no-untyped-def]
    await make(root)
    await root.execute(
        "UPDATE morph_store.shadow SET price = price + 1; "
        "INSERT INTO morph_store.shadow SELECT g FROM generate_series(1001, 1500) g"
    )

    async def saved(_: Report) -> None:
        pass

    async def sampled(rows: int) -> Report:
        report = Report(1, 5, 7, "sample")
        return await Sample(bed(validation_cluster).sides, report, saved, rows).run()

    report = await sampled(100)
    assert report.findings.total == 100
    assert 30 < report.findings.counts["EXTRA_IN_SHADOW"] < 70
    assert report.bound == 1.0
    again = await sampled(100)
    assert [d.record_id for d in details(again)] == [d.record_id for d in details(report)]
    whole = await sampled(5_000)
    assert (whole.findings.total, whole.bound, whole.rows_compared) == (1_000, None, 500)
    await root.execute(
        "TRUNCATE morph_store.shadow; INSERT INTO morph_store.shadow SELECT * FROM morph_store.live"
    )
    equal = await sampled(100)
    assert (equal.verdict, equal.rows_compared) == ("equal", 100)
    assert equal.bound == pytest.approx(0.0372, rel=0.05)
