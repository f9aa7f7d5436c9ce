"""Chunk tree: sums of key ranges that are kept up to date by the writes themselves (V2).

A leaf is a range of about 1,000 keys with the multiset sum of its rows; an inner node is the sum of
its children. A write is `sum += h(new) - h(old)` along one path, so two trees can be compared at
any time: equal roots, equal rows. Kept on the one side from the log and on the other from what was
applied, they prove that the log was applied rightly, without reading a table.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from core.checksum import MultisetChecksum
from core.errors import InternalError

LEAF_ROWS: Final = 1_000
FAN_OUT: Final = 32


class Ordered(Protocol):
    """What can be a key here: values with an order of their own."""

    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=Ordered)


class ChunkTree(Generic[K]):
    """Sums over rows (bytes) by key. `bounds` are the last keys of all leaves but the last one."""

    def __init__(self, bounds: Sequence[K], fan_out: int = FAN_OUT) -> None:
        self._bounds = list(bounds)
        self._fan_out = fan_out
        self._levels = [[MultisetChecksum() for _ in range(len(bounds) + 1)]]
        while len(self._levels[-1]) > 1:
            width = -(-len(self._levels[-1]) // fan_out)
            self._levels.append([MultisetChecksum() for _ in range(width)])
        self._dirty: set[int] = set()

    @property
    def root(self) -> MultisetChecksum:
        """The sum of all rows."""
        return self._levels[-1][0]

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def update(self, key: K, old: bytes | None, new: bytes | None) -> None:
        """A row was written: `old` is None for an insert, `new` for a delete."""
        delta = MultisetChecksum()
        if new is not None:
            delta.add_rows([new])
        if old is not None:
            delta.remove_rows([old])
        leaf = bisect_left(self._bounds, key)
        self._dirty.add(leaf)
        self._add(leaf, delta)

    def add(self, rows: Iterable[tuple[K, bytes]]) -> None:
        """Put rows in, as when the tree is built."""
        by_leaf: dict[int, list[bytes]] = {}
        for key, row in rows:
            by_leaf.setdefault(bisect_left(self._bounds, key), []).append(row)
        for leaf, members in by_leaf.items():
            delta = MultisetChecksum()
            delta.add_rows(members)
            self._add(leaf, delta)

    def _add(self, leaf: int, delta: MultisetChecksum) -> None:
        for level in self._levels:
            level[leaf].merge(delta)
            leaf //= self._fan_out

    def range_of(self, leaf: int) -> tuple[K | None, K | None]:
        """The keys of a leaf: (after, until), None where it has no bound."""
        return (
            self._bounds[leaf - 1] if leaf else None,
            self._bounds[leaf] if leaf < len(self._bounds) else None,
        )

    def dirty(self) -> list[int]:
        """The leaves written to since this was asked last: what to verify before a cut-over."""
        found, self._dirty = sorted(self._dirty), set()
        return found

    def differing(self, other: ChunkTree[K]) -> Iterator[int]:
        """The leaves whose sums differ, going down only where the sums of nodes do.

        Raises InternalError (XX000) for trees of other leaves.
        """
        if self._bounds != other._bounds or self._fan_out != other._fan_out:
            raise InternalError("chunk trees of different leaves cannot be compared")
        yield from self._below(other, len(self._levels) - 1, 0)

    def _below(self, other: ChunkTree[K], level: int, node: int) -> Iterator[int]:
        if self._levels[level][node] == other._levels[level][node]:
            return
        if level == 0:
            yield node
            return
        first = node * self._fan_out
        width = len(self._levels[level - 1])
        for child in range(first, min(first + self._fan_out, width)):
            yield from self._below(other, level - 1, child)


def leaf_bounds(keys: Sequence[K], leaf_rows: int = LEAF_ROWS) -> list[K]:
    """Bounds of leaves of about `leaf_rows` keys each, from sorted keys."""
    return [keys[at] for at in range(leaf_rows - 1, len(keys) - 1, leaf_rows)]
