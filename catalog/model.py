"""The model as values: columns, tables, versions, changes, the snapshot.

Everything here is immutable. A *version* is a whole model (all tables as they are seen in it). A
table keeps its id through all versions, a column keeps its id through renames and moves; ids are
never reused. Where a column's value lies is its `source`, a separate decision from its name and
type (DESIGN 1): moving it between document and physical column changes the source only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Stored:
    """A physical column of the store's table, with its exact PostgreSQL type.

    `field` is the key of the document that the column holds, "" when it was declared, not found.
    `plain`: the version's type differs from the store's, but only in what needs no conversion
    (varchar(10) of an old version over varchar(20)), so values pass as they are.
    `raw`: a lens lies over the column, or did. It is written as a lensed column is, so that one
    form of a statement is right before and after the two change roles (decision 0008).
    """

    column: str
    type: str
    field: str = ""
    plain: bool = False
    raw: bool = False

    def converts(self, sql_type: str) -> bool:
        """True when reading the column as `sql_type` needs a cast."""
        return self.type != sql_type and not self.plain


@dataclass(frozen=True, slots=True)
class DocPath:
    """A path inside the document column `_doc`; `clean` = every stored value fits the type."""

    path: tuple[str, ...]
    clean: bool = True


@dataclass(frozen=True, slots=True)
class Seed:
    """A generated column: `expression` as the client wrote it, over the columns of its own version.

    `depends` are the ids of the columns it reads. `column` is the generated column of the store's
    table that holds the values of one that is STORED, "" for a virtual one.
    """

    expression: str
    depends: tuple[int, ...] = ()
    column: str = ""


@dataclass(frozen=True, slots=True)
class ParentKey:
    """In a child table: the key column of the parent row (by the parent's column id)."""

    column_id: int


@dataclass(frozen=True, slots=True)
class Ordinality:
    """In a child table: the 1-based position of the element in the parent's array."""


@dataclass(frozen=True, slots=True)
class Element:
    """In a child table of scalars or objects: a path inside the array element; () = all of it."""

    path: tuple[str, ...]
    clean: bool = True


@dataclass(frozen=True, slots=True)
class Native:
    """A value in a row of a foreign table: `path` leads to it in the store, () is the whole row.

    `store_type` is the store's own word for its type ("objectId", "frozen<list<int>>", "int4"), or
    several with "|" between where documents differ. `clean` = every value fits the column's type.
    """

    path: tuple[str, ...]
    store_type: str = ""
    clean: bool = True


@dataclass(frozen=True, slots=True)
class Lensed:
    """Computed by the lens `lens` of the table: the column of the same id among its `over`.

    `field` and `plain` as for Stored. `path`: in a foreign table, where the value lies in a layout
    that has it as it is shown.
    """

    lens: int
    field: str = ""
    plain: bool = False
    path: tuple[str, ...] = ()


Source = Stored | DocPath | Seed | ParentKey | Ordinality | Element | Native | Lensed


@dataclass(frozen=True, slots=True)
class Column:
    """One column as one version shows it. `type` is SQL text as format_type() prints it."""

    id: int
    name: str
    type: str
    source: Source
    not_null: bool = False
    default: str | None = None
    comment: str | None = None
    identity: Literal["", "a", "d"] = ""


@dataclass(frozen=True, slots=True)
class Index:
    """An index: `definition` is the part after ON table, over the names of the defining version."""

    name: str
    unique: bool
    method: str
    definition: str
    store_name: str
    predicate: str = ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A table constraint in PostgreSQL's text, over the names of its version.

    A foreign key also says by id what it references: names differ between versions.
    """

    name: str
    kind: Literal["p", "u", "c", "f"]
    columns: tuple[int, ...]
    definition: str
    store_name: str = ""
    references: int = 0
    foreign_columns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lens:
    """How columns are read and written whose values the store keeps in another form (decision
    0008): `under` is what the store has (or the lens below: source Stored, DocPath or Lensed),
    `over` is what is shown.

    `up` has one SQL expression an over column, of exactly its type, where `"$1"`, `"$2"` … are the
    under columns; `down` one an under column, where they are the over columns. Both are pure. The
    source of an over column is Stored: its residue, the column of the store that keeps a value
    which `down` cannot give back (marked in `_r`, see catalog/lenses.py). Names are those of the
    version that made the lens.

    In a foreign table `under` is Native or Lensed, and the source of an over column is Native: its
    place in a layout that has the shown form. There is no residue: what `down` cannot give back is
    not taken (engine/lensed_columns.py).
    """

    id: int
    under: tuple[Column, ...]
    over: tuple[Column, ...]
    up: tuple[str, ...]
    down: tuple[str, ...]

    def over_column(self, column_id: int) -> int:
        """The position among `over` of the column with this id; ValueError if it is not there."""
        return [c.id for c in self.over].index(column_id)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: a foreign table, and what holds for its rows, as a condition in SQL over the
    columns of the partitioned table ("" where none can be written: HASH and DEFAULT); `bound` is
    what PostgreSQL calls it ("FOR VALUES IN ('eu')", "DEFAULT").
    """

    table_id: int
    condition: str
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Which rows of the store's table a table shows that others share with it (EVOLUTION 2, split
    table): those of table `of` for which `condition` is true, an SQL expression over `columns`,
    called `"$1"`, `"$2"` … (columns of the store). `told` is the condition as it was asked for.
    `keyed`: it shows other columns of rows that table `of` shows too, told apart by the same key
    (decompose); a row that is deleted here has NULL in `columns`.
    """

    of: int
    condition: str
    columns: tuple[str, ...] = ()
    told: str = ""
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A TableVersion: one table as one version shows it.

    `kind`: table (documents and/or physical columns), child (array of a parent's documents), view
    (client's CREATE VIEW; `definition` is its query), foreign (rows of another store). `store` is
    the physical table's name in the store schema ("" for child, view and foreign). `has_doc` says
    that the physical table has `_doc`.

    A foreign table lies in `instance` under `native`, the store's own name outermost part first
    (database and collection, keyspace and table, schema and table); `key` are the ids of the
    columns that identify a row there; `parent_path` is the array whose elements are its rows, ()
    for the store's rows themselves. `options` are (name, value) as CREATE FOREIGN TABLE took them.
    A partitioned table is foreign without an instance: its rows are those of its `partitions`, and
    `definition` says by what it is partitioned ("LIST (region)"). `lenses` are those that its
    columns need, each after the ones it lies over. `part`: it shows some of the store's rows.
    """

    id: int
    name: str
    kind: Literal["table", "child", "view", "foreign"]
    columns: tuple[Column, ...]
    store: str = ""
    has_doc: bool = False
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    parent_id: int = 0
    parent_path: tuple[str, ...] = ()
    definition: str = ""
    comment: str | None = None
    instance: str = ""
    native: tuple[str, ...] = ()
    key: tuple[int, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    partitions: tuple[Partition, ...] = ()
    lenses: tuple[Lens, ...] = ()
    part: Part | None = None

    def lens(self, lens_id: int) -> Lens:
        """The lens with this id; KeyError when the version does not use it."""
        for lens in self.lenses:
            if lens.id == lens_id:
                return lens
        raise KeyError(lens_id)

    @property
    def rows_of(self) -> int:
        """The id of the table whose rows it shows: its own but for a part."""
        return self.part.of if self.part is not None else self.id

    @property
    def partitioned(self) -> bool:
        """True for a foreign table that lies in its partitions."""
        return self.kind == "foreign" and not self.instance

    def column(self, name: str) -> Column | None:
        """The column called `name`, or None."""
        return next((c for c in self.columns if c.name == name), None)

    def column_by_id(self, column_id: int) -> Column | None:
        """The column with this id, or None when this version does not show it."""
        return next((c for c in self.columns if c.id == column_id), None)

    def key_constraint(self, name: str) -> Constraint | None:
        """The primary key or unique constraint called `name`, or None."""
        return next((c for c in self.constraints if c.name == name and c.kind in ("p", "u")), None)

    @property
    def primary_key(self) -> Constraint | None:
        """The primary key constraint, if there is one."""
        return next((c for c in self.constraints if c.kind == "p"), None)

    def with_column(self, column: Column) -> Table:
        """The table with the column of the same id replaced."""
        return replace(
            self, columns=tuple(column if c.id == column.id else c for c in self.columns)
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the whole model; `parent` is 0 for the first."""

    number: int
    parent: int
    tables: tuple[Table, ...]
    created_at: str = ""

    def table(self, name: str) -> Table | None:
        """The table called `name`, or None."""
        return next((t for t in self.tables if t.name == name), None)

    def table_by_id(self, table_id: int) -> Table | None:
        """The table with this id, or None."""
        return next((t for t in self.tables if t.id == table_id), None)

    def with_table(self, table: Table) -> Version:
        """The version with this table replaced, or added at the end."""
        if self.table_by_id(table.id) is None:
            return replace(self, tables=(*self.tables, table))
        return replace(self, tables=tuple(table if t.id == table.id else t for t in self.tables))

    def without_table(self, table_id: int) -> Version:
        """The version without this table."""
        return replace(self, tables=tuple(t for t in self.tables if t.id != table_id))


@dataclass(frozen=True, slots=True)
class CatalogSnapshot:
    """All versions at one epoch. `current` is what `public` shows, `head` the line's newest."""

    epoch: int
    current: int
    head: int
    versions: dict[int, Version] = field(hash=False)
    next_id: int = 1

    def version(self, number: int) -> Version:
        """The version with this number; KeyError if there is none."""
        return self.versions[number]
