"""Runs a pure function on a large C stack, for C code that recurses without a depth check."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
STACK_BYTES = 512 << 20


def run_on_deep_stack(work: Callable[[], T]) -> T:
    """The result of `work`, run on a thread with a 512 MiB stack (reserved, not used)."""
    outcome: list[T] = []
    fault: list[Exception] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 (handed to the caller's thread)
            fault.append(error)

    before = threading.stack_size(STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name="deep-stack")
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if fault:
        raise fault[0]
    return outcome[0]
