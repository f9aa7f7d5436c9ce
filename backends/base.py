"""The seam between the engine and the stores.

A store speaks the closed expression IR of `core/expr.py` and Arrow batches; it never sees SQL trees
of a client. Deciding is apart from doing: `plan_scan` is pure (a table and an ask in, a native
query and what is left out), so pushdown is tested with golden files and no server; `scan`, `apply`,
`observe`, `perform` and `close` do I/O under the deadline of a `Scope`.

Invariants: a plan takes only conjuncts that the ask's judge calls exact; `taken` and `residual`
together are the asked predicate; a wrong guess costs speed, never rows (compare Trino's applyFilter
with its remaining filter, DataFusion's Exact/Inexact/Unsupported).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from catalog.model import Column, Table
from core.errors import FeatureNotSupported
from core.expr import Expr

if TYPE_CHECKING:
    import pyarrow as pa

    from backends.change_store import ChangeStore


@dataclass(frozen=True, slots=True)
class Exact:
    """The store's operation gives PostgreSQL's answer, bit for bit, on every value."""


@dataclass(frozen=True, slots=True)
class ExactWithRewrite:
    """Exact when the store's pushdown writes it by the rewrite of this name."""

    rewrite: str


@dataclass(frozen=True, slots=True)
class No:
    """Not to be pushed; `reason` is a phrase for EXPLAIN (VERBOSE)."""

    reason: str


Exactness = Exact | ExactWithRewrite | No
Judge = Callable[[Expr], Exactness]

EXACT = Exact()

Few: TypeAlias = "list[tuple[object, ...]] | pa.RecordBatch"
"""Rows of plain values, or a batch."""


def judge_nothing(_: Expr) -> Exactness:
    """The judge of an ask that names none: nothing is exact."""
    return No("no exactness table was given")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do at all, as data; the exactness table says what it does exactly."""

    predicate: bool = False
    limit: bool = False
    order: bool = False
    transactions: bool = False
    change_feed: bool = False
    session_transaction: bool = False
    """Statements run inside the client's own transaction (the embedded store)."""
    relays_copy_binary: bool = False
    """Its COPY BINARY can go into the private PostgreSQL as it is, without Arrow between."""
    aggregate: bool = False
    keys: bool = False
    """`column = ANY (array)` over thousands of keys is cheap: semi-joins go into its scans."""
    writes: bool = False
    savepoints: bool = False
    """Its transactions can go back to a savepoint."""
    rekeys: bool = False
    """The key of a row can be changed."""
    completes: bool = False
    """`apply` can give rows back as the store has them (RowChanges.returning)."""
    documents: bool = False
    """A row of the store may have more than a table's columns show."""
    prints_jsonb: bool = False
    """Its values of jsonb columns are the text that PostgreSQL prints of them."""
    few: bool = False
    """`few` answers reads by key with less work than `scan`."""
    layouts: bool = False
    """It keeps other layouts of tables and the log that feeds them (`change_store`)."""


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One sort key of a scan: a column of the table."""

    column_id: int
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate of a grouped scan: `argument` None is count(*); `type` is PostgreSQL's result.

    Aggregates skip NULLs, and answer NULL over no values (count: 0), as in PostgreSQL.
    """

    name: str
    argument: Expr | None
    type: str
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Grouping:
    """A grouped scan: one row for each distinct tuple of `keys` (NULLs are equal), the keys first,
    the aggregates behind them. Without keys there is exactly one row, over no input too.
    """

    keys: tuple[Expr, ...]
    aggregates: tuple[Aggregate, ...]


@dataclass(frozen=True, slots=True)
class Partner:
    """Only rows count for whose column `column_id` there is a row of `table`, in the same instance,
    with an equal, not NULL, value in its column `key_id`.
    """

    column_id: int
    table: Table
    key_id: int


