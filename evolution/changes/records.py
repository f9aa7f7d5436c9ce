"""The durable state of changes: `morph_catalog.shadows`, their steps and fences.

Whoever wants to move a change reads its record, asks `states.transition`, and writes with
compare-and-set on (change, state, revision): of two who try, one gets SerializationFailure (40001,
raised by `morph_catalog.move_change`) and reads again. A transition, its step, its fences and the
announcement on the channel `morph_change` are one transaction, the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from catalog.model import CatalogSnapshot, Table
from catalog.sqltext import quote_literal
from core.errors import UndefinedObject
from evolution.changes.events import Event
from evolution.changes.states import FINAL, Phase, State, transition
from evolution.dependents import has_parts
from evolution.layouts.base import Pace, Progress, ShadowTable, ShadowWork
from evolution.layouts.by_store import is_foreign
from evolution.transaction import Transaction

CHANGE_CHANNEL = "morph_change"
RECORDS_QUERY = "SELECT r FROM morph_catalog.shadow_rows() r"
_SWAPPED = frozenset({Phase.PROMOTED, Phase.RB_FENCED, Phase.CONTRACTING, Phase.COMPLETED})
"""Phases in which the tables that were shadows serve."""


@dataclass(frozen=True, slots=True)
class Record:
    """A change as the catalog has it. `tables` are as at its beginning: `live` is the old layout.

    `wanted` is what clients wait for: "", promote, rollback, validate. Times are relative to the
    moment of reading, in seconds: `retry_in_s` until the next try (0 when it may be now),
    `window_s` until a rollback is no longer offered, `fence_s` until the fence expires, `age_s`
    since the state began.
    """

    change_id: int
    parent: int
    state: State
    revision: int
    tables: tuple[ShadowTable, ...]
    wanted: str = ""
    attempts: int = 0
    reason: str = ""
    report_id: int = 0
    owner: str = ""
    retry_in_s: float = field(default=0.0, compare=False)
    window_s: float = field(default=0.0, compare=False)
    fence_s: float = field(default=0.0, compare=False)
    age_s: float = field(default=0.0, compare=False)

    @property
    def phase(self) -> Phase:
        """Its phase."""
        return self.state.phase

    @property
    def over(self) -> bool:
        """True when nothing is left to do and nothing can come by itself."""
        return self.state.settled and self.phase in FINAL

    def work(self, pace: Pace | None = None) -> ShadowWork:
        """What it asks of its store now: after the flip the layouts have changed their roles."""
        swapped = self.phase in _SWAPPED
        return ShadowWork(
            change_id=self.change_id,
            version=self.change_id,
            parent=self.parent,
            epoch=self.state.epoch,
            tables=tuple(_swap(t) for t in self.tables) if swapped else self.tables,
            direction="back" if swapped else "forward",
            pace=pace or Pace(),
        )


@dataclass(frozen=True, slots=True)
class Note:
    """What is written with a transition beside the state. None leaves a field as it is.

    `retry_s` is the pause before the next try; `window_s` how long a rollback is offered from now;
    `fence_s` puts a fence with that deadline on all tables of the change (there is none after a
    transition without it).
    """

    actor: str = "controller"
    reason: str = ""
    wanted: str | None = None
    attempts: int = 0
    retry_s: float | None = None
    report_id: int | None = None
    owner: str | None = None
    window_s: float | None = None
    fence_s: float | None = None
    tables: tuple[ShadowTable, ...] | None = None


def _swap(table: ShadowTable) -> ShadowTable:
    return ShadowTable(table.table_id, table.name, table.shadow, table.live, table.lenses)


def _tables_json(tables: Sequence[ShadowTable]) -> list[dict[str, Any]]:
    return [
        {
            "table_id": t.table_id,
            "name": t.name,
            "live": t.live,
            "shadow": t.shadow,
            "lenses": list(t.lenses),
        }
        for t in tables
    ]


def _decode(text: str) -> Record:
    row = json.loads(text)
    tables = tuple(
        ShadowTable(t["table_id"], t["name"], t["live"], t["shadow"], tuple(t["lenses"]))
        for t in row["tables"]
    )
    state = State(
        Phase(row["state"]),
        row["epoch"],
        row["held"],
        row["lazy"],
        row["percent"],
        row["settled"],
    )
    return Record(
        change_id=row["change_id"],
        parent=row["parent"],
        state=state,
        revision=row["revision"],
        tables=tables,
        wanted=row["wanted"],
        attempts=row["attempts"],
        reason=row["reason"],
        report_id=row["report_id"],
        owner=row["owner"],
        retry_in_s=max(row["retry_in_s"] or 0.0, 0.0),
        window_s=max(row["window_s"] or 0.0, 0.0),
        fence_s=max(row["fence_s"] or 0.0, 0.0),
        age_s=row["age_s"],
    )


async def load_records(tx: Transaction) -> list[Record]:
    """All changes that had data work, in order of their numbers."""
    return [_decode(text) for (text,) in await tx.fetch(RECORDS_QUERY) if text is not None]


async def load_record(tx: Transaction, change_id: int) -> Record:
    """One of them; UndefinedObject (42704) when the change has no data work."""
    for record in await load_records(tx):
        if record.change_id == change_id:
            return record
    raise UndefinedObject(f"change {change_id} has no shadow")


def lock_statement(change_id: int) -> str:
    """Nobody else moves the change until the transaction ends."""
    return f"SELECT FROM morph_catalog.shadows WHERE change_id = {change_id} FOR UPDATE"


def shadow_tables(snapshot: CatalogSnapshot, number: int, *, every: bool) -> list[ShadowTable]:
    """The tables for which version `number` needs another layout than its parent: those with a lens
    that the parent does not have; `every` other one that differs too (morph.ddl_mode = shadow).
    """
    version = snapshot.versions[number]
    before = snapshot.versions.get(version.parent)
    found = []
    for table in version.tables:
        old = before.table_by_id(table.id) if before is not None else None
        if old is None or not (table.store or (table.kind == "foreign" and table.instance)):
            continue
        known = {lens.id for lens in old.lenses}
        lenses = tuple(lens.id for lens in table.lenses if lens.id not in known)
        wanted = bool(lenses) or (every and bool(table.store) and table != old)
        if wanted and not has_parts(snapshot.versions.values(), table):
            live, shadow = layout_name(table), _shadow_name(table, number)
            found.append(ShadowTable(table.id, table.name, live, shadow, lenses))
    return found


def layout_name(table: Table) -> str:
    """What a store calls the layout of a table that serves, as ShadowTable has it."""
    return table.store or json.dumps(list(table.native), ensure_ascii=False)


def _shadow_name(table: Table, number: int) -> str:
    if table.store:
        return f"t{table.id}s{number}"
    name = (*table.native[:-1], f"morph_t{table.id}s{number}")
    return json.dumps(list(name), ensure_ascii=False)


def register_statement(
    change_id: int, parent: int, tables: Sequence[ShadowTable], *, held: bool = False
) -> str:
    """A new change that needs data work, or the same again from a later statement of its
    transaction. It is analysed already: PostgreSQL typed it on the scratch copy.
    """
    text = quote_literal(json.dumps(_tables_json(tables)))
    return (
        "INSERT INTO morph_catalog.shadows (change_id, parent, state, held, tables) "
        f"VALUES ({change_id}, {parent}, '{Phase.ANALYZED}', {str(held).lower()}, {text}::jsonb) "
        "ON CONFLICT (change_id) DO UPDATE SET tables = EXCLUDED.tables"
    )


def announce_statement(change_id: int) -> str:
    """Have everybody who waits for news of a change look when the transaction commits."""
    text = quote_literal(json.dumps({"changeId": change_id}))
    return f"SELECT pg_notify('{CHANGE_CHANNEL}', {text})"


def move_statement(record: Record, event: Event, note: Note) -> str:
    """The SQL of one transition; IllegalTransition (55000) when the table does not have it."""
    to, _ = transition(record.state, event)
    move: dict[str, Any] = {
        "change_id": record.change_id,
        "from": record.phase.value,
        "revision": record.revision,
        "to": {
            "phase": to.phase.value,
            "epoch": to.epoch,
            "held": to.held,
            "lazy": to.lazy,
            "percent": to.percent,
            "settled": to.settled,
        },
        "event": type(event).__name__,
        "actor": note.actor,
        "reason": note.reason,
        "attempts": note.attempts,
    }
    for key in ("wanted", "retry_s", "report_id", "owner", "window_s", "fence_s"):
        value = getattr(note, key)
        if value is not None:
            move[key] = value
    if note.tables is not None:
        move["tables"] = _tables_json(note.tables)
    return f"SELECT morph_catalog.move_change({quote_literal(json.dumps(move))}::jsonb)"


async def move(tx: Transaction, record: Record, event: Event, note: Note | None = None) -> None:
    """Make one transition durable with the transaction. Raises IllegalTransition (55000), and 40001
    when somebody else moved the change since it was read.
    """
    await tx.apply([move_statement(record, event, note or Note())])


def note_statement(record: Record, note: Note) -> str:
    """Write a reason, a pause or a wish without a transition; 0 rows when the change moved on."""
    parts = [f"reason = {quote_literal(note.reason)}", f"attempts = {note.attempts}"]
    parts.append(
        "retry_at = NULL"
        if note.retry_s is None
        else f"retry_at = clock_timestamp() + {note.retry_s} * interval '1 s'"
    )
    if note.wanted is not None:
        parts.append(f"wanted = {quote_literal(note.wanted)}")
    return (
        f"UPDATE morph_catalog.shadows SET {', '.join(parts)}, revision = revision + 1 "
        f"WHERE change_id = {record.change_id} AND revision = {record.revision}"
    )


def progress_statement(change_id: int, progress: Progress, rows_per_s: float) -> str:
    """Show where the shadow of a change is (morph.progress)."""
    values = (
        f"{change_id}, {progress.rows}, {progress.total}, {progress.bytes}, {progress.applied}, "
        f"{progress.pending}, {progress.lag_s!r}, {progress.left_out}, {progress.start_lsn}, "
        f"{progress.applied_lsn}, {rows_per_s!r}, clock_timestamp()"
    )
    names = (
        "rows", "total", "bytes", "applied", "pending", "lag_s", "left_out", "start_lsn",
        "applied_lsn", "rows_per_s", "heartbeat_at",
    )  # fmt: skip
    sets = ", ".join(f"{name} = EXCLUDED.{name}" for name in names)
    return (
        f"INSERT INTO morph_catalog.shadow_progress (change_id, {', '.join(names)}) "
        f"VALUES ({values}) ON CONFLICT (change_id) DO UPDATE SET {sets}"
    )


def forget_progress_statement(change_id: int) -> str:
    """What was shown of a change that is over."""
    return f"DELETE FROM morph_catalog.shadow_progress WHERE change_id = {change_id}"


def fenced_by(records: Sequence[Record], record: Record) -> int:
    """Another change that holds a fence on one of the tables, 0 for none."""
    ids = {t.table_id for t in record.tables}
    for other in records:
        fenced = other.phase in (Phase.FENCED, Phase.RB_FENCED)
        if fenced and other is not record and ids & {t.table_id for t in other.tables}:
            return other.change_id
    return 0


def waits_for(records: Sequence[Record], record: Record) -> int:
    """The change that must be out of the way before this one can begin: an older one that builds
    its shadow of one of the tables, or whose shadow was rolled back. 0 for none. (A promoted one
    goes on: its old layout is fed through the next. Not so in other stores, see `kept_by`.)
    """
    ids = {t.table_id for t in record.tables}
    kept = kept_by(records, record)
    if kept:
        return kept
    for other in records:
        if other.change_id >= record.change_id or other.over or other.phase is Phase.PROMOTED:
            continue
        if ids & {t.table_id for t in other.tables}:
            return other.change_id
    return 0


def kept_by(records: Sequence[Record], record: Record) -> int:
    """The promoted change that keeps the old layout of a table in another store, of which there are
    two at most; 0 for none. It has to be contracted, or rolled back and discarded.
    """
    ids = {t.table_id for t in record.tables if is_foreign(t)}
    for other in records:
        older = other.change_id < record.change_id and not other.over
        if older and other.phase is Phase.PROMOTED and ids & {t.table_id for t in other.tables}:
            return other.change_id
    return 0


def fed_through(records: Sequence[Record], record: Record) -> int:
    """The newest older change that still keeps an old layout of one of the tables, 0 for none: it
    is contracted first.
    """
    ids = {t.table_id for t in record.tables}
    kept = [
        other.change_id
        for other in records
        if other.change_id < record.change_id
        and other.phase in (Phase.PROMOTED, Phase.RB_FENCED, Phase.CONTRACTING)
        and ids & {t.table_id for t in other.tables}
    ]
    return max(kept, default=0)
