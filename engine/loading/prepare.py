"""From inputs to frames: read, count for inference, encode for COPY. Synchronous and pure but for
reading the files; it runs in the reading process (`engine.loading.reader`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, Final, cast

import sample.shop
from backends.embedded.ingest import encode_rows
from backends.files.reader import read_batches, source_format
from backends.files.records import Format
from backends.files.source import HEAD_BYTES, STDIN, ByteSource
from catalog.inference.statistics import TableStats, merge
from core.errors import MorphError
from engine.loading.blocks import cut_blocks
from engine.loading.cells import typed_cells
from engine.loading.jobs import Failed, Finished, Frame, Input, Job, Rows
from engine.loading.parsers import Parsers, parse_block
from engine.loading.shape_counts import ShapeCounter

PARALLEL_FROM_BYTES: Final = 2 * 1024 * 1024


class _Pieces(io.RawIOBase):
    """A raw stream over an iterator of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < size and (piece := next(self._pieces, b"")):
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        data, self._rest = data[:size], data[size:]
        return data


def open_input(source: Input) -> ByteSource:
    """The bytes of an input; StoreIOError or BadCopyFormat if there are none to read."""
    if source.sample:
        pieces = _Pieces(sample.shop.ndjson(source.sample))
        return ByteSource(cast("BinaryIO", pieces), name=f"{source.sample}.ndjson")
    return ByteSource.open(source.path)


def total_size(inputs: tuple[Input, ...]) -> int:
    """The size of all files together, 0 if one is a stream or not there."""
    total = 0
    for source in inputs:
        if source.sample or source.path == STDIN or not os.path.isfile(source.path):
            return 0
        total += os.path.getsize(source.path)
    return total


def frames(job: Job, *, parsers: int = 1) -> Iterator[Frame]:
    """All frames of a job; a fault of an input is the last frame, not an exception.

    With more than one parser, files of lines are parsed by processes of their own.
    """
    run = _Run(job, parsers)
    try:
        yield from run.rows()
        yield Finished(run.stats())
    except MorphError as error:
        yield Failed(error.sqlstate, error.primary, error.detail, error.hint)
    finally:
        run.close()


class _Run:
    """One job: what is the same over its inputs."""

    def __init__(self, job: Job, parsers: int) -> None:
        self._job = job
        self._count = parsers
        self._counter = ShapeCounter(job.limits)
        self._team: Parsers | None = None
        self._ordinal = 1  # the next; ordinals rise, but some are left out

    def rows(self) -> Iterator[Rows]:
        """The rows of all inputs."""
        size = total_size(self._job.inputs)
        before = 0
        for number, item in enumerate(self._job.inputs):
            with open_input(item) as source:
                file_format = item.file_format or source_format(source)
                parallel = self._count > 1 and file_format == "ndjson" and _is_long(source)
                read = self._in_parallel if parallel else self._alone
                for rows in read(source, file_format, number):
                    yield replace(rows, stored=before + rows.stored, size=size)
                before += source.bytes_read

    def stats(self) -> TableStats:
        """What all documents look like."""
        stats = self._counter.stats()
        return merge(stats, self._team.finish(self._job.limits)) if self._team else stats

    def close(self) -> None:
        """End the processes."""
        if self._team is not None:
            self._team.close()

    def _in_parallel(self, source: ByteSource, _format: Format, number: int) -> Iterator[Rows]:
        self._team = self._team or Parsers(self._job, self._count)
        blocks = cut_blocks(source, self._job.options)
        yield from self._team.parse(blocks, number, self._ordinal)
        self._ordinal += self._team.lines

    def _alone(self, source: ByteSource, file_format: Format, number: int) -> Iterator[Rows]:
        job = self._job
        if file_format == "ndjson":
            first = self._ordinal
            for block in cut_blocks(source, job.options):
                yield parse_block(block, number, first + block.first_line - 1, job, self._counter)
                self._ordinal = first + block.first_line - 1 + block.lines
            return
        options = replace(job.options, first_ordinal=self._ordinal)
        for batch in read_batches(source, file_format, options):
            documents = batch.documents
            if file_format == "csv" and job.types is not None:
                documents = [typed_cells(document, job.types) for document in documents]
            for document in documents:
                self._counter.observe(document.value, document.ordinal)
            copy = encode_rows(
                documents,
                number,
                foreign=file_format == "parquet",
                readable=job.types is not None,
            )
            self._ordinal += len(documents)
            rejects = tuple(batch.rejects)
            yield Rows(number, copy, len(documents), rejects, batch.bytes_read, 0)


def _is_long(source: ByteSource) -> bool:
    """True if starting processes pays."""
    large = source.size is None or source.size >= PARALLEL_FROM_BYTES
    return large and len(source.head) >= HEAD_BYTES
