"""The closed expression IR: what the engine and the stores say about rows to each other.

Fourteen kinds of node, all frozen; no other kind exists, so a store can be complete about them.
The IR is narrower than SQL on purpose: what does not fit stays in the residual statement, which
PostgreSQL runs. Types are written as format_type() prints them, with their modifier where the
statement names one; `base_type` is the form that operators are resolved by.

Invariants: a Literal of type `unknown` never leaves the translator; a tree is at most DEPTH_MAX
deep; truth values are three-valued (None is unknown), as in the PostgreSQL manual, section 9.1.

`evaluate` is the oracle of the property tests, not a query engine: it covers the kinds whose
meaning Python states exactly and raises FeatureNotSupported for the others. Where PostgreSQL
raises (overflow, division by zero) it raises ArithmeticError.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID

from core.errors import FeatureNotSupported, InternalError, StatementTooComplex

DEPTH_MAX: Final = 100
"""Levels of nesting an expression may have; deeper ones stay in the residual statement."""

BOOLEAN: Final = "boolean"
UNKNOWN: Final = "unknown"

COMPARISONS: Final = ("=", "<>", "<", "<=", ">", ">=")
DISTINCTIONS: Final = ("is distinct from", "is not distinct from")
TESTS: Final = ("@>", "<@", "?", "~", "~*", "!~", "!~*")
COMPARE_OPS: Final = frozenset((*COMPARISONS, *DISTINCTIONS, *TESTS))
ARITHMETIC_OPS: Final = frozenset(("+", "-", "*", "/", "%", "||"))


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """A column; with `path` a value inside a jsonb column.

    The steps are `->` with text keys; the last is `->>` where the type is text.
    """

    column_id: int
    type: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant by its PostgreSQL text form; None is NULL of that type."""

    type: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter $number of the statement; `bind` turns it into a Literal."""

    number: int
    type: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A binary operator that answers a truth value; `op` is one of COMPARE_OPS."""

    op: str
    left: Expr
    right: Expr

    def __post_init__(self) -> None:
        assert self.op in COMPARE_OPS, self.op


@dataclass(frozen=True, slots=True)
class And:
    """A conjunction of two or more."""

    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """A disjunction of two or more."""

    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """A negation."""

    arg: Expr


@dataclass(frozen=True, slots=True)
class In:
    """operand IN (items); with `spread` the one item is an array: operand = ANY (item)."""

    operand: Expr
    items: tuple[Expr, ...]
    spread: bool = False

    def __post_init__(self) -> None:
        assert self.items
        assert len(self.items) == 1 or not self.spread


@dataclass(frozen=True, slots=True)
class IsNull:
    """IS NULL of a scalar."""

    arg: Expr


@dataclass(frozen=True, slots=True)
class Like:
    """LIKE or ILIKE; `escape` None is the backslash, "" is none at all."""

    operand: Expr
    pattern: Expr
    escape: str | None = None
    insensitive: bool = False


@dataclass(frozen=True, slots=True)
class Cast:
    """An explicit cast to `type`, which may have a modifier."""

    arg: Expr
    type: str


