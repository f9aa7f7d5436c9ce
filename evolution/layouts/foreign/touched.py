"""What this process did to a layout lately: under which epoch it drew the last position."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Touched:
    """Of one table; `epoch` is 0 when a command of ours may still be on its way."""

    epoch: int = 0
