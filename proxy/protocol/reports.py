"""ErrorResponse and NoticeResponse; the only place where a MorphError becomes bytes.

A report is a list of (field code, string), closed by NUL (manual, section 54.8 "Error and Notice
Message Fields"). `S` is the severity for people, `V` the same never translated, `C` the SQLSTATE,
`M` the primary message; the rest are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core.errors import MorphError
from proxy.protocol.framing import HEADER_BYTES, message
from proxy.protocol.message_types import ServerType

SEVERITY: Final = "S"
SEVERITY_PLAIN: Final = "V"
SQLSTATE: Final = "C"
PRIMARY: Final = "M"
DETAIL: Final = "D"
HINT: Final = "H"
POSITION: Final = "P"
INTERNAL_POSITION: Final = "p"
INTERNAL_QUERY: Final = "q"
CONTEXT: Final = "W"
SCHEMA_NAME: Final = "s"
TABLE_NAME: Final = "t"
COLUMN_NAME: Final = "c"
TYPE_NAME: Final = "d"
CONSTRAINT_NAME: Final = "n"
SOURCE_FILE: Final = "F"
SOURCE_LINE: Final = "L"
SOURCE_ROUTINE: Final = "R"


def decode_report(body: bytes, codec: str = "utf-8") -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their code, in order.

    Bytes that are not in the encoding are kept (as surrogates) and come out again in `encode_*`:
    PostgreSQL speaks the client's encoding, which the reader need not know.
    """
    fields: dict[str, str] = {}
    for raw in body.split(b"\0"):
        if raw:
            fields[chr(raw[0])] = raw[1:].decode(codec, "surrogateescape")
    return fields


def sqlstate_of(raw: bytes) -> str:
    """The SQLSTATE of a whole ErrorResponse, without decoding the rest."""
    at = raw.find(b"\0C", HEADER_BYTES)
    return raw[at + 2 : at + 7].decode("ascii", "replace") if at >= 0 else "XX000"


def encode_error(fields: Mapping[str, str], codec: str = "utf-8") -> bytes:
    """The whole ErrorResponse of those fields."""
    return message(ServerType.ERROR_RESPONSE, _encode_fields(fields, codec))


def encode_notice(fields: Mapping[str, str], codec: str = "utf-8") -> bytes:
    """The whole NoticeResponse of those fields."""
    return message(ServerType.NOTICE_RESPONSE, _encode_fields(fields, codec))


def error_response(error: MorphError, codec: str = "utf-8") -> bytes:
    """The whole ErrorResponse for an error; `error.fields` are by field code and win.

    >>> error_response(MorphError("no"))
    b'E\\x00\\x00\\x00\\x1eSERROR\\x00VERROR\\x00CXX000\\x00Mno\\x00\\x00'
    """
    position = str(error.position) if error.position > 0 else ""
    fields = _report(error.severity, error.sqlstate, error.primary, error.detail, error.hint)
    if position:
        fields[POSITION] = position
    fields.update(error.fields)
    return encode_error(fields, codec)


def notice_response(
    severity: str,
    sqlstate: str,
    primary: str,
    detail: str = "",
    hint: str = "",
    *,
    codec: str = "utf-8",
) -> bytes:
    """The whole NoticeResponse; severity is WARNING, NOTICE, DEBUG, INFO or LOG."""
    return encode_notice(_report(severity, sqlstate, primary, detail, hint), codec)


def _report(severity: str, sqlstate: str, primary: str, detail: str, hint: str) -> dict[str, str]:
    fields = {SEVERITY: severity, SEVERITY_PLAIN: severity, SQLSTATE: sqlstate, PRIMARY: primary}
    if detail:
        fields[DETAIL] = detail
    if hint:
        fields[HINT] = hint
    return fields


def _encode_fields(fields: Mapping[str, str], codec: str) -> bytes:
    parts = []
    for code, value in fields.items():
        assert len(code) == 1, "fields are keyed by their code on the wire"
        value = value.replace("\0", "")
        try:
            text = value.encode(codec, "surrogateescape")
        except UnicodeEncodeError:
            # A report must always get out: what cannot be encoded becomes a question mark.
            text = value.encode(codec, "replace")
        parts.append(code.encode() + text + b"\0")
    return b"".join(parts) + b"\0"