@dataclass(frozen=True, slots=True)
class Case:
    """A searched CASE; all results have the type `type`."""

    whens: tuple[tuple[Expr, Expr], ...]
    otherwise: Expr | None
    type: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function of pg_catalog, or coalesce, nullif, greatest, least."""

    name: str
    args: tuple[Expr, ...]
    type: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """An operator that answers a value; one argument for the unary minus."""

    op: str
    args: tuple[Expr, ...]
    type: str

    def __post_init__(self) -> None:
        assert self.op in ARITHMETIC_OPS, self.op
        assert len(self.args) in (1, 2)


Expr = (
    ColumnRef
    | Literal
    | Param
    | Compare
    | And
    | Or
    | Not
    | In
    | IsNull
    | Like
    | Cast
    | Case
    | Call
    | Arithmetic
)

TRUE: Final = Literal(BOOLEAN, "true")
FALSE: Final = Literal(BOOLEAN, "false")

_MODIFIED = re.compile(r"([a-z ]+?)(?:\(\d+(?:,-?\d+)?\))?((?: with(?:out)? time zone)?(?:\[\])*)")


@functools.lru_cache(maxsize=4096)
def base_type(type_name: str) -> str:
    """The type without its modifier: numeric(10,2) → numeric, character(3) → bpchar.

    A name of another form (a quoted one, a type of a user) comes back as it is.
    """
    match = _MODIFIED.fullmatch(type_name)
    if match is None:
        return type_name
    name, rest = match[1], match[2]
    if name == "character":
        name = "bpchar"
    elif name.startswith("interval "):
        name = "interval"
    return name + rest


def type_of(expr: Expr) -> str:
    """The type of the value the expression answers."""
    match expr:
        case ColumnRef() | Literal() | Param() | Cast() | Case() | Call() | Arithmetic():
            return expr.type
        case _:
            return BOOLEAN


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of a node, in the order of the text."""
    match expr:
        case ColumnRef() | Literal() | Param():
            return ()
        case Compare():
            return (expr.left, expr.right)
        case And() | Or() | Call() | Arithmetic():
            return expr.args
        case Not() | IsNull() | Cast():
            return (expr.arg,)
        case In():
            return (expr.operand, *expr.items)
        case Like():
            return (expr.operand, expr.pattern)
        case Case():
            flat = tuple(part for when in expr.whens for part in when)
            return flat if expr.otherwise is None else (*flat, expr.otherwise)


def with_children(expr: Expr, parts: Sequence[Expr]) -> Expr:
    """The same node over other parts; as many as `children` gave."""
    assert len(parts) == len(children(expr))
    match expr:
        case ColumnRef() | Literal() | Param():
            return expr
        case Compare():
            return replace(expr, left=parts[0], right=parts[1])
        case And() | Or() | Call() | Arithmetic():
            return replace(expr, args=tuple(parts))
        case Not() | IsNull() | Cast():
            return replace(expr, arg=parts[0])
        case In():
            return replace(expr, operand=parts[0], items=tuple(parts[1:]))
        case Like():
            return replace(expr, operand=parts[0], pattern=parts[1])
        case Case():
            count = len(expr.whens)
            whens = tuple((parts[2 * i], parts[2 * i + 1]) for i in range(count))
            otherwise = None if expr.otherwise is None else parts[2 * count]
            return replace(expr, whens=whens, otherwise=otherwise)


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node, a node before its parts, left to right; without recursion."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def column_ids(expr: Expr) -> frozenset[int]:
    """The ids of the columns the expression reads."""
    return frozenset(node.column_id for node in walk(expr) if isinstance(node, ColumnRef))


