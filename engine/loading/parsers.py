"""Several processes that parse blocks of lines, count what they see, and encode rows.

They are forked by the reading process, which has no threads, and take blocks in turn: one block is
with each at a time, so that neither side can wait for the other to take something first. Statistics
of parts are merged at the end (the order does not matter, catalog.inference.statistics).
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import BinaryIO, Final, TypeVar, cast

from backends.embedded.ingest import encode_rows
from backends.files.ndjson import read_ndjson
from backends.files.records import Reject
from backends.files.source import ByteSource
from catalog.inference.statistics import InferenceLimits, TableStats, merge
from core.errors import InternalError
from core.parent_death import follow_parent
from engine.loading.blocks import Block
from engine.loading.jobs import Job, Rows
from engine.loading.shape_counts import ShapeCounter

T = TypeVar("T")

PARSERS_MAX: Final = 4
RECORD_BYTES_MAX: Final = 64 * 1024  # of a rejected line; of a longer one the beginning is kept
STOP_TIMEOUT_S: Final = 5.0


def die_with_parent() -> None:
    """End this process when its parent ends, however that comes (Linux; elsewhere by its pipes)."""
    follow_parent(signal.SIGKILL)()


def parser_count() -> int:
    """How many processes are worth it on this machine; 1 means none beside the reading process."""
    return max(1, min(PARSERS_MAX, len(os.sched_getaffinity(0))))


def parse_block(
    block: Block, source: int, first_ordinal: int, job: Job, counter: ShapeCounter
) -> Rows:
    """One block as rows. Ordinals rise with the lines, but are not those of documents."""
    first = block.first_line == 1
    # A line end before the lines keeps a first line from being taken for the beginning of a file
    # (a byte order mark, the magic bytes of a compression).
    raw = io.BytesIO(block.data if first else b"\n" + block.data)
    offset = block.first_line - (1 if first else 2)
    options = replace(
        job.options,
        first_ordinal=first_ordinal,
        batch_rows_max=block.lines + 2,
        batch_chars_max=2 * len(block.data) + 1,
    )
    documents = []
    rejects: list[Reject] = []
    for batch in read_ndjson(ByteSource(cast("BinaryIO", raw)), options):
        documents += batch.documents
        rejects += (_whole_record(r, block, offset) for r in batch.rejects)
    for document in documents:
        counter.observe(document.value, document.ordinal)
    copy = encode_rows(
        documents, source, foreign=False, readable=job.types is not None, line_offset=offset
    )
    return Rows(source, copy, len(documents), tuple(rejects), block.stored, 0)


def _whole_record(reject: Reject, block: Block, offset: int) -> Reject:
    """The reject with its own line number and all of its text, if that is not far too long."""
    line = reject.line_number + offset
    raw = block.data.split(b"\n")[line - block.first_line]
    if len(raw) > RECORD_BYTES_MAX:
        return reject._replace(line_number=line)
    return Reject(line, reject.reason, raw.decode(errors="replace").rstrip("\r"))


def _serve(pipe: Connection, others: Sequence[Connection], job: Job) -> None:
    """The life of one parsing process: tasks until None, then the statistics."""
    die_with_parent()
    for other in others:  # ends that the fork copied: with them open, no pipe would ever end
        other.close()
    counter = ShapeCounter(job.limits)
    while (task := pipe.recv()) is not None:
        block, source, first_ordinal = task
        pipe.send(parse_block(block, source, first_ordinal, job, counter))
    pipe.send(counter.stats())


def _receive(pipe: Connection, kind: type[T]) -> T:
    try:
        value = pipe.recv()
    except EOFError:
        raise InternalError("a process that parses documents ended early") from None
    assert isinstance(value, kind)
    return value


class Parsers:
    """Parsing processes for one job; `close` leaves none behind."""

    def __init__(self, job: Job, count: int) -> None:
        context = multiprocessing.get_context("fork")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, [*self._pipes, ours], job), daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

        self.lines = 0  # of the source that was parsed last

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join(STOP_TIMEOUT_S)

    def parse(self, blocks: Iterable[Block], source: int, first_ordinal: int) -> Iterator[Rows]:
        """The rows of all blocks, in order."""
        busy: deque[Connection] = deque()
        idle = deque(self._pipes)
        self.lines = 0
        for block in blocks:
            self.lines += block.lines
            if not idle:
                pipe = busy.popleft()
                rows = _receive(pipe, Rows)
                idle.append(pipe)
            else:
                rows = None
            pipe = idle.popleft()
            pipe.send((block, source, first_ordinal + block.first_line - 1))
            busy.append(pipe)
            if rows is not None:
                yield rows
        while busy:
            yield _receive(busy.popleft(), Rows)

    def finish(self, limits: InferenceLimits) -> TableStats:
        """What all of them saw."""
        stats = TableStats.empty(limits)
        for pipe in self._pipes:
            pipe.send(None)
            stats = merge(stats, _receive(pipe, TableStats))
        return stats
