"""What a store does for a change with data work: it keeps the log and the other layout (decision
0011). The generic half is evolution/layouts/foreign; one implementation a kind of store.

Who calls what, when, in which order
------------------------------------
A *write* of a client to a table with a log (proxy/logged_writes.py), in its worker:
  1. `append` the intents of its rows: durable when it returns, and before the live write is sent;
  2. `Backend.apply`; 3. the client's answer; 4. `done`, in batches, behind the answer.
  In a transaction of the store (`Scope.transaction`) the intents are appended in it, done already.
The *owner* of the change (one at a time; a former one may still have a command on its way):
  begin:    `make_log`, wait until every worker knows, `make_shadow`, `bound`
  a step:   `read` the log → draw a position → `reread` the keys → up → `put` at that position
            → `remove` what was done when it was read (or whose writer is provably gone)
            then draw → `chunk` of the backfill → up → `put` at that position
  cut-over: writers are held; steps until `read` gives nothing; `settle`; `clean`; verify; flip
  after it: the same steps the other way, with `put_back` instead of `put`
  contract: `drop` of the old layout; `tidy` of the one that serves; `drop_log`
  Rows that others write past Morphgres: `tail_token` before the bound, and before each fence for
  the layout that serves behind it; in a step, and inside the fence, `tail` together with `read`,
  and the token is kept once the rows are put.
  discard:  `drop` of the shadow; `drop_log`

Positions (LSN)
---------------
Even integers below 2^53, about microseconds since 1970. A *record's* lsn is only part of its name.
A row is put at a position that was drawn *before the live row was read*, from one counter in the
catalog: max(previous + 2, now), in the transaction that checks the owner's epoch. So a put with a
higher position was read later, whoever did it and however long its command was on its way; `put`
keeps the row with the highest position (tombstones too). A put that is refused because somebody's
is newer is a success.

All methods are idempotent. Errors are those of the backend: ConnectionFailure (08006),
QueryCanceled (57014) at the scope's deadline, StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from backends.base import Scope
from catalog.model import Table
from core.errors import StoreError


class TailLost(StoreError):
    """The store cannot tell any more what was written since a token."""


class LogPositionTooOld(StoreError):
    """The log takes no records of this position any more: draw another one and append again."""


Key = tuple[str, ...]
"""The values of a table's key columns (Table.key, in that order) as PostgreSQL prints them."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where the log of a table is: `namespace` is the database or keyspace of its rows, in which it
    is called `morph_log_<table id>`.
    """

    namespace: str
    table_id: int

    @property
    def name(self) -> str:
        """The name of the collection or table."""
        return f"morph_log_{self.table_id}"


@dataclass(frozen=True, slots=True)
class Intent:
    """A row that a client is about to write, or has written: its key is dirty.

    (`lsn`, `writer`) is the record's name; it does not order writes. `writer` is the incarnation of
    the worker. `epoch` is the catalog's, `change_ids` what is fed from the log. `touched` are ids
    of the columns that are set, () for all. After `deadline_us` (µs since 1970) the write cannot
    arrive at the store any more. `stmt_hash` and `session` say which statement and login wrote.
    `token` is the store's own, from `read`, to find the record again.
    """

    lsn: int
    writer: int
    key: Key
    op: Literal["put", "del"]
    epoch: int
    change_ids: tuple[int, ...]
    deadline_us: int
    touched: tuple[int, ...] = ()
    session: str = ""
    stmt_hash: int = 0
    ts_us: int = 0
    done: bool = False
    token: object = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StoreRow:
    """A row of a layout. `values` are by column id, all columns of the table that was asked with,
    as PostgreSQL prints them in UTC (None: NULL). `position` names the row for `chunk` and `at`,
    in the order of the store: any text, equal in both layouts of a table. `raw` is the row as the
    store has it, where that is more than the columns (a document). `lsn` is the position at which
    it was put, 0 in a layout that is not ours. `misfits` are columns whose value the column's type
    cannot show, so that it is NULL here.
    """

    key: Key
    position: str
    values: Mapping[int, str | None] = field(hash=False)
    raw: object = field(default=None, compare=False)
    lsn: int = 0
    misfits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreChunk:
    """Rows in the store's order. `last` is the position of the last row that was looked at (rows
    that are tombstones too), None when there was none; `ended`: nothing comes after it up to the
    bound.
    """

    rows: Sequence[StoreRow]
    last: str | None
    ended: bool
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """A row for the other layout. `source` is the row as it was reread, None when it is gone (a
    tombstone, or a delete on the way back). `values` are the columns of the target that are not
    the source's as they are (Table.columns of the target that the source table has not), by id.
    A value that is missing stays as it is there. On the way back `found` is the row as the target
    has it now, None when it has not, and `kept` are columns of the target that stay as they are.
    """

    key: Key
    source: StoreRow | None
    values: Mapping[int, str | None] = field(default_factory=dict, hash=False)
    found: StoreRow | None = None
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Tail:
    """Rows that were written since a token, by whomever, in any order; `token` is behind them.
    `whole`: those of all writes that were answered before the call.
    """

    token: str
    keys: Sequence[Key]
    whole: bool


class TailStore(Protocol):
    """Tells what was written, whoever did it, where the store can."""

    async def tail_token(self, table: Table, scope: Scope) -> str | None:
        """The end of now; None where the store tells nobody, or not this login."""

    async def tail(
        self, table: Table, token: str, limit: int, scope: Scope, *, fully: bool = False
    ) -> Tail:
        """About `limit` writes since `token`; `fully`: the caller would rather wait for a moment
        than have less than all. Raises TailLost.
        """


class LogStore(Protocol):
    """Keeps the intents of a table. They are found by being there, never by a position."""

    async def make_log(self, place: LogPlace, scope: Scope) -> None:
        """Make the log, if it is not there."""

    async def drop_log(self, place: LogPlace, scope: Scope) -> None:
        """Remove the log and everything else of the store's that belongs to it alone."""

    async def append(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """All of them are durable when it returns; in `scope.transaction` when there is one, with
        `done` set by the caller. May raise LogPositionTooOld: draw again, before the live write.
        """

    async def done(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """Their writes have been answered. One that is not there any more is no error."""

    async def read(self, place: LogPlace, limit: int, scope: Scope) -> Sequence[Intent]:
        """Those that are there, oldest first, at most `limit` (0: all); each one that was appended
        before the call, unless `limit` cuts it off.
        """

    async def remove(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """They are not needed any more."""


class ShadowStore(Protocol):
    """Keeps the other layout of a table. `live` and `shadow` are tables of the model, whose columns
    are Native ones: those that are stored in the layout, under `Table.native`.
    """

    def new_key(self, table: Table) -> Key:
        """A key for a row that was inserted without one, as the store makes it;
        NotNullViolation (23502) in a store that makes none.
        """

    async def make_shadow(self, live: Table, shadow: Table, scope: Scope) -> None:
        """Make it, empty, with the key of the live table; nothing when it is there."""

    async def drop(self, shadow: Table, scope: Scope) -> None:
        """Remove a layout."""

    async def bound(self, table: Table, scope: Scope) -> tuple[str | None, int]:
        """The position of the last row of now (None: it is empty, or the order has an end that no
        later row comes behind: see `chunk`), and about how many rows there are.
        """

    async def chunk(
        self, table: Table, after: str | None, until: str | None, rows: int, scope: Scope
    ) -> StoreChunk:
        """The rows with `after` < position <= `until` (None: no bound), at most `rows`, 0 for all,
        in the store's order; tombstones are not rows.
        """

    async def reread(self, table: Table, keys: Sequence[Key], scope: Scope) -> Sequence[StoreRow]:
        """The rows with these keys as they are now, with every write that was answered, and with
        none that can come to effect later if its deadline is over (SERIAL in Cassandra, primary in
        MongoDB). Those that are not there, and tombstones, are left out.
        """

    async def at(self, table: Table, positions: Sequence[str], scope: Scope) -> Sequence[StoreRow]:
        """The rows at these positions, the same way."""

    async def put(
        self, live: Table, shadow: Table, images: Sequence[Image], lsn: int, scope: Scope
    ) -> None:
        """Each image, or a tombstone, unless the shadow has the row at this position or a higher
        one already.
        """

    async def put_back(
        self, live: Table, old: Table, images: Sequence[Image], lsn: int, scope: Scope
    ) -> None:
        """The same into a layout that is not ours, after the flip: nothing reserved is written
        into it, and a gone row is deleted. SerializationFailure (40001) when a row is not as it
        was found any more, where the store can tell: the step is done again.
        """

    async def copy_indexes(self, live: Table, shadow: Table, scope: Scope) -> Sequence[str]:
        """Give the shadow the indexes that the live layout has, once it is copied; what stands
        against that, in words for people.
        """

    async def settle(self, shadow: Table, lsn: int, scope: Scope) -> None:
        """Inside the fence, before the flip: from now on what clients write to the shadow is newer
        than everything that was put up to `lsn`. At once where the store has no clock of writes.
        """

    async def clean(self, shadow: Table, scope: Scope) -> None:
        """Inside the fence, before the flip: remove tombstones that readers would see."""

    async def tidy(self, table: Table, scope: Scope) -> None:
        """At the contraction: remove what is reserved from the layout that serves."""


class ChangeStore(LogStore, ShadowStore, TailStore, Protocol):
    """All three, as `StoreBackend.change_store()` gives them. `grace_s` is how long the store may
    still work on a command after the one who sent it is gone or has given up, in seconds.
    `dead_path` is where a row of a shadow is true that is a tombstone, () in a store whose readers
    see none.
    """

    grace_s: float
    dead_path: tuple[str, ...]
