"""What `morphgres change` shows."""

from __future__ import annotations

import io
import os

import pytest

from evolution.changes.states import Phase
from proxy.commands.change_shown import Shown, as_table, progress_line

ROW = {
    "state": "backfilling", "rows": 2500, "total": 10000, "percent": 25.0, "rows_per_s": 1250.4,
    "left_seconds": 6.0, "pending": 7, "lag_s": 0.1, "held": True, "reason": "held by ann",
}  # fmt: skip


def test_a_line_has_bar_rows_rate_and_what_is_left() -> None:
    assert progress_line("change 7", ROW) == (
        "change 7  backfilling  [######..................] 25%  2,500 of about 10,000 rows  "
        "1,250 rows/s  6 s left  7 writes behind  held  (held by ann)"
    )
    assert progress_line("change 7", {"state": "ready", "total": None}) == "change 7  ready"


def test_columns_without_values_are_left_out() -> None:
    found = [
        {"change_id": 7, "reason": None, "held": True, "wanted": ""},
        {"change_id": 12, "reason": None, "held": False, "wanted": ""},
    ]
    assert as_table(found) == "change_id  held\n---------  ----\n7          yes\n12"
    assert as_table([]) == "no changes"


def test_elsewhere_than_on_a_terminal_each_state_is_one_line() -> None:
    stream = io.StringIO()
    shown = Shown("change 7", stream=stream)
    shown.show({"state": "validating"})
    shown.show({"state": "validating"})
    shown.told(Phase.VALIDATING)
    shown.told(Phase.RB_FENCED)
    shown.end({"state": "rolled back"})
    shown.clear()
    assert stream.getvalue().split("\n") == [
        "change 7  validating", "change 7  fenced for rollback", "change 7  rolled back", "",
    ]  # fmt: skip


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps would not be written over, but leave a trail."""
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 24)))
    stream = _Terminal()
    Shown("change 7", stream=stream).show(ROW)
    assert stream.getvalue() == "\rchange 7  backfilling  [#####\x1b[K"


def test_a_comparison_moves_on_a_terminal_and_is_silent_elsewhere() -> None:
    row = {"table_name": "price", "rows_compared": 1200, "rows_per_s": 99.6, "discrepancies": 2}
    stream, other, quiet = _Terminal(), io.StringIO(), _Terminal()
    Shown("change 7", stream=stream).comparing(row)
    Shown("change 7", stream=other).comparing(row)
    Shown("change 7", stream=quiet, quiet=True).comparing(row)
    line = "change 7  comparing price  1,200 rows  100 rows/s  2 differences"
    assert stream.getvalue() == f"\r{line}\x1b[K"
    assert other.getvalue() == quiet.getvalue() == ""


def test_times_are_short_for_people() -> None:
    found = [{"at": "2026-11-21 22:12:02.838861+00", "detail": "2026-11-21"}]
    assert as_table(found).split("\n")[2] == "2026-11-21 22:12:02Z  2026-11-21"


def test_on_a_terminal_one_line_moves() -> None:
    stream = _Terminal()
    shown = Shown("change 7", stream=stream)
    shown.show({"state": "validating"})
    shown.told(Phase.READY)
    shown.end({"state": "ready"})
    assert stream.getvalue() == "\rchange 7  validating\x1b[K\rchange 7  ready\x1b[K\n"
