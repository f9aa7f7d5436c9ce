"""Runs the SQL of a Markdown page through psql and compares what it prints with the page."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PAIR = re.compile(r"```sql\n(?P<sql>.*?)```\n\n```text\n(?P<text>.*?)```", re.DOTALL)
TIMEOUT_S = 120


@dataclass(frozen=True)
class Step:
    """One block of SQL and the output that the page shows."""

    sql: str
    shown: str
    start: int
    end: int


def read_steps(page: str) -> list[Step]:
    """All pairs of an sql and a text block; positions are those of the text block's content."""
    return [Step(m["sql"], m["text"], m.start("text"), m.end("text")) for m in _PAIR.finditer(page)]


def run_steps(psql: Path, host: str, port: int, steps: list[Step]) -> list[str]:
    """What psql prints for each step, in one session."""
    script = "".join(f"{step.sql}\n\\echo @@end\n\\warn @@end\n" for step in steps)
    result = subprocess.run(
        [psql, "-X", "-h", host, "-p", str(port), "-U", "morph", "-d", "morph"],
        input=script,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={"LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"},
    )
    out = result.stdout.split("@@end\n")
    err = result.stderr.split("@@end\n")
    return [_join(e, o) for e, o in zip(err, out, strict=True)][: len(steps)]


def _join(err: str, out: str) -> str:
    """Messages first: psql writes them to another stream, so their place is lost."""
    text = err + out
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def replace_outputs(page: str, steps: list[Step], outputs: list[str]) -> str:
    """The page with the outputs put in."""
    for step, output in reversed(list(zip(steps, outputs, strict=True))):
        page = page[: step.start] + output + page[step.end :]
    return page
