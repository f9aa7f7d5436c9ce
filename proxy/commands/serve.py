"""`morphgres serve`: start the private PostgreSQL and answer clients."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import uvloop

from config.loader import load_settings
from config.settings import Settings
from core.errors import MorphError
from core.telemetry import log
from proxy.commands.faults import report
from proxy.server import serve, serve_as_worker
from proxy.workers import worker_identity

EPILOG = """\
examples:
  morphgres serve --sample shop              a shop to play with, on 127.0.0.1:6432
  morphgres serve --config morphgres.toml    with a configuration file
  morphgres serve --data /var/lib/morph --port 5433 --workers 2
"""


def add_command(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "serve",
        help="serve PostgreSQL clients",
        description="Serve PostgreSQL clients over the embedded store.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (TOML)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on (default 6432)")
    parser.add_argument("--workers", type=int, help="worker processes that share the port")
    parser.add_argument("--sample", choices=["shop"], help="load this sample into an empty store")
    parser.set_defaults(run=run)


def settings_from(options: argparse.Namespace) -> Settings:
    """Flag > environment > file > default."""
    flags: dict[str, str | int | float | bool] = {}
    for name, key in (
        ("data", "data.directory"),
        ("host", "server.host"),
        ("port", "server.port"),
        ("workers", "server.workers"),
    ):
        value = getattr(options, name, None)
        if value is not None:
            flags[key] = str(value) if isinstance(value, Path) else value
    return load_settings(options.config, None, flags)


def _announce(host: str, port: int) -> None:
    sys.stdout.write(f"ready: psql -h {host} -p {port} -U morph morph\n")
    sys.stdout.flush()


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    try:
        settings = settings_from(options)
        log.configure(settings.log.level, settings.log.format)
        worker = worker_identity()
        if worker is not None:
            uvloop.run(serve_as_worker(settings, *worker))
        else:
            uvloop.run(serve(settings, _announce, sample=options.sample))
    except MorphError as error:
        return report(error)
    return 0
