"""What an event loop logs (R6.4): everything but asyncpg's cancelled COPY."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.loop_faults import report_loop_fault


def _raised(filename: str) -> AttributeError:
    with pytest.raises(AttributeError) as caught:
        eval(compile("None.cancelled", filename, "eval"))  # in a frame of that file
    trace = caught.value.__traceback__
    return caught.value.with_traceback(trace.tb_next if trace is not None else None)


@pytest.mark.parametrize(
    ("filename", "logged"), [("asyncpg/protocol/protocol.pyx", False), ("proxy/session.py", True)]
)
async def test_only_the_drivers_own_fault_is_dropped(
    filename: str, logged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(type(loop), "default_exception_handler", lambda _, c: seen.append(c))
    report_loop_fault(loop, {"message": "m", "exception": _raised(filename)})
    assert bool(seen) is logged
