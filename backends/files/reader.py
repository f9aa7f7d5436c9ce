"""The way in: open a file, find its format, yield batches of documents and rejects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from backends.files.csv_table import read_csv
from backends.files.detect import detect_format
from backends.files.json_stream import read_json
from backends.files.ndjson import read_ndjson
from backends.files.parquet_table import read_parquet
from backends.files.records import DEFAULT_OPTIONS, FORMATS, Batches, Format, ReadOptions
from backends.files.source import ByteSource
from core.errors import InvalidParameterValue

_READERS: Final[dict[Format, Callable[[ByteSource, ReadOptions], Batches]]] = {
    "ndjson": read_ndjson,
    "json": read_json,
    "csv": read_csv,
    "parquet": read_parquet,
}


def parse_format(name: str) -> Format:
    """A format by the name a user gave; InvalidParameterValue names the choices."""
    for known in FORMATS:
        if name.lower() == known:
            return known
    choices = ", ".join(FORMATS)
    raise InvalidParameterValue(f'unknown file format "{name}"', hint=f"Formats are {choices}.")


def source_format(source: ByteSource) -> Format:
    """The format of an open source."""
    return detect_format(source.name, source.head)


def read_batches(
    source: ByteSource, file_format: Format | None = None, options: ReadOptions = DEFAULT_OPTIONS
) -> Batches:
    """All batches of an open source; the last one may be empty but has the final `bytes_read`."""
    return _READERS[file_format or source_format(source)](source, options)
