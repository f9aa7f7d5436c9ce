"""`morphgres check FILE`: every fault of a configuration file with its line."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.instances import EMBEDDED, Instance
from config.loader import Examined, examine
from config.problem import Problem
from core.errors import MorphError
from engine.instances import OK, Instances
from proxy.commands.faults import report
from proxy.configured_instances import configured


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
        examined = examine(options.file, os.environ, {})
    except MorphError as error:
        return report(error)
    problems = examined.problems or asyncio.run(unreachable(examined, os.environ))
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    if not problems:
        sys.stdout.write(f"{options.file}: good\n")
    return 1 if problems else 0


async def unreachable(examined: Examined, env: Mapping[str, str]) -> list[Problem]:
    """The instances that do not answer, all asked at once."""
    settings = examined.settings
    wanted = [
        (f"instance[{number}]", configured(each))
        for number, each in enumerate(settings.instances, 1)
        if each.kind != EMBEDDED
    ]

    async def load() -> list[Instance]:
        return [instance for _, instance in wanted]

    instances = Instances(settings.stores, load, env)
    try:
        await instances.check()
    finally:
        await instances.close()
    problems = []
    for key, instance in wanted:
        health = instances.health(instance.name)
        text = health.text if health is not None else "was not asked"
        if text != OK:
            problems.append(examined.problem(key, f"cannot be used: {text}"))
    return problems
