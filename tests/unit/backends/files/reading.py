"""Reads bytes with a reader, for the tests of this package."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from backends.files.reader import read_batches
from backends.files.records import DEFAULT_OPTIONS, Format, RawDocument, ReadOptions, Reject
from backends.files.source import ByteSource


def read(
    data: bytes | Path, file_format: Format | None = None, options: ReadOptions = DEFAULT_OPTIONS
) -> tuple[list[RawDocument], list[Reject]]:
    """All documents and rejects of bytes or of a file."""
    documents: list[RawDocument] = []
    rejects: list[Reject] = []
    source = ByteSource(io.BytesIO(data)) if isinstance(data, bytes) else ByteSource.open(str(data))
    with source:
        for batch in read_batches(source, file_format, options):
            documents += batch.documents
            rejects += batch.rejects
    return documents, rejects


def values(data: bytes | Path, file_format: Format | None = None) -> list[dict[str, Any]]:
    """The values of all documents of a file without rejects."""
    documents, rejects = read(data, file_format)
    assert rejects == []
    return [document.value for document in documents]
