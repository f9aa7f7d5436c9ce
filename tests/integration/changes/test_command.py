"""`morphgres change` as a user runs it, on the data directory of a running server (issue 5, 10)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.changes.prices import change_type, in_state, make_prices, reaches, rows
from tests.integration.changes.test_replays import damage
from tests.integration.server_process import ServerProcess, running

pytestmark = pytest.mark.timeout(300)  # every command is a process of its own


def morphgres(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy.main", "change", *arguments, "--data", str(data)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def done(data: Path, *arguments: str) -> str:
    run = morphgres(data, *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_promoted_and_rolled_back(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        lines = done(server.data, "watch", "2", "--json").split("\n")[:-1]
        last = json.loads(lines[-1])
        assert (last["state"], last["rows"], last["total"]) == ("ready", 500, 500)
        run = morphgres(server.data, "promote", "2")
        assert (run.returncode, run.stdout) == (0, "change 2 is promoted\n")
        assert rows(client, "SELECT x FROM price WHERE id = 1") == [(Decimal("0.100"),)]
        client.execute("UPDATE price SET x = 0.555 WHERE id = 1")
        refused = morphgres(server.data, "rollback", "2")
        assert refused.returncode == 1
        assert "morphgres: change 2 could not be rolled back" in refused.stderr
        assert "HINT:" in refused.stderr
        done(server.data, "rollback", "2", "--accept")
        assert rows(client, "SELECT x FROM price WHERE id = 1") == [(56,)]


def test_shown_compared_and_discarded(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        reaches(client, "ready")
        assert "no differences" in done(server.data, "validate", "2", "--method", "full")
        shown = json.loads(done(server.data, "show", "2", "--json"))
        assert shown["state"] == "ready"
        assert [step["event"] for step in shown["steps"]][-1] == "Validated"
        text = done(server.data, "show", "2")
        assert text.startswith("change 2: ready\n  change type price: ALTER TABLE price ALTER")
        assert json.loads(done(server.data, "discard", "2", "--json")) == {
            "change_id": 2, "done": "discarded",
        }  # fmt: skip
        assert in_state(client, "discarded")


def test_hold_resume_and_contract(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        reaches(client, "ready")
        assert done(server.data, "hold", "2") == "change 2 is held\n"
        assert rows(client, "SELECT held FROM morph.progress") == [(True,)]
        assert done(server.data, "resume", "2") == "change 2 is resumed\n"
        client.execute("CALL morph.promote(2)")
        assert done(server.data, "contract", "2") == "change 2 is contracted\n"
        gone = morphgres(server.data, "hold", "2")
        assert "change 2 is completed, so it cannot be held" in gone.stderr
        (listed,) = json.loads(done(server.data, "list", "--json"))
        assert (listed["change_id"], listed["state"]) == (2, "completed")


def test_queries_are_replayed(server: ServerProcess) -> None:
    """As a client's role: what its rights do not allow fails in both layouts."""
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        reaches(client, "ready")
        query = "SELECT x FROM price ORDER BY id"
        shown = json.loads(done(server.data, "validate", "2", "--query", query, "--json"))
        assert shown["critical"] == 0
        assert shown["found"] == "no differences in 2 answers"
        query = "SELECT pg_read_file('/etc/hostname') FROM price"
        assert "2 of them errors" in done(server.data, "validate", "2", "--query", query)
        run = morphgres(server.data, "validate", "2", "--method", "full", "--query", query)
        assert (run.returncode, run.stderr) == (
            1, "morphgres: validation by full takes no queries\n",
        )  # fmt: skip
        damage(server, "UPDATE {0} SET {1} = 7 WHERE {1} = 1.5")
        query = "SELECT x FROM price WHERE id = 15"
        run = morphgres(server.data, "validate", "2", "--query", query)
        assert run.returncode == 3
        assert "2 VALUE_MISMATCH" in run.stdout


def test_what_is_not_there(server: ServerProcess, tmp_path: Path) -> None:
    assert done(server.data, "list") == "no changes\n"
    run = morphgres(tmp_path / "none", "list")
    assert run.returncode == 1
    assert "there is no Morphgres in data directory" in run.stderr
    assert not (tmp_path / "none").exists()  # looking makes nothing
    run = morphgres(server.data, "show", "77")
    assert (run.returncode, run.stderr.split("\n")[0]) == (
        1,
        "morphgres: change 77 does not exist",
    )
    assert morphgres(server.data, "promote", "x").returncode == 2


def test_what_was_published_at_once_can_be_shown(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
    shown = json.loads(done(server.data, "show", "1", "--json"))
    assert (shown["state"], shown["kind"]) == ("published", "create table")
    assert morphgres(server.data, "hold", "1").returncode == 1


def test_without_a_server_one_can_look_only(fresh_directory: Path) -> None:
    with running(fresh_directory) as server, server.connect() as client:
        make_prices(client, rows=3)
        client.execute("ALTER TABLE price RENAME COLUMN x TO cents")
    assert "rename column" in done(fresh_directory, "list")
    run = morphgres(fresh_directory, "promote", "2")
    assert run.returncode == 1
    assert "no server runs in data directory" in run.stderr
