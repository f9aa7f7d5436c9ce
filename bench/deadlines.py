"""A run ends in time, whatever a case does: each has a deadline, and all have one together."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

BUDGET_S = 570.0
"""How long all cases may take together."""
CASE_S = 240.0
"""How long one may take."""


@dataclass
class Budget:
    """What is left of the time of a run."""

    seconds: float = BUDGET_S
    case_s: float = CASE_S
    begun: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """What is left of it all."""
        return max(0.0, self.begun + self.seconds - time.monotonic())

    def of_case(self, parts: int = 1) -> float:
        """How long the next case may take, when the time is for so many of them.

        Raises TimeoutError when there is none left.
        """
        if self.left_s < 1:
            raise TimeoutError(f"the {self.seconds:.0f} s for it are over")
        return min(self.case_s, self.left_s / parts)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Break the block off after so long, by a signal: in the main thread only.

    Raises TimeoutError.
    """

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it did not end within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
