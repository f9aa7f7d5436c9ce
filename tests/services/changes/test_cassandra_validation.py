"""R0.6, R4.5: queries and reads of clients on both layouts of a change of Cassandra's tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.server_process import ServerProcess, eventually, running
from tests.services.changes.goods import CHANGE, Goods
from tests.services.changes.test_query_validation import FOUND, LAST, asked

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
INLINE = (
    f'{QUICK}[validation]\ninline_share_bp = 10000\ninline_bytes = "256KB"\n'
    'inline_timeout = "30s"\n'
)
WAIT_S = 90.0
POINT = "SELECT total FROM goods WHERE shop = 'south' AND no = 5"
ALL = "SELECT shop, no, name, total, tags FROM goods ORDER BY shop, no"


@pytest.fixture(scope="module")
def morphgres() -> Iterator[ServerProcess]:
    """A server that compares every read."""
    with tempfile.TemporaryDirectory(prefix="morph-inline-", dir="/tmp") as name:
        Path(name).chmod(0o755)  # the private PostgreSQL runs as another user
        with running(Path(name) / "inline", INLINE) as process:
            yield process


def told(goods: Goods) -> str:
    """What CALL morph.validate(2, 'inline') says."""
    notices: list[str] = []

    def keep(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(str(diagnostic.message_primary))

    goods.client.add_notice_handler(keep)
    goods.run("CALL morph.validate(2, 'inline')")
    goods.client.remove_notice_handler(keep)
    return notices[-1]


def knows(goods: Goods) -> None:
    """The worker looks at the table's reads: it learns of a change a moment later."""

    def looks() -> bool:
        goods.rows(POINT)
        return "no reads" not in told(goods)

    eventually(looks, timeout_s=WAIT_S, what="a read that is compared")


# Equal layouts have equal answers; a row that was changed behind is found by both methods
def test_a_defect_is_found_by_queries_and_reads(goods: Goods) -> None:
    goods.change()
    goods.reaches("ready")
    goods.run(
        "DELETE FROM goods WHERE shop = 'north' AND no = 9",
        "INSERT INTO goods VALUES ('west', 1, 'new', 1.239, '{p,q}')",
        "UPDATE goods SET tags = '{}' WHERE shop = 'south' AND no = 7",
        asked(POINT, ALL, "SELECT shop, count(*) FROM goods GROUP BY shop ORDER BY 1"),
    )
    assert goods.rows(FOUND) == []
    assert goods.rows(LAST)[0][3].startswith("6 answers, median time of")
    knows(goods)
    for query in (POINT, ALL, POINT):
        goods.rows(query)
    assert told(goods).endswith("no differences")
    goods.session.execute(
        f"UPDATE {goods.shadow()} SET total = 9.99 WHERE shop = 'south' AND no = 5", timeout=60
    )
    goods.run(asked(POINT, "SELECT name FROM goods WHERE shop = 'south' AND no = 5"))
    assert goods.rows(FOUND) == [("query 1", "VALUE_MISMATCH", "critical")] * 2
    goods.rows(POINT)
    assert "1 VALUE_MISMATCH" in told(goods)


# Equal content under writes has no difference, on both sides of the cut-over
def test_writes_make_no_difference(goods: Goods) -> None:
    goods.change()
    goods.reaches("ready")
    knows(goods)
    stop = threading.Event()
    faults: list[BaseException] = []

    def write() -> None:
        try:
            with goods.morphgres.connect() as writer:
                number = 0
                while not stop.is_set():
                    number += 1
                    row = f"shop = 'south' AND no = {number % 50 + 1}"
                    writer.execute(f"UPDATE goods SET total = {number}.25 WHERE {row}")
                    writer.execute(f"INSERT INTO goods VALUES ('west', {number}, 'w', 1.5)")
                    writer.execute(f"DELETE FROM goods WHERE shop = 'west' AND no = {number - 9}")
        except BaseException as error:  # noqa: BLE001 (told below)
            faults.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            goods.run(asked(POINT, ALL))
            assert goods.rows(FOUND) == []
            goods.rows(ALL)
        assert told(goods).endswith("no differences")
        goods.run("CALL morph.promote(2)", asked(POINT, ALL))
        assert goods.rows(FOUND) == []
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert faults == []


# `morphgres change validate` compares beside the server, and asks its workers
def test_the_command_line_compares(goods: Goods) -> None:
    goods.change()
    goods.reaches("ready")

    def validate(*arguments: str) -> tuple[int, str]:
        data = goods.morphgres.data
        places = ("--data", str(data), "--config", str(data.with_name(f"{data.name}.toml")))
        command = (sys.executable, "-m", "proxy.main", "change", "validate", str(CHANGE), "--json")
        run = subprocess.run(
            [*command, *places, *arguments],
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert run.returncode in (0, 3), run.stderr
        return run.returncode, json.loads(run.stdout)["found"]

    knows(goods)
    goods.rows(ALL)
    assert validate("--method", "inline") == (0, "no differences")
    assert validate("--query", POINT) == (0, "no differences in 2 answers")
    goods.session.execute(
        f"UPDATE {goods.shadow()} SET total = 9.99 WHERE shop = 'south' AND no = 5", timeout=60
    )
    assert validate("--query", POINT) == (3, "goods: 2 VALUE_MISMATCH in 2 answers")
    assert validate("--method", "checksum") == (3, "goods: 1 VALUE_MISMATCH")
