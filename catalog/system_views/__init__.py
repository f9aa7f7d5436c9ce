"""The system views of schema `morph`, one file each, in the order in which they are made."""

from __future__ import annotations

from catalog.system_views.change_steps import CHANGE_STEPS
from catalog.system_views.changes import CHANGES
from catalog.system_views.columns import COLUMNS
from catalog.system_views.discrepancies import DISCREPANCIES
from catalog.system_views.drift_events import DRIFT_EVENTS
from catalog.system_views.instances import INSTANCES
from catalog.system_views.progress import PROGRESS
from catalog.system_views.seeds import SEEDS
from catalog.system_views.sessions import SESSIONS
from catalog.system_views.statements import STATEMENTS
from catalog.system_views.table_parts import TABLE_PARTS
from catalog.system_views.tables import TABLES
from catalog.system_views.validation_reports import VALIDATION_REPORTS
from catalog.system_views.versions import VERSIONS
from catalog.system_views.view import SystemView

SYSTEM_VIEWS: tuple[SystemView, ...] = (
    VERSIONS,
    TABLES,
    TABLE_PARTS,
    COLUMNS,
    CHANGES,
    CHANGE_STEPS,
    PROGRESS,
    VALIDATION_REPORTS,
    DISCREPANCIES,
    SEEDS,
    DRIFT_EVENTS,
    INSTANCES,
    SESSIONS,
    STATEMENTS,
)


def system_views_sql() -> str:
    """DDL of all views, to be run as morph_owner."""
    return ";\n".join(s for view in SYSTEM_VIEWS for s in view.statements())


def reference() -> str:
    """docs/system-views.md."""
    parts = [
        "# System views\n\nThe views of schema `morph`, as `\\d+ morph.<view>` describes them. "
        "This page is made by `python -m catalog.system_views`.\n"
    ]
    for view in sorted(SYSTEM_VIEWS, key=lambda v: v.name):
        rows = "\n".join(f"| `{name}` | {about} |" for name, about in view.columns)
        parts.append(
            f"## morph.{view.name}\n\n{view.about}\n\n| column | meaning |\n| --- | --- |\n{rows}\n"
        )
    return "\n".join(parts)
