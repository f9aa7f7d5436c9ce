"""What of a client's messages can name a table."""

from __future__ import annotations

import re
from typing import Final

from proxy.protocol.message_types import ClientType

_NO_TABLES: Final = re.compile(
    rb"\s*(set|reset|show|begin|start|commit|end|rollback|abort|savepoint|release|discard|deallocate)\b"
    rb"[^;]*;?\s*\Z",
    re.IGNORECASE,
)


def may_name_tables(kind: int, body: bytes) -> bool:
    """False for what names no table: SET TRANSACTION must be the first query of its transaction,
    so nothing may be asked of the backend before it.
    """
    if kind == ClientType.QUERY:
        return _NO_TABLES.match(body.rstrip(b"\0")) is None
    if kind == ClientType.PARSE:
        return _NO_TABLES.match(body.partition(b"\0")[2].partition(b"\0")[0]) is None
    return False
