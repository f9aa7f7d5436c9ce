"""What this process did to a layout lately: which keys it brought in (who reads the two layouts one
after the other must not take a write between for a difference), and under which epoch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from backends.change_store import Key

KEYS_MAX = 200_000


class Touched:
    """Keys of one table, with when they were brought in, counted."""

    def __init__(self) -> None:
        self.now = 0
        self.epoch = 0
        """The epoch of the last position; 0 when a command of ours may still be on its way."""
        self._at: OrderedDict[Key, int] = OrderedDict()
        self._forgotten = 0

    def add(self, keys: Iterable[Key]) -> None:
        """They are about to be brought in."""
        self.now += 1
        for key in keys:
            self._at[key] = self.now
            self._at.move_to_end(key)
        while len(self._at) > KEYS_MAX:
            _, self._forgotten = self._at.popitem(last=False)

    def since(self, moment: int, key: Key) -> bool:
        """Whether the key was brought in after `moment`, a value of `now`; also when that is not
        known any more.
        """
        return self._at.get(key, 0) > moment or self._forgotten > moment
