"""The argument parser of all commands."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from proxy.commands import change, check, load, serve


def build_parser() -> argparse.ArgumentParser:
    """`morphgres` with its sub-commands."""
    parser = argparse.ArgumentParser(
        prog="morphgres",
        description="One PostgreSQL endpoint over document stores whose schemas never stand still.",
        epilog="Try: morphgres serve --sample shop, then: psql -h 127.0.0.1 -p 6432 -U morph morph",
    )
    parser.add_argument("--version", action="version", version=f"morphgres {version('morphgres')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (serve, load, change, check):
        module.add_command(commands)
    return parser
