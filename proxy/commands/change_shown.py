"""How `morphgres change` shows what it found: tables and JSON on standard output, a bar that moves
on standard error.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from evolution.changes.states import Phase, words

BAR_CELLS: Final = 24
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00")
_CLEAR_REST: Final = "\x1b[K"


def as_json(found: Any) -> str:
    """JSON for programs."""
    return json.dumps(found, ensure_ascii=False, default=str)


def as_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Columns for people; a column without any value is left out."""
    if not found:
        return "no changes"
    names = [n for n in found[0] if any(row[n] not in (None, "") for row in found)]
    cells = [[_cell(row[name]) for name in names] for row in found]
    widths = [max(len(n), *(len(row[i]) for row in cells)) for i, n in enumerate(names)]
    lines = [names, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return value.partition(".")[0] + "Z"
    return " ".join(str(value).split()) if value is not None else ""


def progress_line(label: str, row: Mapping[str, Any]) -> str:
    """One line: state, bar, rows, rows a second, what is left."""
    parts = [label, str(row["state"])]
    percent = row.get("percent")
    if row.get("total") and percent is not None:
        full = round(percent / 100 * BAR_CELLS)
        parts.append(f"[{'#' * full}{'.' * (BAR_CELLS - full)}] {percent:.0f}%")
        parts.append(f"{row['rows']:,} of about {row['total']:,} rows")
    if row["state"] == "backfilling" and row.get("rows_per_s"):
        parts.append(f"{row['rows_per_s']:,.0f} rows/s")
        if row.get("left_seconds") is not None:
            parts.append(f"{row['left_seconds']:,.0f} s left")
    if row.get("pending"):
        parts.append(f"{row['pending']:,} writes behind")
    if row.get("held"):
        parts.append("held")
    if row.get("reason"):
        parts.append(f"({row['reason']})")
    return "  ".join(parts)


class Shown:
    """A line on standard error that moves on a terminal; elsewhere a line for each new state.
    `as_lines`: JSON lines on standard output instead.
    """

    def __init__(
        self,
        label: str,
        *,
        as_lines: bool = False,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self._label = label
        self._as_lines = as_lines
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() and not (as_lines or quiet)
        self._last = ""
        self._state = ""

    def show(self, row: Mapping[str, Any]) -> None:
        """Where the change is."""
        if self._as_lines:
            text = as_json(row)
            if text != self._last:
                sys.stdout.write(f"{text}\n")
                sys.stdout.flush()
            self._last = text
            return
        line = progress_line(self._label, row)
        if self._terminal:
            self._move(line)
        elif row["state"] != self._state:
            self._stream.write(f"{line}\n")
        self._state = str(row["state"])
        self._stream.flush()

    def _move(self, line: str) -> None:
        """Write over the line; what is wider than the terminal would begin another one."""
        width = shutil.get_terminal_size().columns
        self._stream.write(f"\r{line[: max(width - 1, 1)]}{_CLEAR_REST}")
        self._stream.flush()

    def comparing(self, row: Mapping[str, Any]) -> None:
        """How far a comparison is; on a terminal only."""
        if self._terminal:
            found = row["discrepancies"]
            parts = [
                self._label,
                f"comparing {row['table_name']}",
                f"{row['rows_compared']:,} rows",
                f"{row['rows_per_s'] or 0:,.0f} rows/s",
                f"{found:,} differences" if found else "",
            ]
            self._move("  ".join(filter(None, parts)))

    def told(self, phase: Phase) -> None:
        """A new state, of which no numbers are known."""
        if not self._as_lines and not self._terminal and words(phase) != self._state:
            self._state = words(phase)
            self._stream.write(f"{self._label}  {self._state}\n")
            self._stream.flush()

    def end(self, row: Mapping[str, Any]) -> None:
        """Show the last state and leave its line."""
        self.show(row)
        if self._terminal:
            self._stream.write("\n")

    def clear(self) -> None:
        """Take the moving line away."""
        if self._terminal:
            self._stream.write(f"\r{_CLEAR_REST}")
            self._stream.flush()
