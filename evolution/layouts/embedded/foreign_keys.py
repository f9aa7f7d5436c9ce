"""Foreign keys from and to the tables of a cut-over: they move from the old layout to the new one.

Made NOT VALID, because the rows are those that the old ones held for; validated after the flip,
while clients work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from catalog.model import Lens, Stored
from catalog.sqltext import quote_ident
from evolution.layouts.embedded.tables import qualified

_KEYS: Final = """
SELECT k.conname AS name, r.relname AS source, f.relname AS target,
  pg_get_constraintdef(k.oid) AS text
FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid JOIN pg_class f ON f.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0 AND r.relnamespace = 'morph_store'::regnamespace
  AND (r.relname = ANY ($1) OR f.relname = ANY ($1))
ORDER BY k.oid
"""
_TEXT: Final = re.compile(
    r"FOREIGN KEY \((?P<ours>[^)]*)\) REFERENCES (?P<table>[^(]+)\((?P<theirs>[^)]*)\)(?P<rest>.*)",
    re.DOTALL,
)
_NAME: Final = re.compile(r'"(?:[^"]|"")+"|\w+')
Columns = Mapping[str, Mapping[str, str]]
"""Store table → column that becomes residue → column that is stored for it."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of `source` that references `target`, names of the store."""

    name: str
    source: str
    target: str
    text: str

    def drop(self) -> str:
        """The statement that removes it."""
        return f"ALTER TABLE {qualified(self.source)} DROP CONSTRAINT {quote_ident(self.name)}"

    def moved(self, tables: Mapping[str, str], columns: Columns) -> ForeignKey:
        """The key between the layouts that serve afterwards."""
        match = _TEXT.fullmatch(self.text)
        assert match is not None, self.text
        ours, theirs = columns.get(self.source, {}), columns.get(self.target, {})
        source = tables.get(self.source, self.source)
        target = tables.get(self.target, self.target)
        rest = match["rest"].replace(" NOT VALID", "")
        text = (
            f"FOREIGN KEY ({_renamed(match['ours'], ours)}) REFERENCES {qualified(target)} "
            f"({_renamed(match['theirs'], theirs)}){_renamed(rest, ours)}"
        )
        return ForeignKey(self.name, source, target, text)

    def add(self) -> str:
        """The statement that makes it, without looking at the rows."""
        return (
            f"ALTER TABLE {qualified(self.source)} ADD CONSTRAINT {quote_ident(self.name)} "
            f"{self.text} NOT VALID"
        )

    def validate(self) -> str:
        """The statement that looks at the rows."""
        return f"ALTER TABLE {qualified(self.source)} VALIDATE CONSTRAINT {quote_ident(self.name)}"


def _renamed(text: str, columns: Mapping[str, str]) -> str:
    return _NAME.sub(lambda found: columns.get(found[0].strip('"'), found[0]), text)


async def read_keys(db: asyncpg.Connection, tables: Sequence[str]) -> list[ForeignKey]:
    """The foreign keys from and to these store tables."""
    rows = await db.fetch(_KEYS, list(tables))
    return [ForeignKey(r["name"], r["source"], r["target"], r["text"]) for r in rows]


async def unvalidated(db: asyncpg.Connection, tables: Sequence[str]) -> list[ForeignKey]:
    """Those that were not validated yet."""
    return [k for k in await read_keys(db, tables) if k.text.endswith(" NOT VALID")]


def partners(keys: Sequence[ForeignKey], tables: Sequence[str]) -> list[str]:
    """The other tables at their ends."""
    ends = {name for key in keys for name in (key.source, key.target)}
    return sorted(ends - set(tables))


def key_columns(lenses: Sequence[Lens]) -> dict[str, str]:
    """By which column a foreign key goes on, for columns that become residue."""
    return {
        lens.under[0].source.column: lens.over[0].source.column
        for lens in lenses
        if len(lens.under) == len(lens.over) == 1
        and isinstance(lens.under[0].source, Stored)
        and isinstance(lens.over[0].source, Stored)
    }
