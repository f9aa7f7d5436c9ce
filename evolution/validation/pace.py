"""How many rows a chunk has, and when the next may be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from core.clock import Clock, SystemClock

FIRST_ROWS: Final = 1_000
ROWS_MIN: Final = 50
ROWS_MAX: Final = 200_000
_WEIGHT: Final = 0.4
_GROWTH_MAX: Final = 4.0


@dataclass(frozen=True, slots=True)
class ReadingPace:
    """`chunk_s` is how long reading and comparing a chunk should take, `chunk_bytes` how many bytes
    one side of it should have at most, `rows_per_s` bounds the rate (0: no bound).
    """

    chunk_s: float = 0.5
    chunk_bytes: int = 8 << 20
    rows_per_s: float = 0.0


@dataclass(slots=True)
class ChunkSize:
    """Adapts to the time that chunks take: an exponentially weighted mean of the rate."""

    pace: ReadingPace
    rows: int = field(default=FIRST_ROWS, init=False)
    _rate: float = field(default=0.0, init=False)
    _width: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.rows = self._allowed(FIRST_ROWS)

    def _allowed(self, wanted: float) -> int:
        if self.pace.rows_per_s:
            wanted = min(wanted, self.pace.rows_per_s * self.pace.chunk_s)
        return max(int(min(wanted, ROWS_MAX)), ROWS_MIN)

    def took(self, rows: int, data: int, seconds: float) -> None:
        """A chunk of `rows` rows and `data` bytes a side took so long."""
        if not rows:
            return
        rate, width = rows / max(seconds, 1e-6), data / rows
        self._rate += (rate - self._rate) * (_WEIGHT if self._rate else 1.0)
        self._width += (width - self._width) * (_WEIGHT if self._width else 1.0)
        wanted = min(self._rate * self.pace.chunk_s, self.pace.chunk_bytes / max(self._width, 1.0))
        self.rows = self._allowed(min(wanted, self.rows * _GROWTH_MAX))

    def pause_s(self, rows: int, seconds: float) -> float:
        """How long to wait after a chunk, to keep below the bound."""
        if not self.pace.rows_per_s:
            return 0.0
        return max(rows / self.pace.rows_per_s - seconds, 0.0)


CLOCK: Final = SystemClock()


async def pause(clock: Clock, seconds: float) -> None:
    """Wait."""
    await clock.sleep_until(clock.monotonic() + seconds)
