"""docs/operations.md: what it shows of a running server is real output (R6.1, R6.2)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from private_pg.binaries import find_binaries
from tests.docs.tour import read_steps, replace_outputs, run_steps
from tests.integration.server_process import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_page_shows_what_is_printed(fresh_shop: ServerProcess) -> None:
    page = PAGE.read_text("utf-8")
    steps = read_steps(page)
    assert len(steps) >= 4
    outputs = run_steps(find_binaries().directory / "psql", fresh_shop.host, fresh_shop.port, steps)
    if os.environ.get("MORPH_UPDATE_DOCS"):
        PAGE.write_text(replace_outputs(page, steps, outputs), "utf-8")
        return
    assert outputs == [step.shown for step in steps]


def test_the_data_directory_has_the_entries_of_the_page(fresh_shop: ServerProcess) -> None:
    table = PAGE.read_text("utf-8").partition("| entry | what |")[2].partition("\n\n")[0]
    names = [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row[:60])]
    assert "FORMAT" in names
    for name in ("FORMAT", "lock", "pg", "pg/morphgres.conf", "pg/pg_hba.conf", "pg.log"):
        assert (fresh_shop.data / name).exists()
        assert any(n.rstrip("/") == name for n in names), name


def test_tls_and_passwords_as_the_page_sets_them_up(open_directory: Path) -> None:  # R0.1, R6.3
    base = open_directory / "tls"
    base.mkdir(mode=0o755)
    page = PAGE.read_text("utf-8")
    block = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    command = re.search(r"^    (openssl req .*?)\n    chmod", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    assert command is not None
    made = command[1].replace("db.example.org", "localhost")
    subprocess.run(made, cwd=base, shell=True, check=True, capture_output=True, timeout=60)
    process = ServerProcess(
        base / "data",
        config=block[1].replace("0.0.0.0", "127.0.0.1"),
        environment={"APP_PASSWORD": "secret"},
    )
    process.start()
    try:
        base_dsn = f"host=localhost port={process.port} user=app dbname=morph"
        safe = f"{base_dsn} sslmode=verify-full sslrootcert={base}/server.crt"
        with psycopg.connect(f"{safe} password=secret channel_binding=require") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("app",)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{safe} password=wrong")
        with pytest.raises(psycopg.OperationalError, match="no host rule"):
            psycopg.connect(f"{base_dsn} sslmode=disable password=secret")
    finally:
        process.stop()
