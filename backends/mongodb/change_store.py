"""What MongoDB does for changes with data work: log, layouts and tail in one object."""

from __future__ import annotations

from backends.mongodb.change_log import ChangeLog, Commands
from backends.mongodb.change_tail import ChangeTail
from backends.mongodb.layouts import DEAD, Layouts


class MongoChangeStore(ChangeLog, Layouts, ChangeTail):
    """See backends.change_store.ChangeStore."""

    grace_s = 2.0
    dead_path: tuple[str, ...] = (DEAD,)

    def __init__(self, commands: Commands) -> None:
        ChangeLog.__init__(self, commands)
        Layouts.__init__(self, commands)
        ChangeTail.__init__(self, commands)
