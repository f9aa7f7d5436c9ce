"""`morphgres check FILE`: every fault of a configuration file with its line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from config.loader import check_file
from core.errors import MorphError
from proxy.commands.faults import report


def add_command(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "check",
        help="check a configuration file",
        description="Check a configuration file: unknown keys, bad values, unreachable instances.",
        epilog="Example: morphgres check morphgres.toml",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the problems; 1 when there are any."""
    try:
        problems = check_file(options.file)
    except MorphError as error:
        return report(error)
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    if not problems:
        sys.stdout.write(f"{options.file}: good\n")
    return 1 if problems else 0
