"""Size, names, forbidden calls and texts (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.meta.repository import PACKAGES, ROOT, files, modules

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
# time and chance are parameters; these may ask the machine for them
IMPURE_BY_NATURE = ("core/clock.py", "sample/", "bench/", "tests/")
PRINTERS = ("proxy/main.py", "proxy/cli/", "proxy/commands/", "sample/", "bench/", "tests/")
BANNED_CALLS = {
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "sleep")),
    *(f"time.{name}" for name in ("perf_counter", "perf_counter_ns")),
    *(f"datetime.{name}" for name in ("now", "utcnow", "today")),
    "date.today",
}
BANNED_MODULES = {"time", "random"}
# written in pieces, or this file would find itself
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "HACK" + ":"]) + r")\b")
MACHINE_PATHS = re.compile("/" + "work/|/" + "root/")


def test_functions_are_short() -> None:
    long = [
        f"{path}:{node.lineno} {node.name} has {length} lines"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_files_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)} has {length} lines"
        for path in files(".py", ".sql")
        if (length := path.read_text("utf-8").count("\n")) > FILE_LINES_MAX
    ]
    assert long == []


def test_names_say_what_a_module_is() -> None:
    vague = [path for path, _ in modules() if VAGUE_NAMES & set(re.split(r"[/.]", path))]
    assert vague == []


def test_every_package_and_module_has_a_docstring() -> None:
    bare = [
        path
        for path, tree in modules()
        if path.startswith(PACKAGES) and not (ast.get_docstring(tree) or "").strip()
    ]
    assert bare == []


def test_every_directory_of_modules_is_a_package() -> None:
    directories = {path.parent for path in files(".py")} - {ROOT}
    assert [str(d) for d in directories if not (d / "__init__.py").is_file()] == []


def test_time_and_chance_are_parameters() -> None:
    wrong = [
        f"{path}:{line} {name}"
        for path, tree in modules()
        if not path.startswith(IMPURE_BY_NATURE)
        for name, line in _impurities(tree)
    ]
    assert wrong == []


def _impurities(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name in BANNED_MODULES]
            yield from ((f"import {name}", node.lineno) for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in BANNED_MODULES:
            yield f"from {node.module} import", node.lineno
        elif isinstance(node, ast.Attribute):
            called = ".".join(ast.unparse(node).split(".")[-2:])
            if called in BANNED_CALLS:
                yield called, node.lineno


def test_only_the_command_line_prints() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in modules()
        if not path.startswith(PRINTERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "pprint"}
    ]
    assert wrong == []


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE_PATHS], ids=["unfinished", "paths"])
def test_texts_that_do_not_belong_in_the_repository(pattern: re.Pattern[str]) -> None:
    named = [ROOT / name for name in ("Makefile", "Dockerfile") if (ROOT / name).is_file()]
    suffixes = (".py", ".md", ".toml", ".sql", ".yaml", ".yml", ".json", ".service", ".sh")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in [*files(*suffixes), *named]
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert wrong == []


@pytest.mark.parametrize("arguments", [["check", "--quiet"], ["format", "--check", "--quiet"]])
def test_ruff_is_content(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
