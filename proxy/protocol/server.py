"""What the server says: one builder a message, each gives the whole message as bytes.

RowDescription and ParameterDescription are in `descriptions.py`, errors and notices in
`reports.py`. Messages without fields are constants. Nothing here is decoded except where the
relay needs to look into an answer of the private PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from core.errors import ConnectionFailure
from proxy.protocol.body import encode_string, write_values
from proxy.protocol.framing import message
from proxy.protocol.message_types import ServerType

_int32 = Struct(">i")

AUTHENTICATION_OK: Final = message(ServerType.AUTHENTICATION, _int32.pack(0))
BIND_COMPLETE: Final = message(ServerType.BIND_COMPLETE)
CLOSE_COMPLETE: Final = message(ServerType.CLOSE_COMPLETE)
COPY_DONE: Final = message(ServerType.COPY_DONE)
EMPTY_QUERY_RESPONSE: Final = message(ServerType.EMPTY_QUERY_RESPONSE)
NO_DATA: Final = message(ServerType.NO_DATA)
PARSE_COMPLETE: Final = message(ServerType.PARSE_COMPLETE)
PORTAL_SUSPENDED: Final = message(ServerType.PORTAL_SUSPENDED)
# The status byte: I idle, T in a transaction, E in a failed one.
READY_IDLE: Final = message(ServerType.READY_FOR_QUERY, b"I")
READY_IN_TRANSACTION: Final = message(ServerType.READY_FOR_QUERY, b"T")
READY_FAILED: Final = message(ServerType.READY_FOR_QUERY, b"E")
READY: Final = {ord("I"): READY_IDLE, ord("T"): READY_IN_TRANSACTION, ord("E"): READY_FAILED}


def authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    """The mechanisms on offer, best first."""
    names = b"".join(encode_string(name) for name in mechanisms)
    return message(ServerType.AUTHENTICATION, _int32.pack(10) + names + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    """A challenge of the mechanism."""
    return message(ServerType.AUTHENTICATION, _int32.pack(11) + data)


def authentication_sasl_final(data: bytes) -> bytes:
    """The mechanism's outcome; AUTHENTICATION_OK follows."""
    return message(ServerType.AUTHENTICATION, _int32.pack(12) + data)


def parameter_status(name: str, value: str, codec: str = "utf-8") -> bytes:
    """A reported setting and its value."""
    body = encode_string(name, codec) + encode_string(value, codec)
    return message(ServerType.PARAMETER_STATUS, body)


def decode_parameter_status(body: bytes, codec: str = "utf-8") -> tuple[str, str]:
    """`(name, value)` of a setting that the private PostgreSQL reports."""
    name, _, value = body.partition(b"\0")
    if value[-1:] != b"\0":
        raise ConnectionFailure("lost synchronization with server")
    return name.decode(codec, "replace"), value[:-1].decode(codec, "replace")


def backend_key_data(process_id: int, key: bytes) -> bytes:
    """What a CancelRequest must name; the key has 4 bytes, up to 256 in protocol 3.2."""
    assert len(key) == 4 or 4 < len(key) <= 256
    return message(ServerType.BACKEND_KEY_DATA, _int32.pack(process_id) + key)


def decode_backend_key_data(body: bytes) -> tuple[int, bytes]:
    """`(process id, key)` of the private PostgreSQL's backend."""
    if len(body) < 8:
        raise ConnectionFailure("lost synchronization with server")
    return _int32.unpack_from(body)[0], body[4:]


def ready_for_query(status: str) -> bytes:
    """`status` is I, T or E."""
    return READY[ord(status)]


def data_row(values: Sequence[bytes | None]) -> bytes:
    """One row; None is NULL."""
    return message(ServerType.DATA_ROW, write_values(values))


def command_complete(tag: str) -> bytes:
    """The tag as PostgreSQL writes it: `SELECT 3`, `INSERT 0 1`, `CREATE TABLE`."""
    return message(ServerType.COMMAND_COMPLETE, encode_string(tag))


def decode_command_complete(body: bytes) -> str:
    """The tag."""
    return body[:-1].decode("utf-8", "replace")
