"""Section `plan`: the cache of rewritten statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.fields import DAY, GB, KB, MB, duration, integer, size


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """The cache of rewritten statements."""

    cache_entries: Annotated[
        int, integer("Statements kept, least recently used goes first; 0 = no cache.", 0, 1_000_000)
    ] = 4096
    cache_text_bytes_max: Annotated[
        int, size("Longer statement texts are planned each time and not kept.", 0, 16 * MB)
    ] = 32 * KB
    apart_bytes_min: Annotated[
        int,
        size(
            "Longer statement texts are planned by a process of their own: nobody else waits.",
            KB,
            GB,
        ),
    ] = 32 * KB
    apart_processes: Annotated[
        int, integer("Processes that plan long texts, of one worker; more texts wait.", 1, 64)
    ] = 2
    apart_timeout: Annotated[
        float, duration("A text that takes longer to plan gets 54000.", 1, DAY)
    ] = 600.0
