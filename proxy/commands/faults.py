"""How a command says that it failed."""

from __future__ import annotations

import sys

from core.errors import MorphError


def report(error: MorphError) -> int:
    """Print an error as PostgreSQL's tools do; the exit status."""
    lines = [f"morphgres: {error.primary}"]
    if error.detail:
        lines.append(f"DETAIL:  {error.detail}")
    if error.hint:
        lines.append(f"HINT:  {error.hint}")
    sys.stderr.write("\n".join(lines) + "\n")
    return 1
