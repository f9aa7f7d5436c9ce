"""Which message a client may send when, and what becomes of one it may not.

Everything about the protocol state of a session is here, and nothing here knows a session: two
pure tables, one of verdicts and one of transitions. Behaviour is PostgreSQL's (tcop/postgres.c
SocketBackend and PostgresMain, commands/copyfromparse.c).

    connect
       |          SslRequest, GssRequest: stay
       v
    STARTUP --- StartupMessage ---> AUTHENTICATING --- authenticated ---> READY <--------+
       |                                                                  | ^  |         |
       | CancelRequest                        CopyInResponse +------------+ |  | error   | Sync
       v                                                     v              |  | in an   |
    CLOSED                                                COPY_IN ----------+  | extended|
       ^                                                     | CopyDone,       | message |
       |                                                     | CopyFail        v         |
       +--- from any state: Terminate, a refused type        +-------------> SKIPPING ---+
                                                                 error, extended

READY covers idle, in a transaction and within an extended batch: the protocol takes the same
messages in all of them. What depends on transactions is the private PostgreSQL's to say.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import Final

from core.errors import MorphError, ProtocolViolation, QueryProtocolError
from proxy.protocol.message_types import CLIENT_TYPES, ClientType


class State(IntEnum):
    """Where a session is in the protocol; integers, because their hash is cheap."""

    STARTUP = auto()
    AUTHENTICATING = auto()
    READY = auto()
    COPY_IN = auto()
    SKIPPING = auto()
    CLOSED = auto()


class Event(Enum):
    """What moves a session to another state."""

    STARTED = auto()
    AUTHENTICATED = auto()
    EXTENDED_ERROR = auto()
    SYNCED = auto()
    COPY_IN_BEGUN = auto()
    COPY_IN_ENDED = auto()
    ENDED = auto()


class Verdict(Enum):
    """What to do with a message."""

    HANDLE = auto()
    IGNORE = auto()
    # Send `refusal(...)` and close. During COPY PostgreSQL reports an ERROR for the statement and
    # then a FATAL, because it did not read the body: both are in `refusals`.
    REFUSE = auto()


_COPY: Final = frozenset({ClientType.COPY_DATA, ClientType.COPY_DONE, ClientType.COPY_FAIL})
_COMMANDS: Final = CLIENT_TYPES - _COPY - {ClientType.PASSWORD}

# A type that is not named is refused.
_VERDICTS: Final[dict[State, dict[int, Verdict]]] = {
    State.STARTUP: {},
    State.AUTHENTICATING: {ClientType.PASSWORD: Verdict.HANDLE},
    State.READY: {
        **dict.fromkeys(_COMMANDS, Verdict.HANDLE),
        # A client that did not yet see the error which ended its COPY goes on sending.
        **dict.fromkeys(_COPY, Verdict.IGNORE),
    },
    State.COPY_IN: {
        **dict.fromkeys(_COPY, Verdict.HANDLE),
        # So that a client may send Execute and Sync without knowing that it is a COPY.
        ClientType.FLUSH: Verdict.IGNORE,
        ClientType.SYNC: Verdict.IGNORE,
    },
    State.SKIPPING: {
        **dict.fromkeys(_COMMANDS | _COPY, Verdict.IGNORE),
        ClientType.SYNC: Verdict.HANDLE,
        ClientType.TERMINATE: Verdict.HANDLE,
    },
    State.CLOSED: dict.fromkeys(range(256), Verdict.IGNORE),
}

_TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.STARTUP, Event.STARTED): State.AUTHENTICATING,
    (State.AUTHENTICATING, Event.AUTHENTICATED): State.READY,
    (State.READY, Event.EXTENDED_ERROR): State.SKIPPING,
    (State.READY, Event.SYNCED): State.READY,
    (State.READY, Event.COPY_IN_BEGUN): State.COPY_IN,
    (State.COPY_IN, Event.COPY_IN_ENDED): State.READY,
    (State.COPY_IN, Event.EXTENDED_ERROR): State.SKIPPING,
    (State.SKIPPING, Event.SYNCED): State.READY,
    **{(state, Event.ENDED): State.CLOSED for state in State},
}


def verdict(state: State, kind: int) -> Verdict:
    """What to do with a message of that type byte."""
    return _VERDICTS[state].get(kind, Verdict.REFUSE)


def advance(state: State, event: Event) -> State:
    """The next state; a KeyError is a fault of ours, never of the client."""
    return _TRANSITIONS[state, event]


def refusals(state: State, kind: int) -> tuple[MorphError, ...]:
    """The errors to send, in order, before the connection closes on a refused message."""
    if state is State.AUTHENTICATING:
        return (ProtocolViolation(f"expected SASL response, got message type {kind}"),)
    if state is State.COPY_IN:
        return (
            QueryProtocolError(f"unexpected message type 0x{kind:02X} during COPY from stdin"),
            ProtocolViolation("terminating connection because protocol synchronization was lost"),
        )
    return (ProtocolViolation(f"invalid frontend message type {kind}"),)
