"""The protocol of a change on one table as an explicit-state model (EVOLUTION 6 and 7).

Modelled: two keys; writers whose transactions begin and commit in any order, so that a record with
an older position may become visible later; the log in the writer's own transaction; the applier and
the backfill as transactions with a snapshot; the checkpoint as a snapshot; truncation of the log;
the fence as the lock queue of the store; drain, flip, reverse shadow, rollback, discard; the death
of the controller or of the whole server at any point, and a controller that was succeeded and does
not know it. The states of the change are those of the product: `evolution.changes.states`.

Not modelled: wall-clock time, several tables, `up` and `down` (both are the identity here: that
they are lenses is proved elsewhere). A version reads the serving layout through its lenses, so what
EVOLUTION calls the overlay read (I4) is a read of `serving` here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from evolution.changes import events as ev
from evolution.changes.states import Phase, State, refusal, transition

P = Phase
KEYS = 2
INITIAL = -1
GONE = None
FIRST = State(P.ANALYZED, epoch=1)
Rows = tuple[int | None, ...]


@dataclass(frozen=True)
class Write:
    """One write: it puts its own number under `key`, or deletes."""

    key: int
    delete: bool = False


WRITES = (Write(0), Write(0, delete=True), Write(1))


@dataclass(frozen=True)
class Rules:
    """Which parts of the protocol are in force; the ablations switch one off."""

    snapshot_guard: bool = True
    """The checkpoint is a snapshot; without it, the highest position seen."""
    apply_before_chunk: bool = True
    """A chunk's transaction brings in the log first, in its own snapshot."""
    checkpoint_with_effects: bool = True
    """The checkpoint is written in the transaction of what it stands for."""
    capture_waits: bool = True
    """Capture begins when no writer is open that would not be captured."""
    fence: bool = True
    """No writer is open or begins between lock and flip."""
    drain: bool = True
    """What the log still has is brought in before the flip."""
    reverse: bool = True
    """After the flip the old layout is fed from the new one."""
    log: bool = True
    """Shadows are fed from a log; without it, writers write to both layouts."""
    deletes: bool = True
    """Rows that the live layout no longer has are removed from the shadow."""
    truncate_by_checkpoint: bool = True
    """The log is cut where the checkpoint sees a record, not by position."""
    compare_and_set: bool = True
    """The flip moves the state of the change from what its owner knows."""


@dataclass(frozen=True)
class Step:
    """An open transaction of the applier: its snapshot, and the live rows in it."""

    chunk: bool
    snapshot: frozenset[int]
    rows: Rows


@dataclass(frozen=True)
class World:
    """One state. `order` are the committed writes, `begun` all in the order of their positions;
    `locked` is the epoch of the controller that holds the fence's lock, 0 for none.
    """

    change: State = FIRST
    open: frozenset[int] = frozenset()
    begun: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    old: Rows = (INITIAL,) * KEYS
    new: Rows = (GONE,) * KEYS
    capture: bool = False
    log: frozenset[int] = frozenset()
    checkpoint: frozenset[int] = frozenset()
    position: int = 0
    cursor: int = 0
    step: Step | None = None
    mirrored: frozenset[int] = frozenset()
    locked: int = 0
    drained: bool = False
    owner: int = 1
    crashes: int = 0

    @property
    def swapped(self) -> bool:
        """Whether the new layout serves."""
        return self.change.phase in (P.PROMOTED, P.RB_FENCED, P.CONTRACTING, P.COMPLETED)

    @property
    def serving(self) -> Rows:
        """The rows that clients see."""
        return self.new if self.swapped else self.old

    @property
    def shadow(self) -> Rows:
        """The rows of the other layout."""
        return self.old if self.swapped else self.new

    def with_serving(self, rows: Rows) -> World:
        """With other rows in the serving layout."""
        return replace(self, new=rows) if self.swapped else replace(self, old=rows)

    def with_shadow(self, rows: Rows) -> World:
        """With other rows in the shadow."""
        return replace(self, old=rows) if self.swapped else replace(self, new=rows)


Successor = tuple[str, World]


