"""LIKE patterns as regular expressions that mean the same to every MongoDB server.

A prefix pattern becomes `^prefix`, which an index answers. The end of the text is `(?![\\s\\S])`:
`$` would also stand before a last newline. A text column may show an ObjectId as its 24 hex digits,
which no regular expression sees: a prefix of digits is a range of ObjectIds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from backends.mongodb.literals import OID_DIGITS, NotPushed

_HEX: Final = frozenset("0123456789abcdef")
_END: Final = "(?![\\s\\S])"
_SPECIAL: Final = re.compile(r"[\\^$.|?*+()\[\]{}]")
_ANY: Final = None
_ONE: Final = ""


@dataclass(frozen=True, slots=True)
class LikeClauses:
    """Conditions on strings for LIKE and for NOT LIKE, and which ObjectIds match: the first and
    the last of a range, ("", "") for none of them, None where they are no range.
    """

    positive: dict[str, Any]
    negative: dict[str, Any]
    object_ids: tuple[str, str] | None


def like_clauses(pattern: str, escape: str) -> LikeClauses:
    """The conditions. Raises NotPushed."""
    parts = _parts(pattern, escape)
    anchored = bool(parts) and parts[0] is not _ANY
    open_end = bool(parts) and parts[-1] is _ANY
    body = "".join(_regex(part) for part in (parts[:-1] if open_end else parts))
    regex = f"^{body}" + ("" if open_end else _END)
    if not anchored and open_end and len(parts) > 1:
        regex = "".join(_regex(part) for part in parts[1:-1])
    condition: dict[str, Any] = {"$regex": regex}
    if any(part is _ANY or part == _ONE for part in (parts[:-1] if open_end else parts)):
        condition["$options"] = "s"
    return LikeClauses(condition, {"$not": condition}, _object_ids(parts))


def _parts(pattern: str, escape: str) -> list[str | None]:
    """Each character that stands for itself, _ONE for `_`, _ANY for `%`."""
    parts: list[str | None] = []
    letters = iter(pattern)
    for letter in letters:
        if escape and letter == escape:
            found = next(letters, None)
            if found is None:
                raise NotPushed("a LIKE pattern that ends with its escape")
            parts.append(found)
        elif letter == "%":
            if not parts or parts[-1] is not _ANY:
                parts.append(_ANY)
        else:
            parts.append(_ONE if letter == "_" else letter)
    if any(part == "\0" for part in parts):
        raise NotPushed("a text with a zero byte")
    return parts


def _regex(part: str | None) -> str:
    if part is _ANY:
        return ".*"
    if part == _ONE:
        return "."
    assert part is not None
    return _SPECIAL.sub(r"\\\g<0>", part)


def _object_ids(parts: list[str | None]) -> tuple[str, str] | None:
    """The first and last ObjectId that match; ("", "") when none does, None when it is no range."""
    fixed = [part for part in parts if part is not _ANY]
    least = len(fixed)
    impossible = least > OID_DIGITS or (_ANY not in parts and least != OID_DIGITS)
    if impossible or any(part and part not in _HEX for part in fixed):
        return ("", "")
    if _ANY in parts[:-1] or _ONE in parts:
        return None
    prefix = "".join(str(part) for part in fixed)
    return prefix.ljust(OID_DIGITS, "0"), prefix.ljust(OID_DIGITS, "f")
