"""One JSON text to one document: what Python's parser allows and PostgreSQL's jsonb does not.

jsonb refuses NaN, \\u0000, lone surrogates and numbers beyond numeric; deep nesting would hit the
stack limit. All of these are found here, so that a COPY of the accepted texts cannot fail.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final, NoReturn

from backends.files.extended_json import DECIMAL_MARK, object_hook, plain_text
from backends.files.records import ReadOptions, RejectedRecord
from catalog.inference.kinds import exact_number, float_or_decimal, integer_or_decimal

_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)

Parsed = tuple[str, dict[str, Any]]


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _marked_number(literal: str) -> float | Decimal:
    """A literal of text that `plain_text` has rewritten."""
    if literal.endswith(DECIMAL_MARK):
        return exact_number(literal.removesuffix(DECIMAL_MARK))
    return float_or_decimal(literal)


# Python's own int() is fastest; the second of each pair is for literals that it refuses.
_PLAIN: Final = tuple(
    json.JSONDecoder(parse_float=float_or_decimal, parse_int=parse_int, parse_constant=_constant)
    for parse_int in (None, integer_or_decimal)
)
_EXTENDED: Final = tuple(
    json.JSONDecoder(
        parse_float=_marked_number,
        parse_int=parse_int,
        parse_constant=_constant,
        object_hook=object_hook,
    )
    for parse_int in (None, integer_or_decimal)
)


class DocumentParser:
    """Parses texts of documents; RejectedRecord says why a text is none."""

    def __init__(self, options: ReadOptions) -> None:
        self._extended = options.extended
        self._depth_max = options.depth_max

    def parse(self, text: str) -> Parsed:
        """The JSON text for jsonb and the value of a text that is one JSON value."""
        if self._extended and '"$' in text:
            text = plain_text(text)
            value = _decode(text, _EXTENDED)
        else:
            value = _decode(text, _PLAIN)
        return self._checked(text, value)

    def parse_at(self, text: str, start: int) -> tuple[Any, int]:
        """The raw value that begins at `start` and where it ends; `finish` makes it a document.

        ValueError if there is none: it is broken, goes on later, or needs the exact decoder.
        """
        try:
            return _PLAIN[0].raw_decode(text, start)
        except RecursionError:
            raise ValueError from None

    def finish(self, text: str, value: Any) -> Parsed:
        """The document of a text whose raw value is known; None stands for not known."""
        if value is None or (self._extended and '"$' in text):
            return self.parse(text)
        return self._checked(text, value)

    def _checked(self, text: str, value: Any) -> Parsed:
        if type(value) is not dict:
            raise RejectedRecord(f"not a JSON object but {_json_type(value)}")
        if "\\u" in text:
            check_escapes(text)
        if text.count("{") + text.count("[") > self._depth_max < depth(value):
            raise RejectedRecord(f"nested deeper than {self._depth_max} levels")
        return text, value


def _decode(text: str, decoders: tuple[json.JSONDecoder, ...]) -> Any:
    """Parse; a literal that the fast decoder refuses gets a second, exact try."""
    for decoder in decoders:
        try:
            return decoder.decode(text)
        except json.JSONDecodeError as error:
            raise RejectedRecord(
                f"invalid JSON: {error.msg} at character {error.pos + 1}"
            ) from None
        except RecursionError:
            raise RejectedRecord("nested too deeply") from None
        except ValueError as error:
            reason = str(error)
    raise RejectedRecord(reason)


def check_escapes(text: str) -> None:
    """RejectedRecord for escapes that jsonb refuses: U+0000 and halves of surrogate pairs."""
    if "\\u0000" not in text and "\\ud" not in text and "\\uD" not in text:
        return
    expected = -1  # where the low half has to begin
    for match in _ESCAPE.finditer(text):
        if expected >= 0 and match.start() != expected:
            break
        code = int(match[1], 16) if match[1] else -1
        if code == 0:
            raise RejectedRecord("the character U+0000 cannot be stored in jsonb")
        low = 0xDC00 <= code <= 0xDFFF
        if low != (expected >= 0):
            expected = 0
            break
        expected = match.end() if 0xD800 <= code <= 0xDBFF else -1
    if expected >= 0:
        raise RejectedRecord("half of a Unicode surrogate pair")


def depth(value: Any) -> int:
    """How deeply objects and arrays are nested."""
    deepest = 0
    stack = [(value, 1)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        inner = node.values() if type(node) is dict else node
        stack += [(child, level + 1) for child in inner if type(child) in (dict, list)]
    return deepest


def _json_type(value: Any) -> str:
    names: dict[type, str] = {list: "an array", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(
        type(value), "a number" if isinstance(value, int | float | Decimal) else "a value"
    )