@dataclass
class Model:
    """The protocol under `rules`. Its successors are all that can happen next."""

    rules: Rules = Rules()
    writes: tuple[Write, ...] = WRITES
    crashes_max: int = 1

    # ------------------------------------------------------------ clients

    def truth(self, world: World) -> Rows:
        """What every acknowledged write together made."""
        rows: list[int | None] = [INITIAL] * KEYS
        for number in world.order:
            write = self.writes[number]
            rows[write.key] = GONE if write.delete else number
        return tuple(rows)

    def writers(self, world: World) -> Iterator[Successor]:
        """A writer begins when nobody has its row or the table's lock, and commits."""
        held = {self.writes[n].key for n in world.open}
        for number, write in enumerate(self.writes):
            if number in world.open:
                yield f"commit {number}", self._commit(world, number)
            elif number not in world.begun and write.key not in held and not world.locked:
                log = world.log | {number} if world.capture and self.rules.log else world.log
                begun = (*world.begun, number)
                yield (
                    f"begin {number}",
                    replace(world, open=world.open | {number}, begun=begun, log=log),
                )
        if not self.rules.log and world.capture:
            yield from self._mirror(world)

    def _commit(self, world: World, number: int) -> World:
        write = self.writes[number]
        rows = _put(world.serving, write.key, GONE if write.delete else number)
        world = replace(world, open=world.open - {number}, order=(*world.order, number))
        return world.with_serving(rows)

    def _mirror(self, world: World) -> Iterator[Successor]:
        """Without a log: the writer's second write, to the other layout."""
        for number in set(world.order) - world.mirrored:
            write = self.writes[number]
            rows = _put(world.shadow, write.key, GONE if write.delete else number)
            fresh = replace(world, mirrored=world.mirrored | {number})
            yield f"mirror {number}", fresh.with_shadow(rows)

    # ------------------------------------------------------------ log, applier, backfill

    def controller(self, world: World) -> Iterator[Successor]:
        """What the owner does in the state that the change has."""
        phase = world.change.phase
        if world.owner != world.change.epoch:
            return
        if phase is P.ANALYZED:
            yield from self._moved(world, "start", ev.Started())
        elif phase is P.SHADOWING:
            yield from self._begin(world)
        elif phase is P.BACKFILLING and world.cursor == KEYS and world.step is None:
            yield from self._moved(world, "copied", ev.Copied())
        elif phase is P.CATCHING_UP and world.step is None:
            yield from self._moved(world, "caught up", ev.CaughtUp(0.0))
        elif phase is P.VALIDATING:
            yield from self._moved(world, "validated", ev.Validated(1, 0))
        if phase in (P.BACKFILLING, P.CATCHING_UP, P.READY) or (
            phase is P.PROMOTED and self.rules.reverse
        ):
            yield from self._feed(world)
        if phase in (P.BACKFILLING, P.READY) and world.step is None:
            yield from self._moved(world, "discard", ev.Discard("user"))
        if phase is P.DISCARDED and world.capture and not world.locked and not world.open:
            gone = replace(world, new=(GONE,) * KEYS, capture=False, log=frozenset(), step=None)
            yield from self._moved(gone, "remove", ev.Settled())

    def _moved(self, world: World, label: str, event: ev.Event) -> Iterator[Successor]:
        if not refusal(world.change, event):
            yield label, replace(world, change=transition(world.change, event)[0])

    def _begin(self, world: World) -> Iterator[Successor]:
        if world.open and self.rules.capture_waits:
            return  # CREATE TRIGGER waits for the writers that are open
        fresh = replace(
            world, capture=True, checkpoint=frozenset(world.order), position=len(world.begun)
        )
        yield from self._moved(fresh, "capture", ev.Begun())

    def _feed(self, world: World) -> Iterator[Successor]:
        if not self.rules.log:
            if world.cursor < KEYS:
                rows = _put(world.shadow, world.cursor, world.serving[world.cursor])
                yield "chunk", replace(world, cursor=world.cursor + 1).with_shadow(rows)
            return
        if world.step is None:
            seen = frozenset(world.order)
            if self._new(world, seen):
                yield "apply: snapshot", self._opened(world, chunk=False)
            if world.cursor < KEYS and not world.swapped:
                yield "chunk: snapshot", self._opened(world, chunk=True)
            yield from self._truncate(world)
            return
        name = "chunk" if world.step.chunk else "apply"
        yield f"{name}: commit", self._applied(world, world.step)
        if (
            not self.rules.apply_before_chunk
            and world.step.chunk
            and self._new(world, frozenset(world.order))
        ):
            # an applier of its own beside the backfill
            beside = Step(False, frozenset(world.order), world.serving)
            yield "apply beside: commit", replace(self._applied(world, beside), step=world.step)

    def _opened(self, world: World, *, chunk: bool) -> World:
        step = Step(chunk, frozenset(world.order), world.serving)
        if not self.rules.checkpoint_with_effects:
            world = replace(world, checkpoint=step.snapshot)
            # what it has to bring in is remembered by the process alone
            fresh = frozenset(world.log & step.snapshot)
            return replace(world, step=replace(step, snapshot=fresh))
        return replace(world, step=step)

    def _new(self, world: World, seen: frozenset[int]) -> frozenset[int]:
        """The records that a transaction with this snapshot has to bring in."""
        if not self.rules.checkpoint_with_effects and world.step is not None:
            return seen
        if self.rules.snapshot_guard:
            return (world.log & seen) - world.checkpoint
        late = {n for n in seen if world.begun.index(n) >= world.position}
        return frozenset(world.log & late)

    def _applied(self, world: World, step: Step) -> World:
        rows = world.shadow
        cursor = world.cursor
        if not step.chunk or self.rules.apply_before_chunk:
            for number in self._new(world, step.snapshot):
                key = self.writes[number].key
                reached = key < cursor or world.swapped
                value = step.rows[key] if reached else GONE
                if value is not GONE or self.rules.deletes or not reached:
                    rows = _put(rows, key, value)
            high = max((world.begun.index(n) + 1 for n in step.snapshot), default=0)
            world = replace(
                world,
                checkpoint=world.checkpoint | step.snapshot,
                position=max(world.position, high),
            )
        if step.chunk:
            if rows[cursor] is GONE or step.rows[cursor] is not GONE:
                rows = _put(rows, cursor, step.rows[cursor])
            cursor += 1
        return replace(world, cursor=cursor, step=None).with_shadow(rows)

    def _truncate(self, world: World) -> Iterator[Successor]:
        if self.rules.truncate_by_checkpoint:
            kept = world.log - world.checkpoint
        else:
            seen = [world.begun.index(n) for n in world.checkpoint if n in world.begun]
            high = max(seen, default=-1)
            kept = frozenset(n for n in world.log if world.begun.index(n) > high)
        if kept != world.log:
            yield "truncate", replace(world, log=kept)

    # ------------------------------------------------------------ cut-over and rollback

    def cut_over(self, world: World) -> Iterator[Successor]:
        """Fence, lock, drain, flip; and the same back."""
        phase = world.change.phase
        if world.step is not None:
            return
        if phase is P.READY and not world.locked:
            yield from self._fenced(world, ev.Fence((0.0, 0.0), follows=True))
        elif phase is P.PROMOTED and not world.locked:
            yield from self._fenced(world, ev.FenceBack(within_window=True))
        elif phase in (P.FENCED, P.RB_FENCED) and world.owner == world.change.epoch:
            waits = world.open or (not self.rules.log and world.mirrored != set(world.order))
            if not world.locked and not (waits and self.rules.fence):
                lock = world.owner if self.rules.fence else 0
                yield "lock", self._drained(replace(world, locked=lock, drained=True))
            yield from self._unfenced(world, "timeout")
        if world.drained:
            yield from self._flip(world)

    def _fenced(self, world: World, event: ev.Event) -> Iterator[Successor]:
        for label, fresh in self._moved(world, "fence", event):
            yield label, replace(fresh, owner=fresh.change.epoch)

    def _drained(self, world: World) -> World:
        feeds = self.rules.log and (not world.swapped or self.rules.reverse)
        if not self.rules.drain or not feeds:
            return world
        return self._applied(world, Step(False, frozenset(world.order), world.serving))

    def _unfenced(self, world: World, reason: str) -> Iterator[Successor]:
        for label, fresh in self._moved(world, reason, ev.Unfenced(reason)):
            yield label, replace(fresh, locked=0, drained=False)

    def _flip(self, world: World) -> Iterator[Successor]:
        """The transaction that holds the lock commits. Its owner may have been succeeded."""
        epoch = world.locked or world.owner
        forward = not world.swapped
        event: ev.Event = ev.Flipped(epoch, follows=True) if forward else ev.FlippedBack(epoch)
        released = replace(world, locked=0, drained=False)
        if refusal(world.change, event):
            if self.rules.compare_and_set:
                yield "flip refused", released
            else:
                wild = replace(world.change, phase=P.PROMOTED if forward else P.ROLLED_BACK)
                yield "flip", replace(released, change=wild)
            return
        fresh = replace(released, change=transition(world.change, event)[0])
        fresh = replace(fresh, checkpoint=frozenset(world.order), log=frozenset(world.open))
        yield "flip" if forward else "flip back", replace(fresh, position=len(world.begun))

    # ------------------------------------------------------------ deaths

    def deaths(self, world: World) -> Iterator[Successor]:
        """The controller dies or is only thought dead, the server dies; somebody takes over."""
        if world.owner == 0:
            claimed = ev.Claimed(world.change.epoch + 1)
            for label, fresh in self._moved(world, "claim", claimed):
                fresh = replace(fresh, owner=fresh.change.epoch)
                if fresh.change.phase in (P.FENCED, P.RB_FENCED):
                    for _, back in self._moved(fresh, "", ev.Unfenced("left")):
                        yield "claim and unfence", back
                else:
                    yield label, fresh
            return
        if world.crashes >= self.crashes_max or world.change.settled:
            return
        dead = replace(world, crashes=world.crashes + 1, owner=0, step=None)
        if world.step is not None or world.locked or world.change.phase in (P.FENCED, P.RB_FENCED):
            yield "controller dies", replace(dead, locked=0, drained=False)
        if world.locked:
            yield "controller is thought dead", dead
        if world.open or world.step is not None or world.mirrored != frozenset(world.order):
            aborted = frozenset(world.log) - world.open
            yield (
                "server dies",
                replace(
                    dead,
                    open=frozenset(),
                    log=aborted,
                    locked=0,
                    drained=False,
                    mirrored=frozenset(world.order),
                ),
            )

    # ------------------------------------------------------------ exploring

    def successors(self, world: World) -> Iterator[Successor]:
        """All that can happen next."""
        yield from self.writers(world)
        if world.owner:
            yield from self.controller(world)
        if world.owner or world.locked:
            yield from self.cut_over(world)
        yield from self.deaths(world)

    def reduced(self, world: World) -> World:
        """The same state without what nothing can tell apart: the order of writes to different
        keys, positions when nobody looks at them, how often there was a fence.
        """
        rules = self.rules
        positions = not (rules.snapshot_guard and rules.truncate_by_checkpoint)
        ranks = sorted({0, world.change.epoch, world.owner, world.locked})
        return replace(
            world,
            change=replace(world.change, epoch=ranks.index(world.change.epoch)),
            owner=ranks.index(world.owner),
            locked=ranks.index(world.locked),
            begun=world.begun if positions else tuple(sorted(world.begun)),
            order=tuple(sorted(world.order, key=lambda n: self.writes[n].key)),
            position=world.position if positions else 0,
            log=world.log if positions else world.log - world.checkpoint,
            mirrored=frozenset() if rules.log else world.mirrored,
        )

    def violated(self, world: World, label: str, after: World) -> str:
        """The invariant that a step broke, "" for none."""
        if after.change.epoch < world.change.epoch:
            return "I8"
        committed = self.rules.snapshot_guard and label.endswith(": commit")
        if committed and not after.checkpoint >= world.checkpoint:
            return "I3"
        if label in ("flip", "flip back"):
            fenced = world.change.phase in (P.FENCED, P.RB_FENCED)
            if not fenced or after.change.epoch != (world.locked or world.owner):
                return "I8"
            if world.open:
                return "I7"
        if after.serving != self.truth(after):
            return {"flip": "I5", "flip back": "I6"}.get(label, "I1")
        if label == "remove" and (after.capture or after.log or after.old != self.truth(after)):
            return "I11"
        return self._behind(world.step, label, after)

    def _behind(self, step: Step | None, label: str, after: World) -> str:
        """At every commit of the applier the shadow is the live layout as of its snapshot, as far
        as the backfill has come.
        """
        if step is None or not self.rules.apply_before_chunk or not label.endswith(": commit"):
            return ""
        for key in range(KEYS if after.swapped else after.cursor):
            if after.shadow[key] != step.rows[key]:
                return "I10" if step.rows[key] is GONE else "I2"
        return ""