@dataclass(frozen=True, slots=True)
class ScanAsk:
    """What the engine wants of one table, in one version's names.

    `columns` are ids in the order wanted, () for rows without columns. `limit` counts rows after
    the predicate and in the order. With `whole` the predicate may raise, so it is taken in full or
    not at all: taking half of it could raise for rows that the other half keeps away. With
    `partner` the limit counts rows that have one; it is asked of stores whose exactness table has
    such equalities, and one that does not look for partners takes no limit. With
    `grouping` the store may answer groups instead of rows, all of it or not at all (then the plan
    is that of the same ask without it); `order` and `limit` are not combined with it.
    """

    version: int
    columns: tuple[int, ...]
    predicate: Expr | None = None
    limit: int | None = None
    order: tuple[OrderKey, ...] = ()
    judge: Judge = judge_nothing
    whole: bool = False
    grouping: Grouping | None = None
    partner: Partner | None = None

    def __post_init__(self) -> None:
        assert self.limit is None or self.limit >= 0


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What the store will do: `native` is its query, `columns` what comes back, in order.

    `residual` is the filter left to the engine. `limit_exact` and `order_exact` say that the rows
    come cut and sorted as asked; they are false where nothing was asked. `grouped`: the rows are
    the asked grouping's, and `types` are then the SQL types of its keys and aggregates. `notices`
    are warnings for the client (a full scan that filters, in Cassandra).
    """

    native: object
    columns: tuple[int, ...]
    taken: Expr | None = None
    residual: Expr | None = None
    limit_exact: bool = False
    order_exact: bool = False
    reasons: tuple[str, ...] = ()
    grouped: bool = False
    types: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class StoreTransaction(Protocol):
    """An open transaction in a store with `transactions`; scans and writes name it in the Scope."""

    async def commit(self, deadline: float | None) -> None:
        """Raises SerializationFailure (40001) when it lost to another one, and
        TransactionResolutionUnknown (08007) when the answer did not arrive.
        """
        ...

    async def rollback(self, deadline: float | None) -> None:
        """Ends it without effect; harmless when it has ended already."""
        ...

    async def savepoint(self, number: int, deadline: float | None) -> None:
        """Marks this point, in a store with `savepoints`; FeatureNotSupported (0A000) else, here
        and below.
        """
        ...

    async def rollback_to(self, number: int, deadline: float | None) -> None:
        """Undoes everything since the savepoint, which stays."""
        ...

    async def release(self, number: int, deadline: float | None) -> None:
        """Forgets the savepoint and those after it; what was written since stays."""
        ...


@dataclass(frozen=True, slots=True)
class Misfit:
    """Values that did not fit their column's type and were delivered as NULL: one event."""

    column_id: int
    store_type: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The bounds of one piece of work.

    `deadline` is on the clock of the event loop, None for no bound of its own; `bytes_max` bounds
    what the store may buffer for it; `session` is the handle of the client's own backend, for a
    store with `session_transaction`.
    """

    deadline: float | None = None
    bytes_max: int = 64 * 1024 * 1024
    trace_id: str = ""
    session: object = None
    transaction: StoreTransaction | None = None
    misfits: Callable[[Misfit], None] | None = None


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What a statement changed in one foreign table; the fields of batches are named `c<id>`.

    The private PostgreSQL ran the statement over a copy of the rows, so these are final values.
    `inserted`: whole rows. `updated`: the key columns as they were and the columns that were set.
    `before`: as many rows as `updated` and in its order, the values that were read of the columns
    in it: a row that is no longer so in the store was changed meanwhile (40001). `deleted`: the key
    columns, and values as they were read. A batch that is None has no rows. In a store with
    `rekeys` a key column in `updated` may be a new one; `before` has what it was. `returning`, in a
    store with `completes`: the rows are wanted back.
    """

    inserted: pa.RecordBatch | None = None
    updated: pa.RecordBatch | None = None
    before: pa.RecordBatch | None = None
    deleted: pa.RecordBatch | None = None
    returning: bool = False


@dataclass(frozen=True, slots=True)
class WriteResult:
    """How many rows were written, and the store's position after it where it has one. `inserted`
    and `updated`, if they were wanted back: all columns of these rows as the store has them now,
    in the order of the changes.
    """

    rows: int
    position: str = ""
    inserted: pa.RecordBatch | None = None
    updated: pa.RecordBatch | None = None


@dataclass(frozen=True, slots=True)
class NativeTable:
    """A table that a store has: its native name as in Table.native, and what it calls its kind
    ("collection", "table", "view", "materialized view").
    """

    native: tuple[str, ...]
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class Description:
    """A table as IMPORT FOREIGN SCHEMA would make it. Ids of the columns count from 1 and are
    replaced; `key` holds such ids. `children` are arrays of rows that become tables of their own.
    """

    columns: tuple[Column, ...]
    key: tuple[int, ...]
    comment: str | None = None
    children: tuple[tuple[str, Description, tuple[str, ...]], ...] = ()
    """(suffix of its name, description, path of the array)"""
    observed: ObservedTable | None = None
    has_doc: bool = False
    """The store's rows are documents: there is a hidden column `_doc` with all of one."""


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """What a planner wants to know: about how many rows, and how many bytes one has."""

    rows: int
    row_bytes: int = 100


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who answered: product and version as the server says, and what was probed of it."""

    product: str
    version: str
    features: Mapping[str, bool] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """How to look at a table's documents: how many at most, from which position of the feed on."""

    rows_max: int
    after_position: str = ""


@dataclass(frozen=True, slots=True)
class ObservedField:
    """A path seen in documents: how many had it, and the store's types with their counts."""

    path: tuple[str, ...]
    present: int
    types: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ObservedTable:
    """What was found: `rows` looked at of about `rows_total`, and each field."""

    rows: int
    rows_total: int
    fields: tuple[ObservedField, ...]
    position: str = ""


@dataclass(frozen=True, slots=True)
class BackendAction:
    """A change of the store's own objects; `key` makes repeating it harmless."""

    kind: Literal["create_table", "drop_table", "create_index", "drop_index"]
    key: str
    details: Mapping[str, str] = field(default_factory=dict, hash=False)


