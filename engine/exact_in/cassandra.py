"""What Cassandra answers exactly as the private PostgreSQL does."""

from __future__ import annotations

from typing import Final

from engine.exact_in.verdicts import StoreVerdicts

CASSANDRA: Final[tuple[StoreVerdicts, ...]] = ()
