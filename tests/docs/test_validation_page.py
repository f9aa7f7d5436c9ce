"""docs/validation.md is real output (R4.5)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from private_pg.binaries import find_binaries
from tests.docs.tour import Step, read_steps, replace_outputs, run_steps
from tests.integration.server_process import ServerProcess, running

PAGE = Path(__file__).parents[2] / "docs" / "validation.md"
SPEED = re.compile(r"NOTICE:  change \d+ is [a-z ]+\n|DETAIL:  Report \d+ is in .*\n")
"""Which states a waiting call sees depends on the speed of the machine; so do reports' numbers."""
QUICK = '[changes]\nfence_lag = "1s"\n'


@pytest.fixture(scope="module")
def empty(open_directory: Path) -> Iterator[ServerProcess]:
    """A server without tables."""
    with running(open_directory / "validation", QUICK) as process:
        yield process


def break_rows(server: ServerProcess) -> None:
    """What the page says that somebody did: the shadow is the old layout."""
    with server.root() as root:
        store = root.execute(
            "SELECT t ->> 'live' FROM morph_catalog.shadows, jsonb_array_elements(tables) t"
        ).fetchone()
        assert store is not None
        names = root.execute(
            "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute "
            "WHERE attrelid = ('morph_store.' || quote_ident(%s))::regclass AND attname LIKE 'c%%' "
            "AND attnum > 0",
            store,
        ).fetchone()
        assert names is not None
        key, _, note = names[0].split()[:3]
        table = f'morph_store."{store[0]}"'
        root.execute("SET morph.applying = 'on'")
        root.execute(f"UPDATE {table} SET {note} = upper({note}) WHERE {key} = 100")
        root.execute(f"DELETE FROM {table} WHERE {key} = 200")
        root.execute(f"INSERT INTO {table} ({key}) VALUES (6000)")


def printed(server: ServerProcess, steps: list[Step]) -> list[str]:
    """What psql prints, without what depends on speed."""
    outputs = run_steps(find_binaries().directory / "psql", server.host, server.port, steps)
    return [SPEED.sub("", text) for text in outputs]


@pytest.mark.timeout(300)
def test_the_page_shows_what_is_printed(empty: ServerProcess) -> None:
    page = PAGE.read_text("utf-8")
    steps = read_steps(page)
    before = sum(step.end < page.index("behind\nMorphgres's back") for step in steps)
    assert before == 2
    assert len(steps) == 5
    outputs = printed(empty, steps[:before])
    break_rows(empty)
    outputs += printed(empty, steps[before:])
    if os.environ.get("MORPH_UPDATE_DOCS"):
        PAGE.write_text(replace_outputs(page, steps, outputs), "utf-8")
        return
    assert outputs == [step.shown for step in steps]
