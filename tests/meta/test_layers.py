"""Imports point down, and pure modules reach for no I/O (CONTRIBUTING.md, docs/ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator

from tests.meta.repository import BESIDE, PACKAGES, ROOT, modules

# what is decided from values alone: no sockets, processes, drivers, event loop
PURE = ("rewrite/", "proxy/protocol/", "proxy/auth/", "core/expr.py", "core/encoding/")
IMPURE_MODULES = {
    "asyncio", "asyncpg", "http", "multiprocessing", "os", "selectors", "signal", "socket",
    "socketserver", "ssl", "subprocess", "threading", "time", "urllib", "uvloop",
}  # fmt: skip


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_package_is_in_a_layer_and_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tool = project["tool"]
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - set(BESIDE)
    assert found == set(PACKAGES)
    assert set(tool["importlinter"]["root_packages"]) == found
    layers = " | ".join(tool["importlinter"]["contracts"][0]["layers"])
    assert {name.strip() for name in layers.split("|")} == found
    assert set(tool["mypy"]["packages"]) == found
    shipped = tool["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in shipped} == found


def test_pure_modules_import_no_io() -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path, tree in modules()
        if path.startswith(PURE)
        for name, line in _imports(tree)
        if name.partition(".")[0] in IMPURE_MODULES
    ]
    assert wrong == []


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno
