"""Every member of a kind has all steps of its recipe (docs/recipes)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from backends.embedded import types as embedded_types
from backends.stores import KINDS
from catalog.system_views import SYSTEM_VIEWS, SystemView
from config.fields import Kind, fields_of
from config.reference import EXAMPLE_PATH
from config.settings import SECTIONS
from core.encoding.family import family_of
from core.types import TYPES, PgType, type_by_name
from engine.exactness import BACKENDS
from evolution.ddl import _BY_KIND
from evolution.foreign_options import NAMINGS
from evolution.seeds.library import GENERATORS, Generator
from proxy import ddl as proxy_ddl
from rewrite.analysis import _DDL, _FOREIGN
from rewrite.rules import RULES, Rule
from tests.meta.repository import ROOT
from tests.unit.core.encoding.cases import CASES

RECIPES = ROOT / "docs" / "recipes"
RULE_MODULES = sorted(p.stem for p in (ROOT / "rewrite" / "rules").glob("[a-z]*.py"))
# the bundled server is built without libxml; no value of type unknown is ever sent
WITHOUT_JUDGE = {"xml", "unknown"}
STORES = sorted(p.parent.name for p in (ROOT / "backends").glob("*/pushdown.py"))


def _text(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text("utf-8")


def _modules(directory: Path) -> set[str]:
    return {p.stem for p in directory.glob("[a-z]*.py")}


def _imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found = (n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom))
    return {module.rpartition(".")[2] for module in found if module}


def test_every_recipe_is_a_numbered_checklist_and_in_the_list() -> None:
    index = _text("docs", "recipes", "README.md")
    pages = [p for p in RECIPES.glob("*.md") if p.name != "README.md"]
    assert len(pages) >= 7
    for page in pages:
        assert f"({page.name})" in index, page.name
        steps = re.findall(r"^(\d+)\. ", page.read_text("utf-8"), re.MULTILINE)
        assert steps == [str(n) for n in range(1, len(steps) + 1)], page.name
        assert len(steps) >= 4, page.name


# ------------------------------------------------------------------ backends


@pytest.mark.parametrize("store", STORES)
def test_backend(store: str) -> None:
    package = ROOT / "backends" / store
    assert (package / "__init__.py").is_file()
    assert {"types", "pushdown"} <= _modules(package)
    assert store in BACKENDS
    assert (ROOT / "tests" / "golden" / "pushdown" / f"{store}.txt").is_file()
    assert (ROOT / "tests" / "unit" / "backends" / store / "test_pushdown.py").is_file()
    assert f"`{store}/`" in _text("docs", "packages", "backends.md")
    assert store in _text("config", "instance.py")
    if store == "embedded":
        return  # it lies in the private PostgreSQL itself
    assert store in KINDS
    assert store in NAMINGS
    assert (package / "backend.py").is_file()
    assert (ROOT / "tests" / "services" / "conformance" / f"subject_{store}.py").is_file()
    assert (ROOT / "tests" / "services" / store / "test_exactness.py").is_file()
    assert (ROOT / "docs" / "backends" / f"{store}.md").is_file()


def test_types_of_documents_have_an_arrow_carrier() -> None:
    for row in embedded_types.TYPES:
        assert type_by_name(row.name) is not None, row.name


# ------------------------------------------------------------------ kinds of change


@pytest.mark.parametrize("kind", sorted(_BY_KIND))
def test_change_kind(kind: str) -> None:
    handler = _BY_KIND[kind]
    assert handler.__module__.startswith("evolution.")
    known = {cls.__name__ for cls in (*_DDL, *_FOREIGN)}
    defines = _text("rewrite", "analysis.py").partition("def _defines")[2].partition("\ndef ")[0]
    assert kind in known or f"ast.{kind}" in defines


# ------------------------------------------------------------------ rewrite rules


def test_every_rule_is_in_the_table() -> None:
    page = _text("docs", "recipes", "rewrite-rule.md")
    documented = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert documented == [rule.__name__ for rule in RULES]


@pytest.mark.parametrize("module", RULE_MODULES)
def test_rule_module_is_registered(module: str) -> None:
    registered = {rule.__module__.rpartition(".")[2] for rule in RULES}
    if module not in registered:
        rules = ROOT / "rewrite" / "rules"
        assert any(module in _imported(rules / f"{name}.py") for name in registered), module


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_has_golden_cases(rule: Rule) -> None:
    golden = ROOT / "tests" / "golden" / "rewrite"
    refuses = f'"{rule.__name__}"' in _text("tests", "golden", "rewrite", "test_rules.py")
    assert refuses or (golden / f"{rule.__name__}.sql").is_file()


# ------------------------------------------------------------------ types


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row.typname)
def test_type(row: PgType) -> None:
    assert family_of(row) is not None
    if row.typname in WITHOUT_JUDGE:
        return
    cases = {type_by_name(case.type).oid for case in CASES}
    assert row.oid in cases, "no values in tests/unit/core/encoding/cases.py"
    for case in CASES:
        if type_by_name(case.type).oid == row.oid:
            assert case.fitting or case.wide


# ------------------------------------------------------------------ operations


def _operations() -> set[str]:
    tables = (v for k, v in vars(proxy_ddl).items() if k in ("_CALLS", "_MOVES"))
    return {name for table in tables for name in table}


def test_every_operation_is_in_the_table() -> None:
    page = _text("docs", "recipes", "operation.md")
    documented = re.findall(r"^\| `morph\.(\w+)\(", page, re.MULTILINE)
    assert set(documented) == _operations()


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_settings_are_in_the_example_and_the_reference(section: str) -> None:
    example = EXAMPLE_PATH.read_text("utf-8")
    reference = _text("docs", "configuration.md")
    assert f"[{section}]" in example
    for field in fields_of(SECTIONS[section]):
        if field.spec.kind is Kind.TABLES:
            continue
        assert re.search(rf"^#? ?{field.key} = ", example, re.MULTILINE), field.key
        assert f"| `{field.key}` |" in reference, field.key


# ------------------------------------------------------------------ system views


def test_every_module_of_a_system_view_is_registered() -> None:
    modules = _modules(ROOT / "catalog" / "system_views") - {"view"}
    assert modules == {view.name for view in SYSTEM_VIEWS}


@pytest.mark.parametrize("view", SYSTEM_VIEWS, ids=lambda view: view.name)
def test_system_view_is_documented(view: SystemView) -> None:
    page = _text("docs", "system-views.md")
    section = page.partition(f"## morph.{view.name}\n")[2].partition("\n## ")[0]
    assert view.about in section
    documented = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    assert tuple(documented) == view.columns


# ------------------------------------------------------------------ generators


def test_every_module_of_a_generator_is_registered() -> None:
    library = ROOT / "evolution" / "seeds" / "library"
    modules = {
        path.stem
        for path in library.glob("[a-z]*.py")
        if re.search(
            r"^[A-Z0-9_]+(: Generator)? = Generator\(", path.read_text("utf-8"), re.MULTILINE
        )
    }
    assert modules == {generator.name for generator in GENERATORS}


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.name)
def test_generator_is_documented(generator: Generator) -> None:
    assert f"## morph.{generator.name}\n" in _text("docs", "generators.md")
    assert f"morph.{generator.name}" in _text("tests", "differential", "test_seed_library.py") or (
        generator.examples
    )
