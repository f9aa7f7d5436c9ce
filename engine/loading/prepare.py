"""From inputs to frames: read, count for inference, encode for COPY. Synchronous and pure but for
reading the files; it runs in the reading process (`engine.loading.reader`).
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator
from typing import BinaryIO, cast

import sample.shop
from backends.embedded.ingest import encode_rows
from backends.files.reader import read_batches, source_format
from backends.files.records import ReadOptions
from backends.files.source import STDIN, ByteSource
from catalog.inference.statistics import Observer
from core.errors import MorphError
from engine.loading.jobs import Failed, Finished, Frame, Input, Job, Rows


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


def frames(job: Job) -> Iterator[Frame]:
    """All frames of a job; a fault of an input is the last frame, not an exception."""
    observer = Observer(job.limits)
    size = total_size(job.inputs)
    options = job.options
    before = 0
    try:
        for number, item in enumerate(job.inputs):
            for rows in _input_rows(item, number, options, observer):
                options = dataclasses.replace(
                    options, first_ordinal=options.first_ordinal + rows.documents
                )
                stored = before + rows.stored
                yield dataclasses.replace(rows, stored=stored, size=size)
            before += 0 if item.sample or item.path == STDIN else os.path.getsize(item.path)
    except MorphError as error:
        yield Failed(error.sqlstate, error.primary, error.detail, error.hint)
        return
    yield Finished(observer.stats)


def _input_rows(
    item: Input, number: int, options: ReadOptions, observer: Observer
) -> Iterator[Rows]:
    with open_input(item) as source:
        file_format = item.file_format or source_format(source)
        for batch in read_batches(source, file_format, options):
            for document in batch.documents:
                observer.observe(document.value, document.ordinal)
            yield Rows(
                number,
                encode_rows(batch.documents, number, foreign=file_format == "parquet"),
                len(batch.documents),
                tuple(batch.rejects),
                batch.bytes_read,
                0,
            )
