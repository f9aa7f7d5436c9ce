"""The state tables against what PostgreSQL 18 was seen to do."""

from __future__ import annotations

import pytest

from proxy.protocol.message_types import CLIENT_TYPES
from proxy.protocol.states import Event, State, Verdict, advance, refusals, verdict

# H handle, G ignore, R refuse
H, G, R = Verdict.HANDLE, Verdict.IGNORE, Verdict.REFUSE

#           QPBDECHSFXdcfp!
TABLE = {
    State.STARTUP: (R,) * 15,
    State.AUTHENTICATING: (*(R,) * 13, H, R),
    State.READY: (*(H,) * 10, G, G, G, R, R),
    State.COPY_IN: (R, R, R, R, R, R, G, G, R, R, H, H, H, R, R),
    State.SKIPPING: (G, G, G, G, G, G, G, H, G, H, G, G, G, R, R),
    State.CLOSED: (G,) * 15,
}


@pytest.mark.parametrize("state", list(State))
def test_every_message_has_its_verdict_in_every_state(state: State) -> None:  # R0.1
    assert set(b"QPBDECHSFXdcfp") == CLIENT_TYPES
    assert tuple(verdict(state, kind) for kind in b"QPBDECHSFXdcfp!") == TABLE[state]


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        (State.READY, "p", [("FATAL", "invalid frontend message type 112")]),
        (State.SKIPPING, "!", [("FATAL", "invalid frontend message type 33")]),
        (State.AUTHENTICATING, "Q", [("FATAL", "expected SASL response, got message type 81")]),
        (
            State.COPY_IN,
            "Q",
            [
                ("ERROR", "unexpected message type 0x51 during COPY from stdin"),
                ("FATAL", "terminating connection because protocol synchronization was lost"),
            ],
        ),
    ],
)
def test_what_a_refused_message_is_told(
    state: State, kind: str, said: list[tuple[str, str]]
) -> None:  # R0.1
    errors = refusals(state, ord(kind))
    assert [(error.severity, error.primary) for error in errors] == said
    assert {error.sqlstate for error in errors} == {"08P01"}


def test_the_life_of_a_session() -> None:  # R0.1
    state = State.STARTUP
    for event, expected in [
        (Event.STARTED, State.AUTHENTICATING),
        (Event.AUTHENTICATED, State.READY),
        (Event.EXTENDED_ERROR, State.SKIPPING),
        (Event.SYNCED, State.READY),
        (Event.SYNCED, State.READY),
        (Event.COPY_IN_BEGUN, State.COPY_IN),
        (Event.COPY_IN_ENDED, State.READY),
        (Event.COPY_IN_BEGUN, State.COPY_IN),
        (Event.EXTENDED_ERROR, State.SKIPPING),
        (Event.ENDED, State.CLOSED),
    ]:
        state = advance(state, event)
        assert state is expected


@pytest.mark.parametrize("state", list(State))
def test_every_state_can_end(state: State) -> None:  # R0.1
    assert advance(state, Event.ENDED) is State.CLOSED


def test_an_impossible_event_is_our_fault() -> None:  # R0.1
    with pytest.raises(KeyError):
        advance(State.STARTUP, Event.SYNCED)
