"""Records of a change log as values, whichever store keeps them (EVOLUTION 3).

A record is the after-image of one row, never a statement, so applying it twice is applying it once.
A batch is what one transaction wrote to one table: all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Operation = Literal["put", "del", "truncate"]


@dataclass(frozen=True, slots=True)
class Json:
    """A value that is kept as JSON text: documents, arrays, composite values."""

    text: str


Value = None | bool | int | float | bytes | str | Json
"""A value of a column. Types that Avro has no exact form for (numeric, dates, uuid, …) are texts as
PostgreSQL prints them in UTC."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One row written. `key` and `image` are by column id; the field `_doc` of a document has id 0.

    `touched` are the ids of the columns that changed, None when all did. `epoch` is the catalog's
    when the capture was made, `version_id` the version that wrote, None when the store cannot know.
    `stmt_hash` and `session_unit` say which statement and which login, `shadow_ids` which changes
    are fed from the log.
    """

    lsn: int
    epoch: int
    change_epoch: int
    table_id: int
    version_id: int | None
    key: Mapping[int, Value]
    op: Operation
    image: Mapping[int, Value] | None
    touched: tuple[int, ...] | None
    stmt_hash: int
    session_unit: str
    ts_us: int
    shadow_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What transaction `transaction` of the store wrote to a table, in the order of positions."""

    transaction: int
    records: tuple[LogRecord, ...]
