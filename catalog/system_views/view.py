"""What a system view is: a name, what it tells, and its query over `morph_catalog`."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.sqltext import quote_literal


@dataclass(frozen=True, slots=True)
class SystemView:
    """One view of schema `morph`; `columns` are (name, meaning) in order."""

    name: str
    about: str
    columns: tuple[tuple[str, str], ...]
    query: str

    def statements(self) -> list[str]:
        """DDL that makes the view anew."""
        target = f"morph.{self.name}"
        made = [
            f"DROP VIEW IF EXISTS {target}",
            f"CREATE VIEW {target} AS {self.query}",
            f"COMMENT ON VIEW {target} IS {quote_literal(self.about)}",
            f"GRANT SELECT ON {target} TO morph_client",
        ]
        return made + [
            f"COMMENT ON COLUMN {target}.{name} IS {quote_literal(about)}"
            for name, about in self.columns
        ]
