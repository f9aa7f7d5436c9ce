"""The repository's files as the meta tests see them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "proxy",
    "evolution",
    "engine",
    "rewrite",
    "backends",
    "catalog",
    "private_pg",
    "config",
    "core",
    "sample",
)
BESIDE = ("tests", "bench")
SKIPPED = {"build", "dist", "__pycache__", "node_modules"}


def files(*suffixes: str) -> Iterator[Path]:
    """Files with one of the suffixes, in order; hidden and generated directories are left out."""
    stack = [ROOT]
    while stack:
        for path in sorted(stack.pop().iterdir()):
            if path.name.startswith(".") or path.name in SKIPPED or path.suffix == ".egg-info":
                continue
            if path.is_dir():
                stack.append(path)
            elif path.suffix in suffixes:
                yield path


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Every Python file, by its path from the root, parsed."""
    return tuple(
        (str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"), str(path)))
        for path in files(".py")
    )
