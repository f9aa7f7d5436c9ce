"""Processes that end when their parent does, however that comes (Linux: prctl(2))."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def follow_parent(signum: int, parent: int = 0) -> Callable[[], None]:
    """What the child calls to get `signum` when its parent ends; nothing on other systems.

    With the process id of the `parent` the child ends at once when that is gone already. The
    library is looked up now: between fork and exec there should be nothing but the calls.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def call() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signum)
            if parent and os.getppid() != parent:
                os._exit(1)

    return call
