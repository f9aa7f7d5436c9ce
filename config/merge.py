"""Section `merge`: how rows from the stores reach the private PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.fields import GB, KB, MB, TB, integer, size


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How rows from the stores reach the private PostgreSQL."""

    small_rows_max: Annotated[
        int,
        integer(
            "Up to so many rows go as binary arrays, more by COPY BINARY.",
            0,
            1_000_000,
            unit="rows",
        ),
    ] = 1000
    semi_join_keys_max: Annotated[
        int,
        integer(
            "Up to so many keys of one side of a join go into the scan of the other side's store.",
            0,
            1_000_000,
            unit="keys",
        ),
    ] = 10_000
    lookup_rows_min: Annotated[
        int,
        integer(
            "From so many rows of its table on, a LIMIT over a join within one store is left to it;"
            " below, both sides are fetched.",
            0,
            1_000_000_000,
            unit="rows",
        ),
    ] = 100_000
    batch_bytes: Annotated[int, size("Bytes of one batch from a store.", 4 * KB, 256 * MB)] = MB
    memory_max: Annotated[
        int, size("Memory of one statement for rows on their way (53200 above it).", MB, TB)
    ] = 256 * MB
    spill_max: Annotated[
        int,
        size("Disk that one statement may use for merged rows.", MB, 64 * TB, zero="no spill"),
    ] = 4 * GB