class Backend(Protocol):
    """One store. Required are `plan_scan`, `scan`, `observe` and `close`; see BackendDefaults.

    >>> plan = backend.plan_scan(orders, ScanAsk(version=2, columns=(3, 4), predicate=above_5))
    >>> plan.native
    'SELECT "id", "total" FROM morph_v2."orders" WHERE ("total" > 5)'
    >>> async for batch in backend.scan(plan, Scope(deadline=loop.time() + 5)): ...
    """

    name: str
    kind: str
    capabilities: Capabilities

    def plan_scan(self, table: Table, ask: ScanAsk) -> ScanPlan:
        """The native query for the ask and what it leaves; pure, raises nothing."""
        ...

    def scan(self, plan: ScanPlan, scope: Scope) -> AsyncIterator[pa.RecordBatch]:
        """The rows of a plan, batch by batch; closing the iterator stops the store's work."""
        ...

    async def few(self, plan: ScanPlan, scope: Scope) -> Few | None:
        """All rows of a plan that reads by key, as plain values (core/encoding/plain_rows.py), or
        as a batch where a value has no such form; None for a plan that must be scanned.
        """
        ...

    async def apply(self, table: Table, changes: RowChanges, scope: Scope) -> WriteResult:
        """Writes what a statement changed. UniqueViolation (23505) for a key that exists,
        SerializationFailure (40001) for a row that is not as it was read; what was written
        before such an error is undone, or the error's detail says that it stayed.
        """
        ...

    def fills(self, table: Table) -> frozenset[int]:
        """The ids of columns to which the store itself gives a value in a row that has none."""
        ...

    async def observe(self, table: Table, sample: SampleSpec) -> ObservedTable:
        """What a sample of the stored documents looks like: the input of drift detection."""
        ...

    async def perform(self, action: BackendAction) -> None:
        """Creates or drops a table or an index; doing it twice is doing it once."""
        ...

    async def close(self) -> None:
        """Gives up connections; ends scans that still run."""
        ...


class StoreBackend(Backend, Protocol):
    """A store that has a server: what instances and IMPORT FOREIGN SCHEMA need besides.

    The first use connects. Any call raises ConnectionFailure (08006, 08001) naming the instance
    when the server cannot be reached or breaks off, InvalidAuthorization (28000) when it refuses
    the login, QueryCanceled (57014) at the deadline. A scan that began raises; it never ends short.
    """

    async def server(self, scope: Scope) -> ServerInfo:
        """Connects if need be and says who answered: the health check."""
        ...

    async def list_tables(self, namespace: str, scope: Scope) -> tuple[NativeTable, ...]:
        """The tables of a database, keyspace or schema; UndefinedSchema (3F000) when it is not."""
        ...

    async def describe(self, native: tuple[str, ...], scope: Scope) -> Description:
        """What a table looks like, from its declaration or from a sample of its documents."""
        ...

    async def statistics(self, table: Table, scope: Scope) -> TableStatistics:
        """An estimate, from what the store keeps; never a full scan."""
        ...

    async def begin(self, scope: Scope, *, isolation: str, read_only: bool) -> StoreTransaction:
        """Starts a transaction; FeatureNotSupported (0A000) in a store without them."""
        ...

    def change_store(self) -> ChangeStore:
        """Logs and layouts of changes with data work; FeatureNotSupported (0A000) in a store that
        has no `layouts`.
        """
        ...


class WithoutSavepoints:
    """What a transaction says in a store without savepoints."""

    async def savepoint(self, number: int, deadline: float | None) -> None:
        """Refuses (0A000), like the others."""
        raise _without_savepoints(number, deadline)

    async def rollback_to(self, number: int, deadline: float | None) -> None:
        """See `savepoint`."""
        raise _without_savepoints(number, deadline)

    async def release(self, number: int, deadline: float | None) -> None:
        """See `savepoint`."""
        raise _without_savepoints(number, deadline)


def _without_savepoints(number: int, deadline: float | None) -> FeatureNotSupported:
    del number, deadline
    return FeatureNotSupported("the store's transactions have no savepoints")


class BackendDefaults:
    """What a store does that does not say otherwise: it cannot, and says so (0A000)."""

    kind: str = "unnamed"
    capabilities: Capabilities = Capabilities()

    async def few(self, plan: ScanPlan, scope: Scope) -> Few | None:
        """None: everything is scanned."""
        del plan, scope
        return None

    async def apply(self, table: Table, changes: RowChanges, scope: Scope) -> WriteResult:
        """Refuses: the store is read-only."""
        del changes, scope
        raise FeatureNotSupported(f"{self.kind} table {table.name} cannot be written")

    def fills(self, table: Table) -> frozenset[int]:
        """None: rows are stored as they are given."""
        del table
        return frozenset()

    async def begin(self, scope: Scope, *, isolation: str, read_only: bool) -> StoreTransaction:
        """Refuses: the store has no transactions."""
        del scope, isolation, read_only
        raise FeatureNotSupported(f"{self.kind} has no transactions")

    def change_store(self) -> ChangeStore:
        """Refuses: its tables have one layout."""
        raise FeatureNotSupported(f"tables of kind {self.kind} have one layout only")

    async def perform(self, action: BackendAction) -> None:
        """Refuses: the store's objects are made outside."""
        raise FeatureNotSupported(f"{self.kind} cannot do {action.kind}")
