"""What users and contributors meet is documented: packages, settings, errors, links (R6.4)."""

from __future__ import annotations

import inspect
import re

from config.fields import Kind, fields_of
from config.settings import SECTIONS, env_name
from core import errors
from tests.meta.repository import BESIDE, PACKAGES, ROOT, files

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#[^)]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def test_the_architecture_page_has_every_package() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    assert [name for name in (*PACKAGES, *BESIDE) if f"`{name}`" not in page] == []


def test_every_setting_is_documented() -> None:  # R0.7
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    names = [
        env_name(section, field.key)
        for section, cls in SECTIONS.items()
        for field in fields_of(cls)
        if field.spec.kind is not Kind.TABLES
    ]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_error_class_says_when_it_is_raised() -> None:
    classes = [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, errors.MorphError)
    ]
    assert len(classes) > 30
    for found in classes:
        assert re.fullmatch(r"[0-9A-Z]{5}", found.sqlstate), found
        assert found.severity in {"ERROR", "FATAL"}
        text = found.__dict__.get("__doc__") or ""
        assert text.strip().endswith("."), found
    texts = [found.__doc__ for found in classes]
    assert len(set(texts)) == len(texts)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in files(".md")
        for target in LINK.findall(CODE.sub("", page.read_text("utf-8")))
        if not (page.parent / target).exists()
    ]
    assert broken == []
