"""The seam between a change and the store whose tables it moves (EVOLUTION 3 to 6).

The controller (evolution/changes) knows states, time and who may do what; the validator
(evolution/validation) knows how to compare; what lies where is known behind `Layouts` alone, one
package a kind of store (evolution/layouts/embedded). Nothing here names SQL, a table's columns on
disk or a driver.

Every method of `Layouts` is idempotent: it is called again after a crash at any point, by whoever
is the owner then, and finds what is done already in the store. Where a method got (cursor,
checkpoint) is kept by the store together with what it did, in one transaction where it has them.

Errors: what may succeed when it is tried again (a lost connection, a lock timeout, a full disk) is
raised as the `core.errors.MorphError` of its SQLSTATE; the controller backs off. What no repetition
heals is not raised but given back as a `Discrepancy`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

from config.validation import Category, Severity
from evolution.transaction import Transaction

REPORTED_MAX: Final = 1_000
"""How many rows that are left out or differ are named at most."""

Direction = Literal["forward", "back"]
"""forward: the shadow has the layout of the new version; back: that of the old one (a reverse
shadow, fed after promotion, so that a rollback loses nothing)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a store may be worked on; the controller changes it from step to step.

    `chunk_s` is how long one chunk of the backfill should take. `rows_per_s` bounds the backfill, 0
    is no bound. `step_s` is the deadline of one step: past it, the step is given up and undone.
    `error_limit` is how many rows may be left out because `up` fails on them.
    """

    chunk_s: float = 0.2
    rows_per_s: float = 0.0
    step_s: float = 30.0
    error_limit: int = 0


@dataclass(frozen=True, slots=True)
class ShadowTable:
    """One table of a change: `live` serves, `shadow` is fed (both are the store's own names).

    `name` is what people call it. `lenses` are the ids of the lenses (catalog.model.Table.lenses)
    whose sides the shadow has swapped against the live layout.
    """

    table_id: int
    name: str
    live: str
    shadow: str
    lenses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ShadowWork:
    """What one change asks of one store: all its tables there, which flip together or not at all.

    `version` is the version that the change made, `parent` the one before. `epoch` is the fencing
    token of the owner: a store refuses work of a lower epoch than it has seen for this change.
    """

    change_id: int
    version: int
    parent: int
    epoch: int
    tables: tuple[ShadowTable, ...]
    direction: Direction = "forward"
    pace: Pace = Pace()


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One row (or one object) on which live and shadow differ, or which the shadow cannot hold.

    `record_id` is the key as text, "" when it is about the table. Hashes are hexadecimal and of the
    canonical values; values themselves are never reported.
    """

    type: Category
    message: str
    record_id: str
    table_id: int
    column: str = ""
    primary_value_hash: str = ""
    shadow_value_hash: str = ""
    lsn: int = 0
    severity: Severity = "critical"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a shadow is. Numbers are of the whole change since `begin`, not of one step.

    `rows` copied by the backfill of about `total`, `bytes` read for it, `applied` records of the
    log brought in, `pending` records not yet. `lag_s` is the age of the oldest pending record, 0.0
    when there is none. `copied` says that the cursor has reached the bound of every table.
    `start_lsn` and `applied_lsn` are the log's positions. `left_out` rows are not in the shadow
    because `up` fails on them; `errors` are those of this step. `differing` is what a look at the
    rows found that were written since the validation.
    `behind_s` is the part of the lag that is more than one look takes (None: all of it): a store
    over the network is always as far behind as that under writers.
    """

    rows: int = 0
    total: int = 0
    bytes: int = 0
    applied: int = 0
    pending: int = 0
    lag_s: float = 0.0
    copied: bool = False
    start_lsn: int = 0
    applied_lsn: int = 0
    left_out: int = 0
    errors: tuple[Discrepancy, ...] = ()
    differing: tuple[Discrepancy, ...] = ()
    behind_s: float | None = None

    @property
    def fence_lag_s(self) -> float:
        """How far behind a cut-over would find the shadow."""
        return self.lag_s if self.behind_s is None else self.behind_s


def summed(parts: Sequence[Progress]) -> Progress:
    """The progress of several tables as that of their change, with the first errors."""
    measured = any(p.behind_s is not None for p in parts)
    return Progress(
        rows=sum(p.rows for p in parts),
        total=sum(p.total for p in parts),
        bytes=sum(p.bytes for p in parts),
        applied=sum(p.applied for p in parts),
        pending=sum(p.pending for p in parts),
        lag_s=max((p.lag_s for p in parts), default=0.0),
        copied=all(p.copied for p in parts),
        start_lsn=min((p.start_lsn for p in parts), default=0),
        applied_lsn=max((p.applied_lsn for p in parts), default=0),
        left_out=sum(p.left_out for p in parts),
        errors=tuple(e for p in parts for e in p.errors)[:REPORTED_MAX],
        behind_s=max(p.fence_lag_s for p in parts) if measured else None,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One row as a side shows it: `key` and `data` are canonical bytes, equal on both sides when
    the values are. `lsn` is the log position of the row's last write.
    """

    key: bytes
    lsn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a key range. `data` is all of them in key order, so that equal ranges have equal
    bytes and only unequal ones are split; `rows` says how many; `last` is the key of the last one,
    None when there is none. `ended`: there is nothing after it up to the bound that was asked for.
    `cut`: `data` is a line for each row, with a newline behind it, and this makes the row of one.
    `left_out` are keys of the range that are in flight (`Side.snapshot`): they are looked at again
    later.
    """

    data: bytes
    rows: int
    last: bytes | None
    ended: bool
    split: Callable[[], Sequence[Row]]
    left_out: Sequence[bytes] = ()
    cut: Callable[[bytes], Row] | None = None


@dataclass(frozen=True, slots=True)
class SideColumn:
    """A column of a side: the id and name in the catalog, the type as format_type() prints it."""

    id: int
    name: str
    type: str


class Side(Protocol):
    """One of the two layouts of a table, read in the form of the shadow's primary columns: the live
    one through `up`. Keys are opaque to the reader, but for their equality.
    """

    columns: tuple[SideColumn, ...]
    snapshot: bool
    """True when both sides are read as of one moment with what is in flight left out: each
    difference is a defect. Without it, only a difference at an equal LSN is one."""

    async def chunk(self, after: bytes | None, until: bytes | None, rows: int) -> Chunk:
        """The rows with `after` < key <= `until` (None: no bound), at most `rows`, 0 for all."""

    async def keys(self, after: bytes | None, until: bytes | None, rows: int) -> Sequence[bytes]:
        """The keys of `chunk`, without reading the rows: for samples, and to go round a row that
        cannot be read."""

    async def look_up(self, keys: Sequence[bytes]) -> Sequence[Row]:
        """The rows with these keys that exist, without those in flight."""

    async def in_flight(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """Those of these keys that are in flight, as far as this side knows."""

    def values(self, row: Row) -> Sequence[bytes | None]:
        """The canonical value of each of `columns`, None for NULL."""

    def key_text(self, key: bytes) -> str:
        """The key for people: `7`, `(7, eu)`."""


Sides = tuple[Side, Side]
"""(live through `up`, shadow)."""

Verify = Callable[[ShadowTable, Sides, Sequence[bytes]], Awaitable[Sequence[Discrepancy]]]
"""The last look inside a cut-over: both sides at rest, and the keys written since the last complete
validation (with the last 100 written at least). Critical discrepancies stop the cut-over."""


@runtime_checkable
class Looks(Protocol):
    """Layouts that compare by themselves what is written between a validation and a cut-over."""

    def look_with(self, verify: Verify) -> None:
        """How rows are compared."""


Flip = Callable[[Transaction], Awaitable[None]]
"""The commit point: moves the public pointer and the change's state. A store whose data is in the
catalog's database calls it last in its own transaction, which must hold LOCK_CATALOG before it
locks a table (DDL locks in that order); another one gives it a transaction of the catalog alone."""


@dataclass(frozen=True, slots=True)
class CutOver:
    """How a cut-over ended. Not `done`: nothing has changed and writers go on with the old layout;
    `reason` says why, in words. `waited_s` is how long writers were held.
    """

    done: bool
    waited_s: float = 0.0
    reason: str = ""
    discrepancies: tuple[Discrepancy, ...] = ()


class Layouts(Protocol):
    """What the controller asks of the store that owns the tables."""

    async def begin(self, work: ShadowWork) -> None:
        """Make log, capture and the empty shadows; freeze the bounds of the backfill. From its end
        on every write that commits is in the log.
        """

    async def advance(self, work: ShadowWork) -> Progress:
        """Bring in the log, then copy one chunk of the backfill, within `work.pace`."""

    async def catch_up(self, work: ShadowWork) -> Progress:
        """Bring in the log only."""

    async def finish(self, work: ShadowWork) -> Sequence[Discrepancy]:
        """Make indexes and constraints of the shadows, which are copied. What violates them is
        given back, never removed.
        """

    async def blocking(self, work: ShadowWork, limit: int) -> tuple[int, Sequence[Discrepancy]]:
        """How many rows the shadow's layout cannot show as they are (they are kept as residue), and
        the first of them. For a reverse shadow: what stands against a rollback without loss.
        """

    def sides(self, work: ShadowWork, table: ShadowTable) -> AbstractAsyncContextManager[Sides]:
        """Both layouts as of one moment (`Side.snapshot`), for a chunk or a few: while it is open,
        the store may keep old row versions.
        """

    async def repair(self, work: ShadowWork, table: ShadowTable, keys: Sequence[bytes]) -> int:
        """Make the rows with these keys from the live ones again; how many changed."""

    async def cut_over(
        self, work: ShadowWork, *, deadline_s: float, verify: Verify, flip: Flip
    ) -> CutOver:
        """Hold writers, bring in the rest of the log, verify, swap the layouts of all tables and
        `flip`, within `deadline_s` from its start, or let everything be as it was.

        `direction` forward makes the reverse shadows of the old layouts in the same step; back is
        the rollback: the old layouts serve again and the new ones are kept as shadows.
        """

    async def discard(self, work: ShadowWork) -> None:
        """Remove shadows, log and capture. The live tables are as if the change had never run."""

    async def contract(self, work: ShadowWork) -> None:
        """Remove the reverse shadows with their log and capture; what only retired versions show
        goes, too. There is no way back.
        """
