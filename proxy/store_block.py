"""The client's transaction as far as other stores are concerned: its work in each of them, and the
savepoints that it can go back to (no I/O).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.base import StoreBackend, StoreTransaction
from core.errors import OutOfMemory
from engine.waiting_writes import Waiting

if TYPE_CHECKING:
    from proxy.logged_writes import Author, Hold


@dataclass(frozen=True, slots=True)
class Savepoint:
    """A savepoint of the client; numbers count from 1 and are not used again in a block."""

    name: str
    number: int


@dataclass(slots=True)
class StoreWork:
    """What a transaction of a session has in a store.

    `transaction` is the store's own; None in a store without: what is written is `waiting` for
    COMMIT then, as `author` wrote it. `holds` are the tables that it keeps until it is over.
    `writes` counts those in effect, `marks` how many there were at each savepoint; savepoints up to
    the number `since` are older than the work.
    """

    backend: StoreBackend
    transaction: StoreTransaction | None
    since: int = 0
    writes: int = 0
    marks: dict[int, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    author: Author | None = None
    _kept: list[int] = field(default_factory=list)

    def hold_of(self, table_id: int) -> Hold | None:
        """The newest hold of a table, which its writes belong to."""
        return next((h for h in reversed(self.holds) if h.table.id == table_id), None)

    def release(self) -> None:
        """The transaction is over in the store."""
        for hold in self.holds:
            hold.release()
        self.holds.clear()

    @property
    def wrote(self) -> bool:
        """Whether a COMMIT would change the store."""
        return self.writes > 0

    def at(self, mark: Savepoint) -> int:
        """How many writes there were at a savepoint."""
        return self.marks.get(mark.number, 0) if mark.number > self.since else 0

    def keep(self, waiting: Waiting, used: int, memory_max: int) -> None:
        """Let a write wait for COMMIT; OutOfMemory (53200) when that would take too much."""
        if used > memory_max:
            raise OutOfMemory(
                "rows that wait for COMMIT need more memory than merge.memory_max",
                hint="Raise merge.memory_max, or write fewer rows in one transaction.",
            )
        self.waiting.append(waiting)
        self._kept.append(self.writes)

    def undo_to(self, mark: Savepoint) -> None:
        """Forget what was written since a savepoint."""
        self.writes = self.at(mark)
        while self._kept and self._kept[-1] > self.writes:
            self._kept.pop()
            self.waiting.pop()


@dataclass(slots=True)
class Block:
    """The client's transaction: `open` between BEGIN and its end, `wrote_here` when it wrote to the
    embedded store, `isolation` once it was asked for, `works` by the names of the stores.

    `at_commit` and `sequential` are the settings for its writes, read when `settled`.
    """

    open: bool = False
    wrote_here: bool = False
    isolation: str = ""
    settled: bool = False
    at_commit: bool = False
    sequential: bool = False
    works: dict[str, StoreWork] = field(default_factory=dict)
    savepoints: list[Savepoint] = field(default_factory=list)
    numbers: int = 0

    @property
    def wrote(self) -> list[str]:
        """The stores that a COMMIT would change."""
        return [name for name, work in self.works.items() if work.wrote]

    def take(self) -> list[StoreWork]:
        """The works, which the block has no more; the next transaction of a chain begins anew."""
        works, self.works = list(self.works.values()), {}
        self.settled = False
        return works

    # ------------------------------------------------------------------ savepoints

    def push(self, name: str) -> Savepoint:
        """A new savepoint; it hides an older one of the same name."""
        self.numbers += 1
        mark = Savepoint(name, self.numbers)
        self.savepoints.append(mark)
        return mark

    def find(self, name: str) -> Savepoint | None:
        """The newest savepoint of this name."""
        return next((each for each in reversed(self.savepoints) if each.name == name), None)

    def forget(self, mark: Savepoint, *, itself: bool) -> None:
        """Those after a savepoint are gone; `itself` too."""
        last = mark.number - 1 if itself else mark.number
        self.savepoints = [each for each in self.savepoints if each.number <= last]
