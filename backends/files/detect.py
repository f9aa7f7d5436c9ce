"""Which format a file has: from how it begins, and only then from its name."""

from __future__ import annotations

import codecs
import json
import os
from typing import Final

from backends.files.records import Format
from core.errors import BadCopyFormat

PARQUET_MAGIC: Final = b"PAR1"
_BY_NAME: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".ldjson": "ndjson",
    ".json": "json",
    ".parquet": "parquet",
}
_COMPRESSED: Final = (".gz", ".gzip", ".zst", ".zstd")


def detect_format(path: str, head: bytes) -> Format:
    """The format of a file named `path` whose decompressed content begins with `head`.

    Extended JSON is no format of its own: its wrappers are unwrapped wherever they stand in JSON.
    """
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadCopyFormat(f'"{path}" is UTF-16', hint="Convert the file to UTF-8.")
    named = _by_name(path)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if named == "csv":
        return "csv"
    if text.startswith(b"["):
        return "json"
    if text.startswith(b"{"):
        return "ndjson" if _line_is_value(text) else "json"
    if not text:
        return named or "ndjson"
    # A broken first line must not turn a file of documents into a table of text.
    return named if named in {"ndjson", "json"} else "csv"


def table_name_of(path: str) -> str:
    """The file's name without directory, compression and format: `a/orders.json.gz` is orders."""
    name = os.path.basename(path)
    for _ in range(2):
        stem, extension = os.path.splitext(name)
        if stem and (extension.lower() in _COMPRESSED or extension.lower() in _BY_NAME):
            name = stem
    return name


def _by_name(path: str) -> Format | None:
    name = path.lower()
    for extension in _COMPRESSED:
        name = name.removesuffix(extension)
    return _BY_NAME.get(os.path.splitext(name)[1])


def _line_is_value(text: bytes) -> bool:
    """True if the first line is a whole value, or is too long to tell: documents by line."""
    line, end, rest = text.partition(b"\n")
    if not end:
        return True
    try:
        json.loads(line)
    except ValueError:
        # Pretty-printed documents go on behind their first line; a broken document does not.
        return rest.lstrip(b" \t\r\n").startswith(b"{") and line.rstrip().endswith(b"}")
    return True
