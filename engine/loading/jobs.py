"""What is to be read, and what comes back from the reading process: values only.

A job is the input of one table. Its frames are any number of `Rows` in the order of the input and
one `Finished`; an input that cannot be read gives `Failed` instead and nothing after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.files.records import Format, ReadOptions, Reject
from catalog.inference.statistics import InferenceLimits, TableStats


@dataclass(frozen=True, slots=True)
class Input:
    """One file (`-` is standard input), or one table of the sample data set."""

    path: str = ""
    file_format: Format | None = None
    sample: str = ""

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.path or self.sample


@dataclass(frozen=True, slots=True)
class Job:
    """The inputs of one table, read one after the other.

    `types` are those of an existing table's columns by field, None for a new table.
    """

    inputs: tuple[Input, ...]
    types: Mapping[str, str] | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    limits: InferenceLimits = field(default_factory=InferenceLimits)


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch: rows of a binary COPY into the staging table, and the records that are none.

    `stored` are bytes read so far as they lie in the files, `size` is that of all files, 0 if
    it is not known.
    """

    source: int
    copy: bytes
    documents: int
    rejects: tuple[Reject, ...]
    stored: int
    size: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a job: what all its documents looked like."""

    stats: TableStats


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot go on; the fields are those of a MorphError of the class `sqlstate`."""

    sqlstate: str
    primary: str
    detail: str
    hint: str


Frame = Rows | Finished | Failed
