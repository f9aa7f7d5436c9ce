"""A number for what workers must know of layouts: it grows whenever a table gets one or loses one.

Workers hear of it on `REVISION_CHANNEL`, and say in `morph_log.workers` up to which they know it.
"""

from __future__ import annotations

from typing import Final

import asyncpg

REVISION_CHANNEL: Final = "morph_layouts"


async def bump(db: asyncpg.Connection) -> int:
    """What workers know of layouts is not right any more from COMMIT on; its number."""
    revision: int = await db.fetchval(
        "UPDATE morph_log.revision SET revision = revision + 1, at = clock_timestamp() "
        "RETURNING revision"
    )
    await db.execute(f"SELECT pg_notify('{REVISION_CHANNEL}', '{revision}')")
    return revision
