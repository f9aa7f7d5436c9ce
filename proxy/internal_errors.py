"""Errors of statements inside a script, as if the client's own statement had raised them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import MorphError
from proxy.protocol.framing import HEADER_BYTES
from proxy.protocol.reports import decode_report, encode_error, error_response
from proxy.relay import BackendError

if TYPE_CHECKING:
    from engine.plans import Plan
    from proxy.session import Session

# Where an internal statement was: its positions, texts and call stack mean nothing to the client.
_INTERNAL = frozenset({"P", "p", "q", "W"})


def restate(session: Session, error: BackendError, plan: Plan | None) -> BackendError:
    """The error of an internal statement of `plan` with the client's names."""
    fields = {code: value for code, value in error.fields.items() if code not in _INTERNAL}
    raw = session.translate_error(encode_error(fields), plan)
    return BackendError(decode_report(raw[HEADER_BYTES:]), answered=error.answered)


def reported(error: MorphError) -> BackendError:
    """Our own error once the backend's transaction has failed already: to be sent as it is."""
    return BackendError(decode_report(error_response(error)[HEADER_BYTES:]))
