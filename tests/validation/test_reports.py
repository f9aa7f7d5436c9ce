"""R4.5: reports survive, resume, and are the same as JSON and as rows."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import monotonic

import asyncpg
import pytest

from config.validation import ValidationSettings
from core.errors import (
    ConnectionFailure,
    InvalidParameterValue,
    ObjectNotInPrerequisiteState,
    UndefinedObject,
)
from evolution.layouts.base import Discrepancy, ShadowTable, ShadowWork, Sides
from evolution.validation.embedded.reports import EmbeddedReports
from evolution.validation.embedded.setup import embedded_validator
from evolution.validation.findings import Found
from evolution.validation.pace import ReadingPace
from evolution.validation.report import Method, as_dict, as_json
from evolution.validation.validator import ValidationLimits, Validator
from private_pg.cluster import Cluster
from tests.validation.bed import TABLE_ID, Bed, BedLayouts, connect
from tests.validation.test_scrub import bed, make

TABLE = ShadowTable(TABLE_ID, "things", "live", "shadow")
WORK = ShadowWork(7, 7, 6, 1, (TABLE,))


class BreakingLayouts(BedLayouts):
    """Its store is gone after some looks."""

    def __init__(self, bed: Bed, left: int) -> None:
        super().__init__(bed)
        self.left = left

    def sides(self, work: ShadowWork, table: ShadowTable) -> AbstractAsyncContextManager[Sides]:
        self.left -= 1
        if self.left < 1:
            raise ConnectionFailure("the store is gone")
        return super().sides(work, table)


def found(seq: int) -> Found:
    one = Discrepancy(
        "VALUE_MISMATCH", "the texts differ", f"k{seq}", TABLE_ID, "name", "aa", "bb", 9
    )
    return Found(one, b"k%d" % seq)


@pytest.fixture
def reports(validation_cluster: Cluster, reports_catalog: None) -> EmbeddedReports:
    return EmbeddedReports(partial(connect, validation_cluster), kept=3)


async def test_a_report_is_resumed_as_it_was(reports: EmbeddedReports) -> None:
    first = await reports.begin(7, TABLE_ID, "things", "checksum")
    first.findings.extend(found(n) for n in range(5))
    first.cursor, first.rows_compared, first.from_key = b"\x00k\t", 12, "k0"
    first.in_flight = {b"k\xff": 3}
    await reports.save(first)
    first.findings.extend(found(n) for n in range(5, 8))
    await reports.save(first)
    again = await reports.begin(7, TABLE_ID, "things", "checksum")
    assert (again.report_id, again.cursor, again.rows_compared) == (first.report_id, b"\x00k\t", 12)
    assert again.findings.details == [found(n) for n in range(8)]
    assert again.findings.counts == first.findings.counts
    assert list(again.in_flight) == [b"k\xff"]
    assert (await reports.begin(7, TABLE_ID, "things", "full")).report_id > first.report_id
    again.close()
    await reports.save(again)
    assert (await reports.begin(7, TABLE_ID, "things", "checksum")).report_id > first.report_id


async def test_json_and_rows_say_the_same(
    reports: EmbeddedReports, root: asyncpg.Connection
) -> None:
    report = await reports.begin(7, TABLE_ID, "things", "sample")
    report.findings.extend(found(n) for n in range(2))
    report.bound, report.seconds, report.rows_compared = 0.125, 2.0, 10
    report.close()
    await reports.save(report)
    row = await root.fetchrow("SELECT *, report::text AS json FROM morph.validation_reports")
    assert row is not None
    assert json.loads(row["json"]) == as_dict(report) == json.loads(as_json(report))
    assert (row["discrepancies"], row["critical"], row["verdict"]) == (2, 2, "different")
    assert (row["rows_per_s"], row["table_name"]) == (5, "things")
    plain = json.loads(as_json(report))
    assert {"tableId", "timestamp", "discrepancies"} <= plain.keys()
    assert {"type", "message", "recordId"} <= plain["discrepancies"][0].keys()
    assert plain["timestamp"].endswith("Z")
    details = await root.fetch("SELECT * FROM morph.discrepancies")
    assert [(d["seq"], d["record_id"], d["column_name"]) for d in details] == [
        (1, "k0", "name"), (2, "k1", "name"),
    ]  # fmt: skip


async def test_old_reports_go(reports: EmbeddedReports, root: asyncpg.Connection) -> None:
    for _ in range(5):
        report = await reports.begin(7, TABLE_ID, "things", "full")
        report.findings.add(found(1))
        report.close()
        await reports.save(report)
    assert await root.fetchval("SELECT count(*) FROM morph.validation_reports") == 3
    assert await root.fetchval("SELECT count(*) FROM morph.discrepancies") == 3


async def test_a_run_is_not_taken_away_while_it_runs(
    reports: EmbeddedReports, root: asyncpg.Connection
) -> None:
    long_one = await reports.begin(7, TABLE_ID, "things", "full")
    for _ in range(5):
        report = await reports.begin(7, TABLE_ID, "things", "query")
        report.close()
        await reports.save(report)
    long_one.findings.add(found(1))
    await reports.save(long_one)
    assert await root.fetchval("SELECT count(*) FROM morph.discrepancies") == 1
    await root.execute("DELETE FROM morph_catalog.validation_reports")
    with pytest.raises(UndefinedObject, match="is gone"):
        await reports.save(long_one)


@pytest.mark.parametrize("method", ["sample", "query"])
async def test_what_begins_again_has_a_report_of_its_own(
    reports: EmbeddedReports, root: asyncpg.Connection, method: Method
) -> None:
    """A sample that was cut off does not keep what its first try found."""
    first = await reports.begin(7, TABLE_ID, "things", method, resume=False)
    first.findings.add(found(1))
    await reports.save(first)
    second = await reports.begin(7, TABLE_ID, "things", method, resume=False)
    second.close()
    await reports.save(second)
    rows = await root.fetch(
        "SELECT report_id, state, message, discrepancies FROM morph.validation_reports ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        (first.report_id, "failed", "the run was cut off", 1),
        (second.report_id, "done", None, 0),
    ]


async def test_the_validator_compares_verifies_and_repairs(
    validation_cluster: Cluster, root: asyncpg.Connection, reports: EmbeddedReports
) -> None:
    await make(root)
    both = bed(validation_cluster)
    limits = ValidationLimits(ReadingPace(0.001))
    validator = Validator(BedLayouts(both), reports, limits)
    assert (await validator.validate(WORK, "checksum")).critical == 0
    await root.execute(
        "UPDATE morph_store.shadow SET price = price + 1 WHERE id = 100;"
        "DELETE FROM morph_store.shadow WHERE id = 200;"
        "INSERT INTO morph_store.shadow (id) VALUES (900)"
    )
    verdict = await validator.validate(WORK, "full")
    assert (verdict.critical, verdict.complete) == (3, True)
    assert verdict.reason == ("things: 1 EXTRA_IN_SHADOW, 1 MISSING_IN_SHADOW, 1 VALUE_MISMATCH")
    async with both.sides() as sides:
        seen = await validator.verify(TABLE, sides, [b"1", b"100", b"200", b"900", b"12345"])
    assert sorted((d.type, d.record_id) for d in seen) == [
        ("EXTRA_IN_SHADOW", "900"), ("MISSING_IN_SHADOW", "200"), ("VALUE_MISMATCH", "100"),
    ]  # fmt: skip
    assert await validator.repair(WORK, verdict.report_id) == 3
    assert (await validator.validate(WORK, "full")).critical == 0
    with pytest.raises(UndefinedObject):
        await validator.repair(WORK, 10_000)
    with pytest.raises(InvalidParameterValue, match="does not exist"):
        await validator.validate(WORK, "guess")
    with pytest.raises(InvalidParameterValue, match="does not compare tables"):
        await validator.validate(WORK, "query")


async def test_what_others_found_is_a_report(
    reports: EmbeddedReports, validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    validator = Validator(BedLayouts(bed(validation_cluster)), reports, ValidationLimits())
    violation = Discrepancy("CONSTRAINT_VIOLATION", "not unique", "4", TABLE_ID)
    report_id = await validator.record(WORK, [violation, violation], "full")
    row = await root.fetchrow("SELECT * FROM morph.validation_reports")
    assert row is not None
    assert (row["report_id"], row["state"], row["critical"]) == (report_id, "done", 2)
    assert await validator.record(WORK, [], "full") > report_id


async def test_a_fault_of_a_row_ends_the_report(
    validation_cluster: Cluster, root: asyncpg.Connection, reports: EmbeddedReports
) -> None:
    await make(root)
    both = bed(validation_cluster, lsn="t.nothing")
    validator = Validator(BedLayouts(both), reports, ValidationLimits())
    with pytest.raises(Exception, match="nothing does not exist"):
        await validator.validate(WORK, "checksum")
    row = await root.fetchrow("SELECT * FROM morph.validation_reports")
    assert row is not None
    assert (row["state"], row["verdict"]) == ("failed", "unknown")
    assert row["message"] == "42703: column t.nothing does not exist"


async def test_one_run_of_a_method_at_a_time(
    validation_cluster: Cluster, root: asyncpg.Connection, reports: EmbeddedReports
) -> None:
    await make(root)
    validator = Validator(BedLayouts(bed(validation_cluster)), reports, ValidationLimits())
    async with reports.claim(7, TABLE_ID, "full"):
        with pytest.raises(ObjectNotInPrerequisiteState, match="another validation"):
            await validator.validate(WORK, "full")
        assert (await validator.validate(WORK, "checksum")).critical == 0


async def test_settings_reach_the_validator(
    validation_cluster: Cluster, root: asyncpg.Connection, reports: EmbeddedReports
) -> None:
    await make(root)
    await root.execute("UPDATE morph_store.shadow SET price = round(price), name = 'x'")
    own = ValidationSettings(
        chunk_time=0.01,
        sample_rows=100,
        sample_seed=3,
        details=4,
        reports=1,
        rows_per_s=1_000,
        severities="PRECISION_LOSS=info, VALUE_MISMATCH=warning",
    )
    connector = partial(connect, validation_cluster)
    validator = embedded_validator(BedLayouts(bed(validation_cluster)), connector, own)
    verdict = await validator.validate(WORK, "sample")
    assert verdict.critical == 0
    begun = monotonic()
    verdict = await validator.validate(WORK, "checksum")
    assert monotonic() - begun > 0.4
    assert verdict.critical == 0
    row = await root.fetchrow("SELECT * FROM morph.validation_reports")
    assert row is not None
    assert (row["report_id"], row["verdict"], row["rows_compared"]) == (
        verdict.report_id, "equal", 500,
    )  # fmt: skip
    assert row["discrepancies"] > 500
    assert await root.fetchval("SELECT count(*) FROM morph.discrepancies") == 4


async def test_a_run_that_breaks_off_goes_on_where_it_was(
    validation_cluster: Cluster,
    root: asyncpg.Connection,
    reports: EmbeddedReports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evolution.validation.judge.SAVE_S", 0.0)
    monkeypatch.setattr("evolution.validation.pace.FIRST_ROWS", 60)
    monkeypatch.setattr("evolution.validation.pace.ROWS_MAX", 60)
    await make(root)
    await root.execute("UPDATE morph_store.shadow SET name = 'x' WHERE id IN (5, 100, 450)")
    layouts = BreakingLayouts(bed(validation_cluster), 4)
    validator = Validator(layouts, reports, ValidationLimits())
    with pytest.raises(ConnectionFailure):
        await validator.validate(WORK, "checksum")
    seen = "SELECT report_id, state, rows_compared, discrepancies FROM morph.validation_reports"
    half = await root.fetchrow(seen)
    assert half is not None
    assert tuple(half)[1:] == ("running", 180, 2)
    layouts.left = 1_000
    verdict = await validator.validate(WORK, "checksum")
    whole = await root.fetchrow(seen)
    assert whole is not None
    assert tuple(whole) == (half["report_id"], "done", 500, 3)
    assert (verdict.report_id, verdict.critical) == (half["report_id"], 3)
    keys = await root.fetch("SELECT record_id FROM morph.discrepancies ORDER BY seq")
    assert [key[0] for key in keys] == ["5", "100", "450"]
