"""R6.1, issue 4: the cross-store join of the README is real output."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from private_pg.binaries import find_binaries
from tests.docs.tour import Step, replace_outputs, run_steps
from tests.integration.server_process import ServerProcess
from tests.services.federation.loading import mongodb_client, run
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
README = Path(__file__).parents[3] / "README.md"
_PAIR = re.compile(r"```sql stores\n(?P<sql>.*?)```\n\n```text\n(?P<text>.*?)```", re.DOTALL)
START_TIMEOUT_S = 300.0
TITLES = ("Would buy again", "As described", "Arrived early")


def _fill(mongodb: RunningServer, postgres: RunningServer) -> None:
    with mongodb_client(mongodb) as client:
        client.drop_database("feedback")
        client["feedback"]["reviews"].insert_many(
            {
                "_id": n,
                "customer_id": n * 37 % 400 + 1,
                "stars": n % 5 + 1,
                "comment": {"title": TITLES[n % 3], "words": n % 90},
            }
            for n in range(1, 501)
        )
    with psycopg.connect(postgres.uri, autocommit=True) as connection:
        run(connection, "DROP SCHEMA IF EXISTS billing CASCADE")
        run(connection, "CREATE SCHEMA billing")
        run(
            connection,
            "CREATE TABLE billing.payments (id int PRIMARY KEY, customer_id int, amount numeric)",
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO billing.payments VALUES (%s, %s, %s)",
                [(n, n * 53 % 600 + 1, Decimal(n * 731 % 90_000) / 100) for n in range(1, 2_001)],
            )


def test_the_join_prints_what_the_readme_shows(
    mongodb: RunningServer, postgres_store: RunningServer, open_directory: Path
) -> None:
    page = README.read_text("utf-8")
    steps = [
        Step(m["sql"], m["text"], m.start("text"), m.end("text")) for m in _PAIR.finditer(page)
    ]
    assert len(steps) == 1
    _fill(mongodb, postgres_store)
    ports = {"'27017'": f"'{mongodb.port}'", "'5432'": f"'{postgres_store.port}'"}
    sql = steps[0].sql
    for shown, real in ports.items():
        assert sql.count(shown) == 1
        sql = sql.replace(shown, real)
    data = open_directory / f"readme-{mongodb.product}"
    process = ServerProcess(data, arguments=("--sample", "shop"))
    process.start(START_TIMEOUT_S)
    asked = [Step(sql, steps[0].shown, 0, 0)]
    outputs = run_steps(find_binaries().directory / "psql", process.host, process.port, asked)
    process.stop()
    if os.environ.get("MORPH_UPDATE_DOCS"):
        README.write_text(replace_outputs(page, steps, outputs), "utf-8")
        return
    assert outputs == [steps[0].shown]
