"""The scratch copy (decision 0003): the tables that a statement concerns, empty, in a schema of
their own, with the views over them and the foreign keys among them. PostgreSQL runs the client's
statement there; what it became is read back.

Virtual columns are ordinary ones in the copy, so that new ones may read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog import shapes
from catalog.model import Seed, Stored, Table, Version
from catalog.sqltext import quote_ident, shape_schema
from evolution.dependents import dependent_views, linked_tables, with_children
from evolution.introspect import SCRATCH, ScratchTable, read_scratch, scratch_path
from evolution.request import DdlRequest
from rewrite.edits import Edit, replace_text
from rewrite.tree import Node


def relation_edit(request: DdlRequest, relation: Node, name: str) -> Edit:
    """Put the scratch table where the statement names the client's."""
    chain = request.tokens.name_chain(relation.location)
    text = f"{quote_ident(SCRATCH)}.{quote_ident(name)}"
    return replace_text(chain[0].start, chain[-1].end, text)


def plain_table_edit(request: DdlRequest) -> Edit:
    """ALTER TABLE instead of ALTER FOREIGN TABLE."""
    word = request.tokens.items[request.tokens.index_at(request.start) + 1]
    return replace_text(word.start, word.end, "")


def _plain(table: Table, copied: set[int], *, converts: bool) -> Table:
    columns = tuple(
        replace(c, source=Stored(f"c{c.id}", c.type)) if isinstance(c.source, Seed) else c
        for c in table.columns
    )
    constraints = tuple(
        c for c in table.constraints if c.kind != "f" or (c.references and c.references in copied)
    )
    if converts and table.kind == "foreign" and not table.partitioned:
        return replace(table, columns=columns, constraints=(), kind="table")
    return replace(table, columns=columns, constraints=constraints)


class ScratchCopy:
    """A copy of what `ids` and their dependents are in the head of the line.

    `before` and `after` are the scratch relations by oid, `tables` the model's by the same oid.
    `converts`: foreign tables are ordinary ones in the copy, because PostgreSQL takes no USING for
    a foreign one and looks for no cast.
    """

    def __init__(self, request: DdlRequest, ids: set[int], *, converts: bool = False) -> None:
        self._request = request
        self._converts = converts
        head = request.head
        wanted = with_children(head, ids)
        wanted |= linked_tables(head, wanted)
        base = [t for t in head.tables if t.kind != "view" and t.id in wanted]
        views = [t for t in head.tables if t.kind == "view" and t.id in ids]
        views += dependent_views(request.snapshot, head, ids)
        self._relations = [*base, *views]
        self.before: dict[int, ScratchTable] = {}
        self.after: dict[int, ScratchTable] = {}
        self.tables: dict[int, Table] = {}

    async def open(self) -> None:
        """Make the copy."""
        head = self._request.head
        await self._request.tx.apply(
            [
                f"CREATE SCHEMA {SCRATCH}",
                scratch_path(shape_schema(head.number)),
                *self._statements(head),
            ]
        )
        self.before = await read_scratch(self._request.tx, shape_schema(head.number))
        by_name = {t.name: t for t in self._relations}
        self.tables = {oid: by_name[found.name] for oid, found in self.before.items()}

    def _statements(self, head: Version) -> list[str]:
        copied = {t.id for t in self._relations}
        plain = [_plain(t, copied, converts=self._converts) for t in self._relations]
        part = Version(head.number, 0, tuple(plain))
        statements: list[str] = []
        for table in plain:
            if table.kind != "view":
                statements += shapes.scratch_statements(SCRATCH, part, table)
        statements += shapes.shape_foreign_keys(SCRATCH, [t for t in plain if t.kind != "view"])
        for view in plain:
            if view.kind == "view":
                names = ", ".join(quote_ident(c.name) for c in view.columns)
                target = f"{SCRATCH}.{quote_ident(view.name)}"
                statements.append(f"CREATE VIEW {target} ({names}) AS {view.definition}")
                statements += shapes.comments(target, view)
        return statements

    async def run(self, statements: Sequence[str]) -> None:
        """Run statements on the copy, read it, remove it."""
        schema = shape_schema(self._request.head.number)
        await self._request.tx.apply([scratch_path(schema), *statements])
        self.after = await read_scratch(self._request.tx, schema)
        await self._request.tx.apply([f"DROP SCHEMA {SCRATCH} CASCADE"])
