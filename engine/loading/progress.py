"""How far a load is: one line of text, made at most as often as a reader can follow.

Pure but for the clock it is given; writing the line is the caller's.
"""

from __future__ import annotations

from core.clock import Clock, SystemClock

TERMINAL_EVERY_S = 0.1
LINE_EVERY_S = 2.0
BAR_CELLS = 24
_MB = 1_000_000


class Progress:
    """Counts of one load; `line()` says how far it is.

    `total` is in documents if they are known, else `advance` gets bytes and the size of the input.
    """

    def __init__(
        self,
        label: str,
        *,
        total: int = 0,
        every_s: float = LINE_EVERY_S,
        clock: Clock | None = None,
    ) -> None:
        self._label = label
        self._total = total
        self._every_s = every_s
        self._clock = clock or SystemClock()
        self._start = self._next = self._clock.monotonic()
        self._bytes = self._size = 0
        self.documents = 0
        self.rejects = 0

    def advance(self, documents: int, rejects: int, read: int = 0, size: int = 0) -> str | None:
        """Count a batch; `read` of `size` bytes are done. The line if it is time for one."""
        self.documents += documents
        self.rejects += rejects
        self._bytes, self._size = read, size
        if self._clock.monotonic() < self._next:
            return None
        self._next = self._clock.monotonic() + self._every_s
        return self.line()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return self._clock.monotonic() - self._start

    def share(self) -> float | None:
        """How much is done, 0 to 1; None if nobody knows."""
        if self._total:
            return min(self.documents / self._total, 1.0)
        return min(self._bytes / self._size, 1.0) if self._size else None

    def line(self) -> str:
        """The counts as they are now."""
        seconds = self.seconds
        rate = self.documents / seconds if seconds > 0.05 else 0.0
        parts = [f"{self._label}"]
        if (share := self.share()) is not None:
            full = round(share * BAR_CELLS)
            parts.append(f"[{'#' * full}{'.' * (BAR_CELLS - full)}] {share:4.0%}")
        parts.append(f"{self.documents:,} documents")
        parts.append(f"{rate:,.0f}/s")
        if self._bytes and not self._total:
            parts.append(f"{self._bytes / _MB:,.1f} MB")
        if self.rejects:
            parts.append(f"{self.rejects:,} rejected")
        return "  ".join(parts)
