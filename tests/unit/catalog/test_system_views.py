"""The registry of system views, and the page made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.system_views import SYSTEM_VIEWS, reference
from catalog.system_views.view import SystemView

PAGE = Path(__file__).parents[3] / "docs" / "system-views.md"


@pytest.mark.parametrize("view", SYSTEM_VIEWS, ids=lambda v: v.name)
def test_every_column_says_what_it_means(view: SystemView) -> None:  # R6.2
    names = [name for name, _ in view.columns]
    assert len(set(names)) == len(names)
    assert all(about.endswith(".") for _, about in view.columns), view.name
    statements = view.statements()
    assert statements[1].startswith(f"CREATE VIEW morph.{view.name} AS")
    assert sum(s.startswith("COMMENT ON COLUMN") for s in statements) == len(names)


def test_the_page_is_that_of_the_registry() -> None:  # R6.2
    assert PAGE.read_text() == reference(), "python -m catalog.system_views > docs/system-views.md"
