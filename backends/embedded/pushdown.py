"""plan_scan of the embedded store: the ask as one SELECT over a version view.

Pure. The view reads documents and physical columns alike, so a predicate over a document field is
the same expression that the field's index was made with (backends/sql/rendering.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from backends.base import ScanAsk, ScanPlan
from backends.sql.rendering import NotRendered, Renderer
from backends.sql.selecting import SelectSource, plan_select
from catalog.model import Table
from catalog.sqltext import quote_ident, view_schema
from core.expr import Expr

KIND: Final = "embedded"

__all__ = ["KIND", "NotRendered", "plan_scan", "render"]


def plan_scan(table: Table, ask: ScanAsk) -> ScanPlan:
    """The native SELECT for the ask; what the judge does not call exact is left as residual."""
    names = {column.id: quote_ident(column.name) for column in table.columns}
    source = SelectSource(
        f"{view_schema(ask.version)}.{quote_ident(table.name)}",
        Renderer(names),
        names,
        names.__getitem__,
        store="the embedded store",
    )
    return plan_select(table, ask, source)


def render(expr: Expr, names: Mapping[int, str]) -> str:
    """The expression as SQL; `names` maps column ids to quoted names. Raises NotRendered."""
    return Renderer(names).render(expr)
