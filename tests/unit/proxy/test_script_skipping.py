"""A script that starts behind a failed message must not wait for answers that never come."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.relay import BackendError, Relay, Sink
from proxy.scripts import Scripts
from proxy.session_store import SessionStore


def _session(*, skip: bool) -> Any:
    relay = Relay(SimpleNamespace())
    relay.backend = SimpleNamespace(statements=set())  # type: ignore[assignment]
    relay.skip = skip
    return SimpleNamespace(relay=relay, send=lambda *_: None, flush_backend=lambda: None)


async def test_a_script_behind_an_error_gives_up() -> None:  # R0.5
    scripts = Scripts.__new__(Scripts)
    with pytest.raises(BackendError) as caught:
        await scripts.complete(_session(skip=True), Sink())
    assert caught.value.answered


async def test_a_copy_behind_an_error_gives_up() -> None:  # R0.5
    scripts = Scripts.__new__(Scripts)
    session = _session(skip=True)
    session.client = SimpleNamespace(codec="utf-8")
    store = SessionStore(scripts, session, 1)
    with pytest.raises(BackendError) as caught:
        await asyncio.wait_for(anext(store.copy_out("COPY t TO STDOUT")), 5)
    assert caught.value.answered


async def test_what_was_answered_already_is_taken() -> None:
    scripts = Scripts.__new__(Scripts)
    sink = Sink()
    sink.finish()
    assert await scripts.complete(_session(skip=True), sink) is sink
    assert await scripts.complete(_session(skip=False), sink) is sink
