"""A DDL statement of a client, as the control plane gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from catalog.model import CatalogSnapshot, Table, Version
from catalog.sqltext import PUBLIC, quote_ident, shape_schema
from core.errors import MorphError, UndefinedTable
from evolution.transaction import Transaction
from rewrite.edits import Edit, Rendered, render
from rewrite.namespaces import Namespaces, Resolved
from rewrite.tree import Node, Tokens

if TYPE_CHECKING:
    from engine.instances import Instances
    from evolution.foreign_look import Look

DIRECT = "direct"


class Note(MorphError, sqlstate="00000"):
    """Something a client should know of its DDL: sent as a NOTICE, never raised."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What DDL led to: the snapshot of the transaction, the command tag, and notices.

    `fill` is a statement of the client that runs in the new catalog; its row count ends the tag.
    """

    snapshot: CatalogSnapshot
    tag: str
    notices: tuple[MorphError, ...] = ()
    fill: str = ""


@dataclass(frozen=True, slots=True)
class DdlRequest:
    """`text` is the whole text of the client, the statement lies at [start, end).

    `pending` is the number of the version that this transaction already made, 0 for none. `look`
    is what a store said before the statement began (evolution/foreign_look.py).
    """

    tx: Transaction
    snapshot: CatalogSnapshot
    namespaces: Namespaces
    node: Node
    text: str
    start: int
    end: int
    mode: str
    actor: str
    pending: int
    instances: Instances | None = None
    look: Look | None = None
    tokens: Tokens = field(init=False)
    rendered: dict[str, Rendered] = field(default_factory=dict)
    store_names: dict[str, str] = field(default_factory=dict)  # c<id> → name, of new columns

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", Tokens(self.text))

    @property
    def statement(self) -> str:
        """The statement's own text."""
        return self.text[self.start : self.end]

    def splice(self, edits: list[Edit]) -> Rendered:
        """The statement with edits, positions as in the client's text."""
        inside = [e for e in edits if self.start <= e.start and e.end <= self.end]
        padded = " " * self.start + self.statement
        result = render(padded, inside)
        self.rendered[result.text] = result
        return result

    @property
    def direct(self) -> bool:
        """True when the change is promoted at once (morph.ddl_mode = direct)."""
        return self.mode == DIRECT

    def find(self, relation: Node, *, missing_ok: bool = False) -> Resolved | None:
        """The store table of a RangeVar; UndefinedTable when there is none and it must be."""
        if missing_ok:
            return self.namespaces.resolve(relation.schemaname, relation.relname)
        return self.resolve(relation.schemaname, relation.relname)

    def skipped(self, tag: str, message: str, kind: type[MorphError] = Note) -> Outcome:
        """Nothing happened, because of IF [NOT] EXISTS; `kind` gives the notice its SQLSTATE."""
        return Outcome(self.snapshot, tag, (kind(f"{message}, skipping"),))

    def on_shapes(self, number: int, table: str, action: str) -> list[str]:
        """ALTER TABLE on the shapes of a table in one version."""
        schemas = [shape_schema(number)]
        if number == self.snapshot.current:
            schemas.append(PUBLIC)
        return [f"ALTER TABLE {quote_ident(s)}.{quote_ident(table)} {action}" for s in schemas]

    def resolve(self, schema: str | None, name: str) -> Resolved:
        """The store table that a name means; UndefinedTable (42P01) when there is none."""
        found = self.namespaces.resolve(schema, name)
        if found is None:
            raise UndefinedTable(f'relation "{name}" does not exist')
        return found

    @property
    def head(self) -> Version:
        """The version that DDL builds on."""
        return self.snapshot.versions[self.snapshot.head]

    def on_head(self, found: Resolved) -> Table:
        """The table of a resolved name as the head of the line has it."""
        table = self.head.table_by_id(found.table.id)
        if table is None:
            raise UndefinedTable(
                f'relation "{found.table.name}" does not exist in version {self.head.number}',
                detail="DDL builds on the newest version, which has dropped it.",
            )
        return table

    @property
    def number(self) -> int:
        """The number of the version that this statement makes."""
        return self.pending or max(self.snapshot.versions) + 1

    @property
    def parent(self) -> int:
        """The parent of that version."""
        if self.pending:
            return self.snapshot.versions[self.pending].parent
        return self.snapshot.head
