"""CPU time and memory of processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def family(pid: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))) is not None:
            parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_us(pids: Iterable[int], *, reaped: bool = False) -> float:
    """utime + stime of processes; with `reaped` also of their children that are gone."""
    ticks = 0
    for pid in pids:
        fields = _fields(pid)
        if fields is not None:
            ticks += sum(int(f) for f in fields[11 : 15 if reaped else 13])
    return ticks * _TICK_US


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: `pss` counts shared pages once, `rss` once a process."""

    pss: int
    rss: int


def memory(pids: Iterable[int]) -> Memory:
    """What processes keep in memory together."""
    pss = rss = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            if name in ("Pss", "Rss"):
                size = int(rest.split()[0]) * 1024
                pss, rss = (pss + size, rss) if name == "Pss" else (pss, rss + size)
    return Memory(pss, rss)


def resident(pid: int) -> int:
    """Resident bytes of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
