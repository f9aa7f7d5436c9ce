"""`morphgres load FILE… --table T`: load documents."""

from __future__ import annotations

import argparse
from typing import Any


def add_command(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("load", help="load documents into a table")
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--table", required=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Load the files."""
    del options
    return 0
