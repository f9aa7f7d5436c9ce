"""Defaults of a client's session in the private PostgreSQL, as settings of the database.

A setting of the database is weaker than one of a role or of the start-up packet, so a client's own
wishes win, and RESET comes back to it. The control plane's role has none of these limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def session_default_statements(
    database: str, superuser: str, timeouts_s: Mapping[str, float]
) -> Iterable[str]:
    """Statements that make `timeouts_s` (setting → seconds, 0 = off) the defaults of sessions."""
    for name, seconds in timeouts_s.items():
        milliseconds = round(seconds * 1000)
        if milliseconds:
            yield f"ALTER DATABASE {database} SET {name} = {milliseconds}"
        else:
            yield f"ALTER DATABASE {database} RESET {name}"
        yield f"ALTER ROLE {superuser} SET {name} = 0"