def _put(rows: Rows, key: int, value: int | None) -> Rows:
    return (*rows[:key], value, *rows[key + 1 :])


@dataclass(frozen=True)
class Found:
    """What an exploration saw: how many states, and the first violation with its shortest trace."""

    states: int
    violation: str = ""
    trace: tuple[str, ...] = ()
    phases: frozenset[Phase] = frozenset()
    labels: frozenset[str] = frozenset()


def explore(model: Model, *, states_max: int = 400_000) -> Found:
    """Breadth first over all interleavings from the beginning of a change."""
    start = model.reduced(World())
    came: dict[World, tuple[World, str] | None] = {start: None}
    queue = deque([start])
    labels: set[str] = set()
    while queue:
        world = queue.popleft()
        for label, reached in model.successors(world):
            labels.add(label)
            broken = model.violated(world, label, reached)
            if broken:
                return Found(len(came), broken, (*_path(came, world), label))
            after = model.reduced(reached)
            if after not in came:
                came[after] = (world, label)
                queue.append(after)
        assert len(came) <= states_max, "the model has grown too large"
    phases = frozenset(w.change.phase for w in came)
    return Found(len(came), phases=phases, labels=frozenset(labels))


def _path(came: dict[World, tuple[World, str] | None], world: World) -> tuple[str, ...]:
    labels: list[str] = []
    step = came[world]
    while step is not None:
        world, label = step
        labels.append(label)
        step = came[world]
    return tuple(reversed(labels))
