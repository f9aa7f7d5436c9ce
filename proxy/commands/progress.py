"""Progress on standard error: one line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from engine.loading.jobs import Rows
from engine.loading.progress import LINE_EVERY_S, TERMINAL_EVERY_S, Progress

_CLEAR_REST = "\x1b[K"


class ShownProgress:
    """A sink (evolution.loading) that shows how far a load is."""

    def __init__(self, label: str, *, total: int = 0, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        every = TERMINAL_EVERY_S if self._terminal else LINE_EVERY_S
        self.progress = Progress(label, total=total, every_s=every)

    def read(self, rows: Rows) -> None:
        """See Sink."""
        line = self.progress.advance(rows.documents, len(rows.rejects), rows.stored, rows.size)
        if line is not None:
            self._show(line)

    def reject(self, source: int, line: int, reason: str, excerpt: str) -> None:
        """See Sink."""
        self.progress.rejects += 1

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._stream.write(f"\r{_CLEAR_REST}{text}\n" if self._terminal else f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Take the moving line away."""
        if self._terminal:
            self._stream.write(f"\r{_CLEAR_REST}")

    def finish(self) -> None:
        """Show the last state and leave its line."""
        line = self.progress.line()
        self.note(f"{line}  {self.progress.seconds:.1f} s")

    def _show(self, line: str) -> None:
        self._stream.write(f"\r{line}{_CLEAR_REST}" if self._terminal else f"{line}\n")
        self._stream.flush()
