"""What readers yield: documents, rejects, batches of both, and the limits they keep.

Invariant: `RawDocument.text` is JSON that PostgreSQL's jsonb takes, and it agrees with `value`:
a field whose value is of kind int, float, decimal, string or bool can be cast from `text`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

Format = Literal["ndjson", "json", "csv", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("ndjson", "json", "csv", "parquet")

EXCERPT_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Limits and choices of a reader.

    `line_bytes_max`: one record as text. `depth_max`: nesting of a document (MongoDB: 100).
    `batch_rows_max` and `batch_chars_max`: a batch ends at whichever comes first. `chunk_bytes`:
    one read. `record_lines_max`: lines of one CSV record. `extended`: unwrap Extended JSON.
    `delimiter`: of CSV; empty means found from the header. `first_ordinal`: of the first document.
    """

    line_bytes_max: int = 16 * 1024 * 1024
    depth_max: int = 200
    batch_rows_max: int = 2_000
    batch_chars_max: int = 4 * 1024 * 1024
    chunk_bytes: int = 1024 * 1024
    record_lines_max: int = 1_000
    extended: bool = True
    delimiter: str = ""
    first_ordinal: int = 1


DEFAULT_OPTIONS: Final = ReadOptions()


class RawDocument(NamedTuple):
    """One document: its number among the accepted ones, its line (or row), JSON text and value."""

    ordinal: int
    line_number: int
    text: str
    value: dict[str, Any]


class Reject(NamedTuple):
    """One record that is no document, why, and how it begins."""

    line_number: int
    reason: str
    excerpt: str


@dataclass(slots=True)
class Batch:
    """Documents and rejects in the order of the file; `bytes_read` counts from its beginning."""

    documents: list[RawDocument] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    bytes_read: int = 0


Batches = Iterator[Batch]


class RejectedRecord(ValueError):
    """A record that cannot be a document; the message is the reason."""


class Collector:
    """Gathers records into batches; `full` says when to hand one over."""

    def __init__(self, options: ReadOptions) -> None:
        self._rows_max = options.batch_rows_max
        self._chars_max = options.batch_chars_max
        self._ordinal = options.first_ordinal
        self._batch = Batch()
        self._chars = 0

    def add(self, line_number: int, text: str, value: dict[str, Any]) -> None:
        """Take a document."""
        self._batch.documents.append(RawDocument(self._ordinal, line_number, text, value))
        self._ordinal += 1
        self._chars += len(text)

    def reject(self, line_number: int, reason: str, raw: str | bytes) -> None:
        """Take a record that is no document."""
        start = raw[: EXCERPT_CHARS * 4]
        shown = start.decode(errors="replace") if isinstance(start, bytes) else start
        excerpt = shown.encode(errors="replace").decode()[:EXCERPT_CHARS].replace("\0", "\ufffd")
        self._batch.rejects.append(Reject(line_number, reason, excerpt))
        self._chars += len(excerpt)

    @property
    def full(self) -> bool:
        """True if the batch should go."""
        rows = len(self._batch.documents) + len(self._batch.rejects)
        return rows >= self._rows_max or self._chars >= self._chars_max

    def take(self, bytes_read: int) -> Batch:
        """The batch so far; a new one begins."""
        batch, self._batch = self._batch, Batch()
        batch.bytes_read = bytes_read
        self._chars = 0
        return batch
