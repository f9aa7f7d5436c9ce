"""Logs are structured and hold no secrets; metrics are cheap, bounded and complete (R6.2, R6.3)."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import UndefinedTable
from core.telemetry.exposition import Exposition
from core.telemetry.log import MASK, VALUE_CHARACTERS_MAX, Log, configure, redact
from core.telemetry.metrics import CELLS_MAX, OVERFLOW, Metric, Metrics

UNITS = ("seconds", "bytes", "total", "rows", "connections", "entries", "attached", "waiting")


@pytest.fixture
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def text_log(root_logger: None) -> io.StringIO:
    stream = io.StringIO()
    configure("debug", "text", stream)
    return stream


@pytest.fixture
def json_log(root_logger: None) -> io.StringIO:
    stream = io.StringIO()
    configure("info", "json", stream)
    return stream


def test_text_line(text_log: io.StringIO) -> None:  # R6.2
    Log("proxy.session").info("session.started", user="app", pid=7, note="a b", on=True, no=None)
    line = text_log.getvalue()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info proxy\.session session\.started"
        r' user=app pid=7 note="a b" on=true no=null\n',
        line,
    )


def test_json_line(json_log: io.StringIO) -> None:  # R6.2
    Log("engine").warning("merge.spilled", rows=5, level="mine", quoted='say "ä"')
    line = json.loads(json_log.getvalue())
    assert line["level"] == "warning"
    assert line["event"] == "merge.spilled"
    assert line["level_"] == "mine"
    assert line["quoted"] == 'say "ä"'
    assert line["rows"] == 5


def test_levels(json_log: io.StringIO) -> None:
    log = Log("engine")
    log.debug("not.shown")
    log.error("shown")
    assert json_log.getvalue().count("\n") == 1


def test_event_names_are_checked(text_log: io.StringIO) -> None:
    with pytest.raises(AssertionError, match="name of an event"):
        Log("x").info("Session started")


def test_an_event_is_one_line_whatever_a_client_sends(text_log: io.StringIO) -> None:  # R6.3
    evil = "x\n2026-01-01 error forged=yes\r\x1b[31m\u0085\u2028\u202e\ud800"
    Log("x").info("query.seen", text=evil)
    (line,) = text_log.getvalue().splitlines()
    assert "\\n2026" in line
    assert "\x1b" not in line


def test_long_values_are_cut(text_log: io.StringIO) -> None:
    Log("x").info("query.seen", text="y" * 100_000)
    assert len(text_log.getvalue()) < VALUE_CHARACTERS_MAX + 200
    assert "(100000 characters)" in text_log.getvalue()


@pytest.mark.parametrize(
    "name", ["password", "db_password", "Secret", "scram_verifier", "api_token", "dsn"]
)
def test_fields_named_like_secrets_are_masked(text_log: io.StringIO, name: str) -> None:  # R6.3
    Log("x").info("login.tried", **{name: "hunter2"})
    assert "hunter2" not in text_log.getvalue()
    assert f"{name}={MASK}" in text_log.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "mongodb://app:hunter2@db.example/x",
        "postgres://:hunter2@db/x",
        "host=db password=hunter2 user=x",
        "password = 'hunter2 with \\' quote'",
        '{"password": "hunter2"}',
        "ALTER ROLE app PASSWORD 'it''s hunter2'",
        "PWD:hunter2;",
        "SCRAM-SHA-256$4096:hunter2$a:b",
    ],
)
def test_secrets_within_texts_are_masked(text: str) -> None:  # R6.3
    assert "hunter2" not in redact(text)
    assert MASK in redact(text)


def test_harmless_texts_are_left_alone() -> None:
    text = 'password authentication failed for user "app" at http://db:5432/x?y=1'
    assert redact(text) == text


def test_errors_bring_sqlstate_and_traceback(json_log: io.StringIO) -> None:  # R6.2
    try:
        raise UndefinedTable('relation "x" does not exist')
    except UndefinedTable as error:
        Log("x").error("statement.failed", error=error)
        Log("x").info("statement.failed", error=error)
    first, second = map(json.loads, json_log.getvalue().splitlines())
    assert first["sqlstate"] == "42P01"
    assert "Traceback" in first["traceback"]
    assert "traceback" not in second


def test_logs_of_libraries_and_warnings_have_the_same_form(json_log: io.StringIO) -> None:
    logging.getLogger("asyncio").warning("slow %s password=hunter2", "callback")
    try:
        raise ValueError("hunter password=hunter2")
    except ValueError:
        logging.getLogger("asyncio").exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    lines = [json.loads(line) for line in json_log.getvalue().splitlines()]
    assert lines[0]["message"] == f"slow callback password={MASK}"
    assert lines[1]["error"].startswith("ValueError")
    assert "hunter2" not in json_log.getvalue()
    assert {line["event"] for line in lines} == {"library.message"}


def _samples(metrics: Metrics) -> dict[str, float]:
    text = Exposition(metrics).render().decode()
    return {
        ",".join(
            [sample.name, *(sample.labels[name] for name in sorted(sample.labels, key="le".__eq__))]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_reach_prometheus() -> None:  # R6.2, R1.10
    metrics = Metrics()
    metrics.connections.value += 3
    metrics.connections.value -= 1
    metrics.received_bytes.value += 512
    metrics.statements.cell("select", "relay").value += 2
    metrics.errors.cell("42P01").value += 1
    seconds = metrics.statement_seconds.cell("relay")
    for amount in (0.00005, 0.0001, 0.003, 100.0):
        seconds.observe(amount)
    samples = _samples(metrics)
    assert samples["morphgres_connections"] == 2
    assert samples["morphgres_received_bytes_total"] == 512
    assert samples["morphgres_statements_total,select,relay"] == 2
    assert samples["morphgres_errors_total,42P01"] == 1
    assert samples["morphgres_private_pg_restarts_total"] == 0
    prefix = "morphgres_statement_duration_seconds"
    assert samples[f"{prefix}_bucket,relay,0.0001"] == 2
    assert samples[f"{prefix}_bucket,relay,60.0"] == 3
    assert samples[f"{prefix}_bucket,relay,+Inf"] == 4
    assert samples[f"{prefix}_count,relay"] == 4
    assert samples[f"{prefix}_sum,relay"] == pytest.approx(100.00315)


def test_a_client_cannot_grow_the_metrics() -> None:  # R6.3
    metrics = Metrics()
    for number in range(CELLS_MAX * 3):
        metrics.errors.cell(f"X{number:04}").value += 1
        metrics.statement_seconds.cell(f"t{number}").observe(1)
    assert len(metrics.errors.cells) == CELLS_MAX + 1
    assert len(metrics.statement_seconds.cells) == CELLS_MAX + 1
    assert metrics.errors.cell(OVERFLOW).value == CELLS_MAX * 2


def test_a_cell_stays_the_same() -> None:
    metrics = Metrics()
    assert metrics.errors.cell("42P01") is metrics.errors.cell("42P01")
    with pytest.raises(AssertionError, match="labels"):
        metrics.statements.cell("select")


def test_every_metric_has_help_and_unit() -> None:  # R6.2
    metrics = Metrics().all()
    assert len(metrics) >= 17
    for metric in metrics:
        assert metric.name.startswith("morphgres_")
        assert metric.name.endswith(UNITS), metric.name
        assert metric.help.endswith(".")
        if isinstance(metric, Metric):
            assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert len({metric.name for metric in metrics}) == len(metrics)
