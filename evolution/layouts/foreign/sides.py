"""Both layouts for the validator, in the form of the newer one.

There is no moment as of which two collections could be read. A row that was written between the two
reads is in the log then, or in the store's own tail, or was brought in since: it gets a position of
its own on each side, so the judge puts it off (EVOLUTION 8, "different LSN: in flight"). All others
are at position 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from backends.base import Scope
from backends.change_store import ChangeStore, Key, StoreRow, TailLost
from catalog.model import Column, Table
from evolution.layouts.base import Chunk, Row, SideColumn
from evolution.layouts.embedded.sessions import Sessions
from evolution.layouts.foreign import brought
from evolution.layouts.foreign.feeds import ForeignFeed
from evolution.layouts.foreign.transform import Failed, computed
from evolution.validation.canonical import base_type
from evolution.validation.lines import cut_lines, cut_row, escape, unescape

STEP_S = 120.0
_TAILED = 2_000
_IN_FLIGHT = count(1)
"""Positions of rows in flight: no two looks see the same one, whoever looks."""


@dataclass(slots=True)
class Moment:
    """What is in flight since two sides were opened: since `feed` was read. `logged` are keys that
    were found in the log, in the store's own tail, or brought in meanwhile.
    """

    store: ChangeStore
    sessions: Sessions
    feed: ForeignFeed
    scope: Callable[[], Scope]
    refused: frozenset[Key]
    live: Table
    tail: str | None
    still: bool = False
    """Nobody writes: inside of a fence."""
    logged: set[Key] = field(default_factory=set)

    async def look(self) -> None:
        """Remember what is in the log now."""
        if not self.still:
            found = await self.store.read(self.feed.place, 0, self.scope())
            self.logged |= {each.key for each in found}
            await self._look_at_tail()
            async with self.sessions.step(STEP_S) as db:  # behind the log, from which they go
                self.logged |= await brought.since(db, self.feed)

    async def _look_at_tail(self) -> None:
        whole = self.tail is None
        while self.tail is not None and not whole:
            try:
                found = await self.store.tail(self.live, self.tail, _TAILED, self.scope())
            except TailLost:
                return  # its owner learns it, too, and copies everything once more
            self.logged |= set(found.keys)
            self.tail, whole = found.token, found.whole

    def position(self, key: Key) -> int:
        """0 for a row at rest, another one each time for a row in flight."""
        if self.still or key not in self.logged:
            return 0
        return next(_IN_FLIGHT)


class ForeignSide:
    """See `Side`. `form` is the layout's own; `compared` are the columns of both sides, and
    `expressions` (over `inputs`) those that are computed of them, by id.
    """

    snapshot = False

    def __init__(
        self,
        moment: Moment,
        sessions: Sessions,
        form: Table,
        compared: Sequence[Column],
        expressions: Mapping[int, str],
        inputs: Sequence[Column],
    ) -> None:
        self._moment = moment
        self._sessions = sessions
        self._form = form
        self._compared = tuple(compared)
        self._expressions = dict(expressions)
        self._inputs = tuple(inputs)
        self._keys: dict[bytes, Key] = {}
        self._held: dict[str, StoreRow | None] = {}
        self.columns = tuple(SideColumn(c.id, c.name, c.type) for c in compared)

    async def chunk(self, after: bytes | None, until: bytes | None, rows: int) -> Chunk:
        """See Side."""
        await self._moment.look()
        found = await self._moment.store.chunk(
            self._form, position_of(after), position_of(until), rows, self._moment.scope()
        )
        lines, left_out = await self._lines(found.rows)
        await self._moment.look()
        data = b"".join(lines)
        last = found.last.encode() if found.last is not None else None
        last = escape(last) if last is not None else None
        split = partial(self._split, data)
        return Chunk(data, len(lines), last, found.ended, split, left_out, self._cut)

    async def keys(self, after: bytes | None, until: bytes | None, rows: int) -> Sequence[bytes]:
        """See Side."""
        found = await self._moment.store.chunk(
            self._form, position_of(after), position_of(until), rows, self._moment.scope()
        )
        shown = [row for row in found.rows if row.key not in self._moment.refused]
        return [self._known(row) for row in shown]

    async def look_up(self, keys: Sequence[bytes]) -> Sequence[Row]:
        """See Side."""
        await self._moment.look()
        positions = [str(position_of(key)) for key in keys]
        unread = [each for each in positions if each not in self._held]
        held = (self._held.get(each) for each in positions)
        found = [row for row in held if row is not None]
        if unread:
            found += await self._moment.store.at(self._form, unread, self._moment.scope())
        lines, _ = await self._lines(found)
        await self._moment.look()
        return [self._cut(line[:-1]) for line in lines]

    async def in_flight(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """See Side: `look_up` tells it row by row."""
        del keys
        return ()

    def values(self, row: Row) -> Sequence[bytes | None]:
        """See Side."""
        return [unescape(each) for each in row.data.split(b"\t")]

    def key_text(self, key: bytes) -> str:
        """See Side."""
        known = self._keys.get(key)
        if known is None:
            return str(position_of(key))
        return known[0] if len(known) == 1 else f"({', '.join(known)})"

    # ------------------------------------------------------------------ rows as lines

    def know(self, rows: Sequence[StoreRow]) -> None:
        """Rows that were read elsewhere: their keys are known to people then."""
        for row in rows:
            self._known(row)

    def hold(self, positions: Sequence[str], rows: Sequence[StoreRow]) -> None:
        """These are the rows at these positions, read while nobody writes: they are not read again
        when they are looked up.
        """
        self._held |= dict.fromkeys(positions) | {row.position: row for row in rows}

    def _known(self, row: StoreRow) -> bytes:
        key = escape(row.position.encode())
        self._keys[key] = row.key
        return key

    def _split(self, data: bytes) -> list[Row]:
        return [self._cut(line) for line in cut_lines(data)]

    def _cut(self, line: bytes) -> Row:
        row = cut_row(line, 1)
        position = self._moment.position(self._keys[row.key])
        return Row(row.key, position, row.data) if position else row

    async def _lines(self, rows: Sequence[StoreRow]) -> tuple[list[bytes], list[bytes]]:
        """The rows as lines, and the keys of those that cannot be computed just now."""
        shown = [row for row in rows if row.key not in self._moment.refused]
        wanted = [column.id for column in self._compared if column.id in self._expressions]
        texts = await self._computed(shown, wanted)
        lines: list[bytes] = []
        left_out: list[bytes] = []
        for row, values in zip(shown, texts, strict=True):
            key = self._known(row)
            if isinstance(values, Failed):
                left_out.append(key)
                continue
            known = dict(row.values) | dict(zip(wanted, values, strict=True))
            fields = [_field(known.get(column.id)) for column in self._compared]
            lines.append(b"\t".join([key, b"0", *fields]) + b"\n")
        return lines, left_out

    async def _computed(
        self, rows: Sequence[StoreRow], wanted: Sequence[int]
    ) -> list[tuple[str | None, ...] | Failed]:
        types = {column.id: column.type for column in self._compared}
        expressions = [
            f"pg_catalog.trim_scale({self._expressions[each]})"
            if base_type(types[each]) == "numeric"
            else self._expressions[each]
            for each in wanted
        ]
        values = [[row.values.get(c.id) for c in self._inputs] for row in rows]
        async with self._sessions.step(STEP_S) as db:
            return await computed(db, expressions, self._inputs, values)


def position_of(key: bytes | None) -> str | None:
    """The position in the store that a key of a side is."""
    return None if key is None else (unescape(key) or b"").decode()


def _field(text: str | None) -> bytes:
    return escape(None if text is None else text.encode())


def itself(columns: Sequence[Column]) -> dict[int, str]:
    """Columns as they are, by id, over themselves as inputs."""
    return {column.id: f'("${n}")' for n, column in enumerate(columns, 1)}
