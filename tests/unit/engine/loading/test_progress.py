"""The progress line (R1.4)."""

from __future__ import annotations

import io

from engine.loading.jobs import Rows
from engine.loading.progress import Progress
from proxy.commands.progress import ShownProgress


class _Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at


def test_a_line_now_and_then(monkeypatch: object) -> None:  # R1.4
    clock = _Clock()
    progress = Progress("loading t", every_s=2.0, clock=clock)  # type: ignore[arg-type]
    assert progress.advance(500, 0, 1_000_000, 4_000_000) is not None
    clock.at += 1
    assert progress.advance(500, 1, 2_000_000, 4_000_000) is None
    clock.at += 1
    line = progress.advance(1_000, 0, 3_000_000, 4_000_000)
    assert line is not None
    for part in ("loading t", "75%", "2,000 documents", "1,000/s", "3.0 MB", "1 rejected"):
        assert part in line


def test_a_total_of_documents_or_none(monkeypatch: object) -> None:  # R1.4
    clock = _Clock()
    known = Progress("x", total=200, clock=clock)  # type: ignore[arg-type]
    known.advance(50, 0)
    assert known.share() == 0.25
    unknown = Progress("x", clock=clock)  # type: ignore[arg-type]
    unknown.advance(50, 0, 1_000, 0)
    assert unknown.share() is None
    assert "%" not in unknown.line()


def test_a_terminal_gets_one_moving_line() -> None:  # R1.4
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream in (Terminal(), io.StringIO()):
        shown = ShownProgress("loading t", stream=stream)
        shown.read(Rows(0, b"", 10, (), 5, 10))
        shown.reject(0, 3, "bad", "x")
        shown.note("t.ndjson:3: bad")
        shown.finish()
        text = stream.getvalue()
        assert text.startswith("\r") == stream.isatty()
        assert text.endswith(" s\n")
        assert "1 rejected" in text
