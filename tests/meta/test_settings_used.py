"""Every setting is read by the part that it names: a setting without effect misleads."""

from __future__ import annotations

import ast

import pytest

from config.fields import fields_of
from config.settings import SECTIONS
from tests.meta.repository import ROOT

PACKAGES = (
    *("proxy", "evolution", "engine", "rewrite"),
    *("backends", "catalog", "private_pg", "sample"),
)
# What is read through a property of its section.
READ_AS = {("metrics", "listen"): "address"}


def _reads() -> dict[str, set[str]]:
    """Name of an attribute → what its owners are called, over all packages but config."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    owner = ast.unparse(node.value).rpartition(".")[2]
                    found.setdefault(node.attr, set()).add(owner)
    return found


READS = _reads()
# How code names a section that it holds in a variable.
ALIASES = {
    "private_pg": {"private"},
    "auth": {"_settings", "settings"},
    "load": {"_settings", "settings", "limits"},
    "log": {"settings"},
    "merge": {"_settings", "settings", "limits"},
    "stores": {"_settings", "settings"},
    "changes": {"_settings"},
}


@pytest.mark.parametrize(
    ("section", "name"),
    [(section, field.name) for section, cls in SECTIONS.items() for field in fields_of(cls)],
)
def test_setting_is_read(section: str, name: str) -> None:
    owners = READS.get(READ_AS.get((section, name), name), set())
    assert owners & {section, *ALIASES.get(section, set())}, (
        f"{section}.{name} is read nowhere; wire it or remove it (read from: {sorted(owners)})"
    )
