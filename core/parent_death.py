"""Processes that end when their parent does, however that comes (Linux: prctl(2))."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def follow_parent(signum: int) -> Callable[[], None]:
    """What the child calls to get `signum` when its parent ends; nothing on other systems.

    The library is looked up now: between fork and exec there should be nothing but the call.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def call() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signum)

    return call
