"""R4.5: queries replayed against two versions through the endpoint (V6)."""

from __future__ import annotations

import asyncpg
import pytest

from core.clock import SystemClock
from evolution.validation.endpoint import EndpointRunner
from evolution.validation.replay import Check, Replay
from evolution.validation.report import Report
from tests.integration.layouts.bed import Bed

CHECKS = {
    "SELECT count(*), max(x) FROM fed": None,
    "SELECT x FROM fed ORDER BY id": None,
    "SELECT id, n FROM fed": "ROWDESC_MISMATCH",
    "SELECT n::text FROM fed ORDER BY id": "VALUE_MISMATCH",
    "SELECT 1 / (id - 7) FROM fed": None,
    "SELECT 10 / (n - 0.25) > 0 FROM fed": "ERROR_MISMATCH",
    "SELECT nothing FROM fed": None,
    "SELECT random() FROM fed": "NONDETERMINISTIC",
    "INSERT INTO fed VALUES (-1) RETURNING id": None,
    "SELECT FROM fed": None,
}


@pytest.mark.timeout(300)
async def test_two_versions_are_compared_as_clients_see_them(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, n int, x text")
    bed.ddl("INSERT INTO fed SELECT g, g, 'x' || g FROM generate_series(1, 700) g")
    bed.ddl("SET morph.ddl_mode = virtual; SET morph.back = 'round(n * 4)::int'")
    bed.ddl("ALTER TABLE fed ALTER COLUMN n TYPE numeric(12, 2) USING n / 4.0")
    versions = bed.client.execute("SELECT max(version) FROM morph.versions").fetchone()
    assert versions is not None
    connection = await asyncpg.connect(
        host=bed.server.host, port=bed.server.port, user="morph", database="morph", timeout=60
    )
    try:
        live = EndpointRunner(connection, "public", SystemClock())
        shadow = EndpointRunner(connection, f"v{versions[0]}", SystemClock())
        report = Report(1, 1, versions[0], "query")
        checks = [Check(sql, sql, ordered="ORDER BY" in sql) for sql in CHECKS]
        await Replay(live, shadow, report).run(checks)
        answer = await live.run("SELECT * FROM fed")
    finally:
        await connection.close(timeout=5)
    found = {f.discrepancy.record_id: f.discrepancy.type for f in report.findings.details}
    assert found == {sql: category for sql, category in CHECKS.items() if category}
    assert answer.columns == (("id", "int4"), ("n", "int4"), ("x", "text"))
    assert answer.rows.multiset.count == 700
    assert bed.client.execute("SELECT count(*) FROM fed").fetchone() == (700,)
    assert report.message.startswith("median time of the shadow")
