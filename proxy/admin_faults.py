"""How the control plane's connection to the private PostgreSQL says that it broke."""

from __future__ import annotations

from typing import Final

import asyncpg

ADMIN_FAULTS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""asyncpg says it in many ways; a PostgresError may be about the statement, too."""
_GONE: Final = ("57", "08")
"""Operator intervention and connection exception, as classes of SQLSTATE."""


def says_gone(error: BaseException) -> bool:
    """Whether one of them is about the connection, not about the statement."""
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate is None or sqlstate[:2] in _GONE
