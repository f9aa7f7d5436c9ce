"""Names of columns and tables made from document paths: pure, stable and free of collisions.

A path is the tuple of keys from the document's root. Its column name is the segments joined by
`.`; inside a segment `~` is written `~0`, `.` is `~1`, and an empty segment is `~2` (the idea of
RFC 6901, JSON Pointer). A name that PostgreSQL keeps for system columns, or that begins with
`_doc`, gets `~3` appended. A name longer than 63 bytes is cut at a UTF-8 boundary to at most 54
bytes, then `~` and 8 hex digits of the SHA-256 of the full name follow. Case is kept.

Invariants:
- two paths never share an uncut name: every `~` is followed by 0 to 3 and can be read back;
- a cut name never equals an uncut one: its first hex digit is 8 to f (the top bit is set);
- two cut names are told apart by 31 bits of hash, and `assign_names` settles even that tie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

NAME_BYTES_MAX = 63
CUT_BYTES = 54
DOC_COLUMN = "_doc"
GENERATED_KEY = "_id"
ORDINALITY = "ordinality"
RESERVED_MARK = "~3"
SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})

Path = tuple[str, ...]


def escape_segment(segment: str) -> str:
    """One key as part of a name."""
    if not segment:
        return "~2"
    return segment.replace("~", "~0").replace(".", "~1")


def path_text(path: Path) -> str:
    """A path as one text, which `parse_path` reads back; "" for the root."""
    return ".".join(map(escape_segment, path))


def parse_path(text: str) -> Path:
    """The path that `path_text` wrote; a lone `~` stands for itself.

    >>> parse_path("address.zip~1code")
    ('address', 'zip.code')
    """
    return tuple(map(_read_segment, text.split("."))) if text else ()


def _read_segment(segment: str) -> str:
    if segment == "~2":
        return ""
    return segment.replace("~1", ".").replace("~0", "~")


def full_name(path: Path) -> str:
    """The name of a path before it is cut; ValueError for the root, which has none."""
    if not path:
        raise ValueError("the root of a document has no column name")
    name = ".".join(map(escape_segment, path))
    return name + RESERVED_MARK if reserved(name) else name


def reserved(name: str) -> bool:
    """True for the names of system columns and of the document column with its relatives."""
    return name in SYSTEM_COLUMNS or name.startswith(DOC_COLUMN)


def cut_name(name: str, *, salt: int = 0) -> str:
    """`name` itself if PostgreSQL can hold it, else its first bytes and a hash of all of it."""
    raw = name.encode()
    if len(raw) <= NAME_BYTES_MAX and not salt:
        return name
    digest = hashlib.sha256(raw + b"\0%d" % salt if salt else raw).digest()
    mark = int.from_bytes(digest[:4], "big") | 0x8000_0000
    return f"{raw[:CUT_BYTES].decode(errors='ignore')}~{mark:08x}"


def name_cut(path: Path) -> bool:
    """True if the column of `path` cannot carry its full name."""
    return len(full_name(path).encode()) > NAME_BYTES_MAX


def column_name(path: Path) -> str:
    """The column name of a path inside a document (or inside an array element)."""
    return cut_name(full_name(path))


def assign_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Names of all columns of one table; a tie between two hashes goes to the smaller path."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in sorted(set(paths)):
        full = full_name(path)
        name = free_name(full, taken)
        names[path] = name
        taken.add(name)
    return names


def free_name(full: str, taken: Collection[str]) -> str:
    """The first of the plain, cut and salted names of `full` that is not taken."""
    salt = 0
    while (name := cut_name(full, salt=salt)) in taken:
        salt += 1
    return name


def table_name(name: str) -> str:
    """The table of a collection or file: the name as it is (spaces and dots too), cut if long."""
    return cut_name(name or "~2")


def child_table_name(table: str, path: Path, taken: Collection[str] = ()) -> str:
    """The table of an array of documents: `<table>_<path>`; salted with a hash when taken."""
    return free_name(f"{table}_{'.'.join(map(escape_segment, path))}", taken)


def fixed_name(name: str, taken: Collection[str]) -> str:
    """The name of a column that no path made (generated key, parent key, ordinality).

    The fields keep their names; the fixed column yields with `~3`, which no field name ends in
    unless it is reserved or begins with `_doc`.
    """
    short = cut_name(name)
    if short not in taken and not reserved(name):
        return short
    return free_name(name + RESERVED_MARK, taken)


def generated_key_name(columns: Collection[str]) -> str:
    """The key column of a table whose documents have none: `_id`, or `_id~3` beside an `_id`."""
    return fixed_name(GENERATED_KEY, columns)


def parent_key_name(table: str, key: str, columns: Collection[str]) -> str:
    """The parent's key in a child table: `<table>_<keyname>`, yielding to the element's fields."""
    return fixed_name(f"{table}_{key}", columns)


def ordinality_name(columns: Collection[str]) -> str:
    """The position of the element in a child table: `ordinality`, yielding to the fields."""
    return fixed_name(ORDINALITY, columns)
