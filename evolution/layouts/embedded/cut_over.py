"""The cut-over: PostgreSQL's lock queue is the fence, one transaction is the flip (EVOLUTION 6).

Order of the locks: the catalog, the shadows (nobody else has them), the shapes of `public`, the
views of all versions, tables at the other ends of foreign keys, the live tables. A statement that
comes now waits at its view, before it knows what is under it; one that is there already ends. Then
the rest of the log comes in, the verification looks, and the views are put over the other layout.
COMMIT is the flip: who waited finds the new views.

Readers wait for these milliseconds, too: a transaction that may read on, and then writes, would
wait for the fence while the fence waits for it. Views are locked by a DDL statement of no effect,
because LOCK TABLE of a view goes down to its table at once: those who come later would wait there,
with locks on other views.

The fence never waits for a lock longer than `HOLD_S` after its first one, which is below
PostgreSQL's deadlock_timeout: where it and a client wait for each other, the fence gives up and the
client goes on. Tries are short first, so that nobody waits long behind an open transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from catalog import lenses as lens_sql
from catalog.lenses import lenses_of
from catalog.model import CatalogSnapshot, DocPath, Lens
from catalog.sqltext import PUBLIC, quote_ident, quote_literal
from catalog.store import load_snapshot
from evolution.ddl import LOCK_CATALOG
from evolution.layouts.base import (
    Discrepancy,
    Flip,
    ShadowTable,
    ShadowWork,
    Verify,
)
from evolution.layouts.embedded import capture, feeds, foreign_keys, log, refusals
from evolution.layouts.embedded.applier import PLAN, apply_log
from evolution.layouts.embedded.backfill import freeze
from evolution.layouts.embedded.compare import inside
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.foreign_keys import ForeignKey
from evolution.layouts.embedded.looks import FENCE_KEYS, unlooked
from evolution.layouts.embedded.objects import read_objects
from evolution.layouts.embedded.sessions import OwnerTransaction
from evolution.layouts.embedded.shadow import (
    added_columns,
    expressions,
    from_documents,
    parked,
    promoted_lenses,
)
from evolution.layouts.embedded.swapped import (
    catalog_statements,
    swapped_versions,
    view_names,
    view_statements,
)
from evolution.layouts.embedded.tables import StoreTable, qualified, read_table

HOLD_S: Final = 0.8
"""How long clients are held at most while the fence waits for locks."""
TRIES_S: Final = (0.1, 0.2, 0.4, HOLD_S)
"""How long each try waits for its locks."""
SNAPSHOTS_S: Final = 0.1
"""How long statements on other tables get to end."""
_LOOK_S: Final = 0.005
LAST_KEYS: Final = log.RECORDS_KEPT
_SNAPSHOTS_HELD: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND usename <> session_user AND backend_xmin IS NOT NULL
  AND (state LIKE 'idle in transaction%'
    OR (state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock' AND query_start > xact_start))
"""
Clock = Callable[[], float]


