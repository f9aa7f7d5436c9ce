"""Whole messages of a client that are always the same; the session sends them to its backend."""

from __future__ import annotations

from typing import Final

from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType

COPY_DONE: Final = message(ClientType.COPY_DONE)
DESCRIBE_PORTAL: Final = message(ClientType.DESCRIBE, b"P\0")
DESCRIBE_STATEMENT: Final = message(ClientType.DESCRIBE, b"S\0")
EXECUTE_ALL: Final = message(ClientType.EXECUTE, b"\0\0\0\0\0")
FLUSH: Final = message(ClientType.FLUSH)
SYNC: Final = message(ClientType.SYNC)