def depth(expr: Expr) -> int:
    """Levels of nesting: 1 for a leaf; without recursion."""
    deepest = 0
    stack = [(expr, 1)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        stack.extend((part, level + 1) for part in children(node))
    return deepest


def check_depth(expr: Expr, limit: int = DEPTH_MAX) -> Expr:
    """The expression itself; StatementTooComplex when it is nested deeper than the limit."""
    if depth(expr) > limit:
        raise StatementTooComplex(f"expression is nested deeper than {limit} levels")
    return expr


def split_and(expr: Expr | None) -> tuple[Expr, ...]:
    """The conjuncts in the order of the text; () for None."""
    if expr is None:
        return ()
    if isinstance(expr, And):
        return tuple(part for arg in expr.args for part in split_and(arg))
    return (expr,)


def join_and(parts: Sequence[Expr]) -> Expr | None:
    """The conjunction of the parts; None for no parts."""
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def bind(expr: Expr, values: Mapping[int, str | None]) -> Expr:
    """The expression with each parameter that has a value (text form) turned into a Literal."""
    if isinstance(expr, Param):
        if expr.number in values:
            return Literal(expr.type, values[expr.number])
        return expr
    parts = children(expr)
    return with_children(expr, [bind(part, values) for part in parts]) if parts else expr


# Normal-form printing, for golden tests and EXPLAIN; not SQL for any store.


def to_text(expr: Expr, names: Mapping[int, str] | None = None) -> str:
    """One line of text for people; columns by `names`, or as #id."""

    def show(node: Expr) -> str:
        return _show(node, names or {})

    match expr:
        case And():
            return " and ".join(show(arg) for arg in expr.args)
        case Or():
            return " or ".join(show(arg) for arg in expr.args)
        case _:
            return show(expr).removeprefix("(").removesuffix(")") if _wrapped(expr) else show(expr)


def _wrapped(expr: Expr) -> bool:
    return isinstance(expr, Compare | In | IsNull | Like | Arithmetic | Not)


def _show(expr: Expr, names: Mapping[int, str]) -> str:
    match expr:
        case ColumnRef():
            return names.get(expr.column_id, f"#{expr.column_id}") + _show_path(expr)
        case Literal():
            return _show_literal(expr)
        case Param():
            return f"${expr.number}::{expr.type}"
        case _:
            return _show_node(expr, [_show(part, names) for part in children(expr)])


def _show_node(expr: Expr, parts: list[str]) -> str:
    match expr:
        case Compare():
            return f"({parts[0]} {expr.op} {parts[1]})"
        case And() | Or():
            return f"({(' and ' if isinstance(expr, And) else ' or ').join(parts)})"
        case Not():
            return f"(not {parts[0]})"
        case IsNull():
            return f"({parts[0]} is null)"
        case Cast():
            return f"cast({parts[0]} as {expr.type})"
        case Call():
            return f"{expr.name}({', '.join(parts)})"
        case Arithmetic():
            return (
                f"({expr.op}{parts[0]})" if len(parts) == 1 else f"({f' {expr.op} '.join(parts)})"
            )
        case In():
            items = f"any {parts[1]}" if expr.spread else f"({', '.join(parts[1:])})"
            return f"({parts[0]} {'=' if expr.spread else 'in'} {items})"
        case Like():
            word = "ilike" if expr.insensitive else "like"
            escape = "" if expr.escape is None else f" escape {_quote(expr.escape)}"
            return f"({parts[0]} {word} {parts[1]}{escape})"
        case _:
            assert isinstance(expr, Case)
            return _show_case(expr, parts)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _show_literal(literal: Literal) -> str:
    if literal.text is None:
        return f"null::{literal.type}"
    if literal.type in (BOOLEAN, "integer"):
        return literal.text
    return f"{_quote(literal.text)}::{literal.type}"


def _show_path(column: ColumnRef) -> str:
    arrows = ["->"] * len(column.path)
    if arrows and column.type == "text":
        arrows[-1] = "->>"
    return "".join(arrow + _quote(key) for arrow, key in zip(arrows, column.path, strict=True))


def _show_case(expr: Case, parts: Sequence[str]) -> str:
    count = len(expr.whens)
    text = "".join(f" when {parts[2 * i]} then {parts[2 * i + 1]}" for i in range(count))
    return f"case{text}{'' if expr.otherwise is None else f' else {parts[-1]}'} end"


# Evaluation: the oracle.

_EXACT = Context(prec=2000)
_INT_BITS = {"smallint": 15, "integer": 31, "bigint": 63}
_FLOATS = ("real", "double precision")


def evaluate(expr: Expr, row: Mapping[int, object]) -> object:
    """The value over one row (column id → Python value, None for NULL); None is NULL or unknown.

    Values: bool, int, Decimal (numeric), float, str, datetime types, bytes, UUID.
    """
    match expr:
        case ColumnRef():
            if expr.path:
                raise _not_evaluated("a path inside a document")
            return row[expr.column_id]
        case Literal():
            return literal_value(expr)
        case Param():
            raise InternalError(f"parameter ${expr.number} is not bound")
        case And():
            return _all_of(evaluate(arg, row) for arg in expr.args)
        case Or():
            return _negate(_all_of(_negate(evaluate(arg, row)) for arg in expr.args))
        case Not():
            return _negate(evaluate(expr.arg, row))
        case IsNull():
            return evaluate(expr.arg, row) is None
        case Case():
            for condition, result in expr.whens:
                if evaluate(condition, row) is True:
                    return evaluate(result, row)
            return None if expr.otherwise is None else evaluate(expr.otherwise, row)
        case _:
            return _strict(expr, [evaluate(part, row) for part in children(expr)])


def _strict(expr: Expr, values: list[object]) -> object:
    match expr:
        case Compare():
            return _compare(expr, values[0], values[1])
        case In():
            if expr.spread:
                raise _not_evaluated("an array")
            tests = (
                _compare(Compare("=", expr.operand, item), values[0], value)
                for item, value in zip(expr.items, values[1:], strict=True)
            )
            return _negate(_all_of(_negate(test) for test in tests))
        case Like():
            if values[0] is None or values[1] is None:
                return None
            return _like(expr, str(values[0]), str(values[1]))
        case Cast():
            return None if values[0] is None else _cast(expr, values[0])
        case Call():
            return _call(expr, values)
        case Arithmetic():
            return None if None in values else _arithmetic(expr, values)
        case _:
            raise AssertionError(expr)


def _not_evaluated(what: str) -> FeatureNotSupported:
    return FeatureNotSupported(f"{what} is not evaluated outside PostgreSQL")


def _negate(value: object) -> bool | None:
    return None if value is None else not value


def _all_of(values: Iterator[object]) -> bool | None:
    seen = list(values)
    if any(value is False for value in seen):
        return False
    return None if None in seen else True


def literal_value(literal: Literal) -> object:
    """The Python value of a literal."""
    if literal.text is None:
        return None
    base = base_type(literal.type)
    read = _READERS.get(base)
    if read is None or base != literal.type:
        raise _not_evaluated(f"a literal of type {literal.type}")
    return read(literal.text)


def _read_boolean(text: str) -> bool:
    return text in ("t", "true")


def _read_real(text: str) -> float:
    return _round_real(float(text))


def _round_real(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


_READERS: dict[str, Callable[[str], object]] = {
    "boolean": _read_boolean,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "numeric": Decimal,
    "real": _read_real,
    "double precision": float,
    "text": str,
    "character varying": str,
    "bpchar": str,
    "date": dt.date.fromisoformat,
    "timestamp without time zone": dt.datetime.fromisoformat,
    "timestamp with time zone": dt.datetime.fromisoformat,
    "uuid": UUID,
}


def _compare(expr: Compare, left: object, right: object) -> bool | None:
    if expr.op in TESTS:
        raise _not_evaluated(f"operator {expr.op}")
    if expr.op in DISTINCTIONS:
        null = left is None or right is None
        same = left is right if null else _order(expr, left, right) == 0
        return same == (expr.op == "is not distinct from")
    if left is None or right is None:
        return None
    sign = _order(expr, left, right)
    return {
        "=": sign == 0,
        "<>": sign != 0,
        "<": sign < 0,
        "<=": sign <= 0,
        ">": sign > 0,
        ">=": sign >= 0,
    }[expr.op]


def _order(expr: Compare, left: object, right: object) -> int:
    """-1, 0 or 1; NaN equals itself and is above everything, text is by code point."""
    types = (base_type(type_of(expr.left)), base_type(type_of(expr.right)))
    if "jsonb" in types or "interval" in types:
        raise _not_evaluated(f"a comparison of {types[0]} and {types[1]}")
    one: Any = _comparable(left, types)
    other: Any = _comparable(right, types)
    return int(one > other) - int(one < other)


def _comparable(value: object, types: tuple[str, str]) -> object:
    if isinstance(value, bool | bytes | UUID):
        return value
    if isinstance(value, int | float | Decimal):
        number = float(value) if any(t in _FLOATS for t in types) else Decimal(value)
        # A pair, so that NaN has a place in the order.
        return (1, 0) if number != number else (0, number)  # noqa: PLR0124
    if isinstance(value, str):
        return value.rstrip(" ") if types == ("bpchar", "bpchar") else value
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        if types == ("date", "date"):
            return value
        return dt.datetime.combine(value, dt.time())
    raise _not_evaluated(f"a value of type {type(value).__name__}")


def _like(expr: Like, value: str, pattern: str) -> bool:
    escape = "\\" if expr.escape is None else expr.escape
    regex = ""
    rest = iter(pattern)
    for char in rest:
        if char == escape:
            char = next(rest, "")
            if not char:
                raise ArithmeticError("LIKE pattern must not end with escape character")
            regex += re.escape(char)
        else:
            regex += {"%": ".*", "_": "."}.get(char, re.escape(char))
    if expr.insensitive:
        regex, value = _change_case(regex, str.lower), _change_case(value, str.lower)
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _ranged(value: object, type_name: str) -> object:
    """The value after the check or rounding of its type."""
    bits = _INT_BITS.get(type_name)
    if bits is not None:
        assert isinstance(value, int)
        if not -(2**bits) <= value < 2**bits:
            raise OverflowError(f"{type_name} out of range")
    return value


def _arithmetic(expr: Arithmetic, values: list[object]) -> object:
    kind = base_type(expr.type)
    if kind == "text" and expr.op == "||":
        return "".join(str(value) for value in values)
    if kind in _INT_BITS and all(isinstance(value, int) for value in values):
        return _ranged(_integer_arithmetic(expr.op, [int(str(v)) for v in values]), kind)
    if kind == "numeric" and expr.op in ("+", "-", "*"):
        return _numeric_arithmetic(expr.op, [Decimal(str(v)) for v in values])
    raise _not_evaluated(f"operator {expr.op} of type {expr.type}")


def _integer_arithmetic(op: str, values: list[int]) -> int:
    if len(values) == 1:
        return -values[0]
    left, right = values
    if op in "/%":
        quotient = abs(left) // abs(right)  # ZeroDivisionError is an ArithmeticError
        if (left < 0) != (right < 0):
            quotient = -quotient
        return quotient if op == "/" else left - quotient * right
    return {"+": left + right, "-": left - right, "*": left * right}[op]


def _numeric_arithmetic(op: str, values: list[Decimal]) -> Decimal:
    if len(values) == 1:
        return _EXACT.copy_negate(values[0])
    apply = {"+": _EXACT.add, "-": _EXACT.subtract, "*": _EXACT.multiply}[op]
    return apply(values[0], values[1])


def _cast(expr: Cast, value: object) -> object:
    target = expr.type
    if target in _INT_BITS and isinstance(value, int):
        return _ranged(int(value), target)
    if target == "numeric" and isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if target == "text" and isinstance(value, str):
        return value.rstrip(" ") if base_type(type_of(expr.arg)) == "bpchar" else value
    if target == "text" and isinstance(value, int):
        return str(value).lower()
    raise _not_evaluated(f"a cast from {type_of(expr.arg)} to {target}")


def _change_case(text: str, change: Callable[[str], str]) -> str:
    """PostgreSQL's C.UTF-8 maps one code point to one code point (simple case mapping)."""
    mapped = (change(char) if char != "İ" else "i" for char in text)
    return "".join(new if len(new) == 1 else old for old, new in zip(text, mapped, strict=True))


def _substr(text: str, start: int, count: int | None = None) -> str:
    if count is None:
        return text[max(start - 1, 0) :]
    if count < 0:
        raise ArithmeticError("negative substring length not allowed")
    return text[max(start - 1, 0) : max(start - 1 + count, 0)]


def _left(text: str, count: int) -> str:
    return text[:count] if count >= 0 else text[: max(len(text) + count, 0)]


def _right(text: str, count: int) -> str:
    if count >= 0:
        return text[max(len(text) - count, 0) :]
    return text[-count:]


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "lower": lambda text: _change_case(text, str.lower),
    "upper": lambda text: _change_case(text, str.upper),
    "length": len,
    "char_length": len,
    "character_length": len,
    "octet_length": lambda text: len(text.encode()),
    "substr": _substr,
    "substring": _substr,
    "left": _left,
    "right": _right,
    "reverse": lambda text: text[::-1],
    "replace": lambda text, old, new: text.replace(old, new) if old else text,
    "strpos": lambda text, part: text.find(part) + 1,
    "position": lambda text, part: text.find(part) + 1,
    "starts_with": lambda text, part: text.startswith(part),
    "btrim": lambda text, chars=" ": text.strip(chars) if chars else text,
    "ltrim": lambda text, chars=" ": text.lstrip(chars) if chars else text,
    "rtrim": lambda text, chars=" ": text.rstrip(chars) if chars else text,
    "abs": abs,
}


def _call(expr: Call, values: list[object]) -> object:
    if expr.name == "coalesce":
        return next((value for value in values if value is not None), None)
    if expr.name == "nullif":
        same = _compare(Compare("=", expr.args[0], expr.args[1]), values[0], values[1])
        return None if same else values[0]
    if None in values:
        if expr.name in ("greatest", "least"):
            raise _not_evaluated(f"{expr.name} of NULL")
        return None
    function = _FUNCTIONS.get(expr.name)
    if function is None:
        raise _not_evaluated(f"function {expr.name}")
    return _ranged(function(*values), base_type(expr.type))