class NotNow(Exception):
    """The cut-over cannot be made now; everything stays as it was."""

    def __init__(self, reason: str, discrepancies: Sequence[Discrepancy] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.discrepancies = tuple(discrepancies)


@dataclass
class Fence:
    """How long clients are held: since `begun`, 0.0 before; for locks at most `hold_s`."""

    clock: Clock
    hold_s: float = HOLD_S
    begun: float = 0.0
    ended: float = 0.0

    def start(self) -> None:
        """Clients may wait from now on."""
        self.begun = self.clock()

    def end(self) -> None:
        """They go on."""
        if self.begun and not self.ended:
            self.ended = self.clock()

    @property
    def left_s(self) -> float:
        """How long a lock may still be waited for."""
        return self.hold_s - (self.clock() - self.begun) if self.begun else self.hold_s

    @property
    def held_s(self) -> float:
        """How long they were held."""
        return (self.ended or self.clock()) - self.begun if self.begun else 0.0


@dataclass(frozen=True)
class Side:
    """One table of the cut-over: both layouts, and the lenses that change roles between them."""

    table: ShadowTable
    live: StoreTable
    shadow: StoreTable
    lenses: tuple[Lens, ...]
    back: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What is looked up and written before anybody waits: it holds while the catalog's epoch does.

    `statements` are the flip, all but the pointer.
    """

    snapshot: CatalogSnapshot
    sides: list[Side]
    views: list[str]
    public: list[str]
    keys: list[ForeignKey]
    statements: list[str]


async def plan_of(db: asyncpg.Connection, work: ShadowWork) -> Plan:
    """Look up what has to be locked, write what has to be done."""
    snapshot = await load_snapshot(db)
    ids = {table.table_id for table in work.tables}
    lenses = {table.table_id: promoted_lenses(snapshot, table) for table in work.tables}
    fresh = swapped_versions(snapshot, work.tables, lenses)
    sides = [await _side(db, table, lenses[table.table_id], fresh) for table in work.tables]
    keys = await foreign_keys.read_keys(db, [table.live for table in work.tables])
    statements: list[str] = []
    for side in sides:
        statements += await _swap_statements(db, side, fresh)
    statements += _key_statements(keys, sides)
    for side in sides:
        if side.lenses:
            back = lenses_of(fresh.versions.values(), side.table.table_id)
            statements += lens_sql.layout_statements(side.table.live, back)
        if from_documents(side.lenses):
            statements.append(f"TRUNCATE {qualified(side.table.live)}")
    statements += view_statements(fresh, ids)
    statements += catalog_statements(fresh, ids)
    public = await _public_shapes(db, snapshot, ids)
    return Plan(snapshot, sides, view_names(snapshot, ids), public, keys, statements)


async def _side(
    db: asyncpg.Connection, table: ShadowTable, lenses: tuple[Lens, ...], fresh: CatalogSnapshot
) -> Side:
    live, shadow = await read_table(db, table.live, table.name), await read_table(db, table.shadow)
    if added_columns(live, shadow):
        raise NotNow("the live layout has new columns")
    back = ShadowTable(table.table_id, table.name, table.shadow, table.live, table.lenses)
    return Side(table, live, shadow, lenses, expressions(fresh, back, shadow))


async def _public_shapes(
    db: asyncpg.Connection, snapshot: CatalogSnapshot, ids: set[int]
) -> list[str]:
    names = {t.name for v in snapshot.versions.values() for t in v.tables if t.id in ids}
    rows = await db.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r' "
        "AND relname = ANY ($2) ORDER BY relname",
        PUBLIC,
        sorted(names),
    )
    return [f"{PUBLIC}.{quote_ident(row[0])}" for row in rows]


async def _lock(db: asyncpg.Connection, fence: Fence, names: Sequence[str]) -> None:
    if names:
        wait = _wait_at_most(fence)
        await db.execute(f"{wait}; LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")


def _wait_at_most(fence: Fence) -> str:
    """The statement that bounds the wait for the locks of those after it."""
    milliseconds = int(fence.left_s * 1000)
    if milliseconds <= 0:
        raise NotNow(f"the locks were not given within {fence.hold_s:g} s")
    return f"SET LOCAL lock_timeout = {milliseconds}"


async def hold(db: asyncpg.Connection, plan: Plan, fence: Fence) -> None:
    """Wait for those who use the tables, hold those who come. Nobody is waited for afterwards."""
    live = [side.table.live for side in plan.sides]
    await db.execute(f"{_wait_at_most(fence)}; {LOCK_CATALOG}")
    await _lock(db, fence, [qualified(side.table.shadow) for side in plan.sides])
    fence.start()
    await _lock(db, fence, plan.public)
    views = (f"ALTER VIEW {view} RESET (security_barrier)" for view in plan.views)
    try:
        async with asyncio.timeout(fence.left_s):
            await db.execute("; ".join([_wait_at_most(fence), *views]))
    except TimeoutError:
        raise NotNow(f"the locks were not given within {fence.hold_s:g} s") from None
    partners = foreign_keys.partners(plan.keys, live)
    await _lock(db, fence, [qualified(name) for name in (*partners, *live)])


async def drain(db: asyncpg.Connection, work: ShadowWork, plan: Plan) -> list[Feed]:
    """Bring in the rest of the log: nobody writes any more. Refuses what cannot go on."""
    await db.execute(PLAN)
    epoch = await db.fetchval("SELECT epoch FROM morph_catalog.state")
    if epoch != plan.snapshot.epoch:
        raise NotNow("the catalog changed while the cut-over began")
    sides = {side.table.table_id: side for side in plan.sides}
    found = []
    for table, feed in await feeds.take(db, work):
        side = sides[table.table_id]
        await apply_log(db, feed, side.live, side.shadow)
        _require_complete(feed)
        await _require_none_refused(db, feed, work.pace.error_limit)
        found.append(feed)
    return found


async def require_no_old_snapshots(db: asyncpg.Connection, fence: Fence) -> None:
    """A transaction that keeps one snapshot would see the new layout as it was then. Who used the
    tables has ended by now, who waits for them has to look again; others get a moment to end their
    statements, and in READ COMMITTED their snapshots with them.
    """
    await db.execute("SET LOCAL ROLE NONE")  # only the superuser sees what others do
    until = fence.clock() + SNAPSHOTS_S
    while await db.fetchval(_SNAPSHOTS_HELD):
        if fence.clock() > until:
            raise NotNow(
                "a transaction of a client holds a snapshot from before the cut-over, "
                "in which the new layout is not complete"
            )
        await asyncio.sleep(_LOOK_S)
        await db.execute("SELECT pg_stat_clear_snapshot()")
    await db.execute("SET LOCAL ROLE morph_owner")


def _require_complete(feed: Feed) -> None:
    if not feed.copied:
        raise NotNow("the backfill has not ended")
    if not feed.finished:
        raise NotNow("the shadow has not all indexes and constraints")


async def _require_none_refused(db: asyncpg.Connection, feed: Feed, limit: int) -> None:
    """Rows may be left out of a shadow, up to a limit, and not of what serves: no version would
    show them any more.
    """
    found = await refusals.left_out(db, feed, LAST_KEYS, limit)
    if found:
        left_out = await refusals.count(db, feed)
        raise NotNow(f"{left_out} rows cannot be in the new layout", found)


async def verified(
    db: asyncpg.Connection, plan: Plan, drained: Sequence[Feed], verify: Verify
) -> list[Discrepancy]:
    """The last look; raises NotNow when it finds something critical."""
    found: list[Discrepancy] = []
    sides = {side.table.table_id: side for side in plan.sides}
    for feed in drained:
        side = sides[feed.table_id]
        last, more = await unlooked(db, feed, side.live)
        if more:
            raise NotNow(f"more than {FENCE_KEYS} rows were written since they were compared last")
        async with inside(db, feed, side.live, side.shadow, plan.snapshot) as both:
            found += await verify(side.table, both, last)
    if any(each.severity == "critical" for each in found):
        raise NotNow("the layouts differ", found)
    return found


async def flip_layouts(db: asyncpg.Connection, plan: Plan, drained: Sequence[Feed]) -> None:
    """Everything that makes the shadows serve, but the pointer: in one message."""
    await db.execute(";\n".join(plan.statements))
    sides = {side.table.table_id: side for side in plan.sides}
    for feed in drained:
        await _turn_feed(db, sides[feed.table_id], feed)


def _key_statements(keys: Sequence[ForeignKey], sides: Sequence[Side]) -> list[str]:
    tables = {side.table.live: side.table.shadow for side in sides}
    columns = {side.table.live: foreign_keys.key_columns(side.lenses) for side in sides}
    return [
        *(key.drop() for key in keys),
        *(key.moved(tables, columns).add() for key in keys),
    ]


async def _swap_statements(db: asyncpg.Connection, side: Side, fresh: CatalogSnapshot) -> list[str]:
    """Names, sequences, triggers of one table."""
    live, shadow = side.table.live, side.table.shadow
    statements = [
        *capture.detach_statements(qualified(live)),
        *lens_sql.drop_trigger_statements(live),
    ]
    ours, theirs = await read_objects(db, live), await read_objects(db, shadow)
    statements += [each.rename(live, each.name, parked(live, each.name)) for each in ours]
    names = {
        parked(shadow, name): name for name in _final_names(fresh, side, [o.name for o in ours])
    }
    statements += [
        each.rename(shadow, each.name, names[each.name]) for each in theirs if each.name in names
    ]
    statements += [
        f"SELECT setval(pg_get_serial_sequence({quote_literal(qualified(shadow))}, "
        f"{quote_literal(column.name)}), last_value, is_called) FROM {sequence}"
        for column in side.live.columns
        if column.identity
        for sequence in [await _sequence(db, qualified(live), column.name)]
    ]
    statements += capture.unguard_statements(qualified(shadow))
    statements += capture.guard_statements(qualified(live))
    statements += capture.function_statements(
        side.shadow, side.table.table_id, fresh.epoch, made=True
    )
    statements += capture.attach_statements(qualified(shadow), side.table.table_id)
    unders = [c.source for lens in side.lenses for c in lens.under]
    if fields := [source.path[0] for source in unders if isinstance(source, DocPath)]:
        statements += capture.stale_statements(qualified(shadow), fields)
    lenses = lenses_of(fresh.versions.values(), side.table.table_id)
    raw = lens_sql.has_raw(fresh.versions.values(), side.table.table_id)
    return [*statements, *lens_sql.trigger_statements(shadow, lenses, raw=raw)]


def _final_names(fresh: CatalogSnapshot, side: Side, ours: Sequence[str]) -> set[str]:
    names = set(ours)
    for version in fresh.versions.values():
        shown = version.table_by_id(side.table.table_id)
        if shown is not None:
            names |= {c.store_name for c in shown.constraints} | {
                i.store_name for i in shown.indexes
            }
    return names


async def _sequence(db: asyncpg.Connection, table: str, column: str) -> str:
    name: str = await db.fetchval("SELECT pg_get_serial_sequence($1, $2)", table, column)
    return name


async def _turn_feed(db: asyncpg.Connection, side: Side, feed: Feed) -> None:
    """From now on the old layout is fed from the new one; both are equal at this moment."""
    feed.columns = dict(side.back)
    feed.live, feed.shadow = side.table.shadow, side.table.live
    feed.direction = "back" if feed.direction == "forward" else "forward"
    feed.start_lsn = await log.wind_clock(db, feed.table_id)
    feed.finished = True
    if from_documents(side.lenses):
        feed.rows = 0
        await freeze(db, feed, side.shadow)
    await feeds.save(db, feed)
    await feeds.mark_looked(db, feed, await db.fetchval("SELECT pg_current_snapshot()::text"))


@asynccontextmanager
async def _within(deadline_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        raise NotNow(f"it took longer than {deadline_s:g} s") from None


async def cut_over(
    db: asyncpg.Connection,
    work: ShadowWork,
    plan: Plan,
    fence: Fence,
    *,
    deadline_s: float,
    verify: Verify,
    flip: Flip,
) -> list[Discrepancy]:
    """All of it in the transaction of `db`, which is READ COMMITTED: once the locks are held, all
    its statements see the same. What the verification found that is not critical; raises NotNow
    when it cannot be done.
    """
    async with _within(deadline_s):
        await hold(db, plan, fence)
        await require_no_old_snapshots(db, fence)
        drained = await drain(db, work, plan)
        found = await verified(db, plan, drained, verify)
        await flip_layouts(db, plan, drained)
        await flip(OwnerTransaction(db))
    return found
