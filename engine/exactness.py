"""The exactness table: what a store answers exactly as PostgreSQL does (DESIGN 4).

Data: (kind, name, argument types) × backend kind → Exact | ExactWithRewrite(name) | No(reason).
Nothing is pushed unless it is here, and tests/differential/test_exactness_table.py is generated
from it: every entry is run on PostgreSQL over boundary values and compared. So the table can be
trusted, and speed grows by adding rows to it.

An entry also says what PostgreSQL's operator answers (`result`) and whether it may raise (`total`
is False). What may raise is pushed only where PostgreSQL would run it on the same rows.

A line of a family reads `name(types) -> result`, with `!` in front where it may raise; several
names are separated by spaces, several type tuples by `|`. Types are the internal short names.
What another store does exactly is in its own module of `engine/exact_in/`, by lines without result
(`= <(int4,int4|int8,int8)`), and is proven against a real server by tests/services.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from backends.base import EXACT, Exact, Exactness, ExactWithRewrite, Judge, No
from core import expr as ir
from core.expr import Expr, base_type, children, type_of
from engine.exact_in.cassandra import CASSANDRA
from engine.exact_in.mongodb import MONGODB
from engine.exact_in.postgres import POSTGRES
from engine.exact_in.verdicts import Kind, StoreVerdicts

BACKENDS: Final = ("embedded", "mongodb", "cassandra", "postgres", "trino")

Key = tuple[Kind, str, tuple[str, ...]]

TYPES: Final[Mapping[str, str]] = {
    "bool": "boolean",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "numeric": "numeric",
    "float4": "real",
    "float8": "double precision",
    "text": "text",
    "varchar": "character varying",
    "bpchar": "bpchar",
    "date": "date",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "interval": "interval",
    "uuid": "uuid",
    "bytea": "bytea",
    "jsonb": "jsonb",
}
"""Internal name → name as format_type() prints it, without modifier: the types of the table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: `arguments` and `result` are base types as format_type() prints them."""

    kind: Kind
    name: str
    arguments: tuple[str, ...]
    result: str
    total: bool
    verdicts: Mapping[str, Exactness]


@dataclass(frozen=True, slots=True)
class Family:
    """Rows that share their verdicts; `lines` is in the notation of the module's docstring."""

    kind: Kind
    lines: str
    verdicts: Mapping[str, Exactness]


_EMBEDDED: Final[Mapping[str, Exactness]] = {"embedded": EXACT}
_LINE = re.compile(r"(!?)(\S.*?)\(([^()]*)\) -> (\w+)")
_STORE_LINE = re.compile(r"(\S.*?)\(([^()]*)\)")


def _pairs(names: str) -> str:
    return "|".join(f"{name},{name}" for name in names.split())


def _cross(names: str) -> str:
    parts = names.split()
    return "|".join(f"{one},{other}" for one in parts for other in parts if one != other)


_ALL = " ".join(TYPES)
_SCALARS = " ".join(name for name in TYPES if name != "jsonb")
_INTS = "int2 int4 int8"
_NUMBERS = f"{_INTS} numeric float4 float8"
_BARE = "|".join(TYPES)

_OPERATORS = f"""
= <> < <= > >=({_pairs(_ALL)}) -> bool
= <> < <= > >=({_cross(_NUMBERS)}|{_cross("text varchar")}) -> bool
= <> < <= > >=({_cross("date timestamp timestamptz")}) -> bool
is_distinct_from is_not_distinct_from({_pairs(_ALL)}) -> bool
is_distinct_from is_not_distinct_from({_cross(_INTS)}|numeric,int4|float8,numeric) -> bool
and or(bool,bool) -> bool
not(bool) -> bool
@> <@(jsonb,jsonb) -> bool
?(jsonb,text) -> bool
->(jsonb,text) -> jsonb
->>(jsonb,text) -> text
!~ ~* !~ !~*(text,text|varchar,varchar|varchar,text) -> bool
||(text,text|varchar,varchar|text,varchar|varchar,text) -> text
!+ -({_pairs(_INTS)}|int2,int4|int4,int2|int4,int8|int8,int4) -> int
!* / %({_pairs(_INTS)}|int2,int4|int4,int2|int4,int8|int8,int4) -> int
!+ - * / %(numeric,numeric|numeric,int4|int4,numeric|numeric,int8|int8,numeric) -> numeric
!+ - * /(float8,float8|float8,int4|int4,float8|float8,numeric|numeric,float8) -> float8
!+ - * /(float4,float4) -> float4
!-(int2) -> int2
!-(int4) -> int4
!-(int8) -> int8
-(numeric) -> numeric
-(float8) -> float8
-(float4) -> float4
!-(date,date) -> int4
!+ -(date,int4) -> date
!+ -(timestamp,interval) -> timestamp
!+ -(timestamptz,interval) -> timestamptz
!-(timestamp,timestamp|timestamptz,timestamptz) -> interval
"""

_PREDICATES = f"""
in({_pairs(_SCALARS)}|{_cross(_INTS)}) -> bool
in(numeric,int4|numeric,int8|int4,numeric|int8,numeric|float8,int4|float8,numeric) -> bool
any({_pairs(_SCALARS)}|{_cross(_INTS)}|{_cross("text varchar")}) -> bool
is_null({_BARE}) -> bool
like ilike(text,text|varchar,text|varchar,varchar|text,varchar|bpchar,text) -> bool
case coalesce greatest least({_pairs(_ALL)}) -> same
nullif({_pairs(_ALL.replace("varchar ", ""))}) -> same
nullif(varchar,varchar) -> text
"""

_FUNCTIONS = """
lower upper reverse(text|varchar) -> text
btrim ltrim rtrim(text|text,text|varchar|varchar,text) -> text
length char_length character_length octet_length(text|varchar) -> int4
length octet_length(bytea) -> int4
bit_length ascii(text|varchar) -> int4
substr substring(text,int4|varchar,int4) -> text
!substr substring(text,int4,int4|varchar,int4,int4) -> text
left right(text,int4|varchar,int4) -> text
replace translate(text,text,text|varchar,text,text) -> text
strpos position(text,text|varchar,text) -> int4
starts_with(text,text|varchar,text) -> bool
md5(text|varchar|bytea) -> text
initcap(text|varchar) -> text
!split_part(text,text,int4|varchar,text,int4) -> text
!lpad rpad(text,int4|text,int4,text|varchar,int4,text) -> text
!abs(int2) -> int2
!abs(int4) -> int4
!abs(int8) -> int8
abs sign ceil ceiling floor round trunc(numeric) -> numeric
abs sign ceil ceiling floor round trunc(float8) -> float8
!round trunc(numeric,int4) -> numeric
!mod(int2,int2) -> int2
!mod(int4,int4) -> int4
!mod(int8,int8) -> int8
!mod(numeric,numeric) -> numeric
!sqrt(float8) -> float8
!date_trunc(text,timestamp) -> timestamp
!date_trunc(text,timestamptz) -> timestamptz
!extract(text,timestamp|text,timestamptz|text,date) -> numeric
!date_part(text,timestamp|text,timestamptz) -> float8
isfinite(date|timestamp|timestamptz|interval) -> bool
jsonb_typeof(jsonb) -> text
!jsonb_array_length(jsonb) -> int4
"""

_CASTS = """
int2(int2) -> int2
int4(int2|int4|bool) -> int4
int8(int2|int4|int8) -> int8
numeric(int2|int4|int8|numeric) -> numeric
float8(int2|int4|int8|float4|float8) -> float8
float4(int2|int4|int8|float4) -> float4
!int2(int4|int8|numeric|float4|float8|text|varchar) -> int2
!int4(int8|numeric|float4|float8|text|varchar) -> int4
!int8(numeric|float4|float8|text|varchar) -> int8
!numeric(float4|float8|text|varchar) -> numeric
!float8(numeric|text|varchar) -> float8
!float4(numeric|float8|text|varchar) -> float4
bool(bool|int4) -> bool
!bool(text|varchar) -> bool
text(bool|int2|int4|int8|numeric|float4|float8|text|varchar|bpchar) -> text
text(date|timestamp|timestamptz|time|timetz|interval|uuid|bytea|jsonb) -> text
varchar(text|varchar|int4) -> varchar
date(date|timestamp|timestamptz) -> date
!date(text|varchar) -> date
timestamp(timestamp) -> timestamp
!timestamp(date|timestamptz|text|varchar) -> timestamp
timestamptz(timestamptz) -> timestamptz
!timestamptz(date|timestamp|text|varchar) -> timestamptz
time(time|timestamp) -> time
uuid(uuid) -> uuid
!uuid(text|varchar) -> uuid
!jsonb(text) -> jsonb
jsonb(jsonb) -> jsonb
"""

_AGGREGATES = f"""
count(|{_BARE}) -> int8
sum(int2|int4) -> int8
!sum(int8|numeric) -> numeric
!avg(int2|int4|int8|numeric) -> numeric
!sum(interval) -> interval
min max(int2|int4|int8|numeric|float4|float8) -> same
min max(text|bpchar|bytea|date|timestamp|timestamptz|time|timetz|interval) -> same
min max(varchar) -> text
bool_and bool_or every(bool) -> bool
"""

_INEXACT_AGGREGATES = """
!sum avg(float8) -> float8
!sum(float4) -> float4
!avg(float4) -> float8
"""

FAMILIES: Final[tuple[Family, ...]] = (
    Family("operator", _OPERATORS, _EMBEDDED),
    Family("predicate", _PREDICATES, _EMBEDDED),
    Family("function", _FUNCTIONS, _EMBEDDED),
    Family("cast", _CASTS, _EMBEDDED),
    Family("value", f"column literal({_BARE}) -> same", _EMBEDDED),
    Family("aggregate", _AGGREGATES, _EMBEDDED),
    Family(
        "aggregate",
        _INEXACT_AGGREGATES,
        {"embedded": No("the order of the rows changes the last digits")},
    ),
    Family("ordering", f"ordering({_BARE}) -> bool", _EMBEDDED),
)


def _result(result: str, short: Sequence[str]) -> str:
    """`same` is the first argument's type, `int` the wider of the arguments."""
    if result == "same":
        return TYPES[short[0]]
    if result == "int":
        return TYPES[max(short, key=_INTS.split().index)]
    return TYPES[result]


def expand(family: Family) -> Iterator[Entry]:
    """The rows of a family."""
    for line in filter(None, (line.strip() for line in family.lines.splitlines())):
        match = _LINE.fullmatch(line)
        assert match is not None, line
        for name in match[2].split():
            for signature in match[3].split("|"):
                short = [part for part in signature.split(",") if part]
                arguments = tuple(TYPES[part] for part in short)
                spelled = name.replace("_", " ") if name.startswith("is_") else name
                spelled = TYPES.get(name, spelled) if family.kind == "cast" else spelled
                yield Entry(
                    family.kind,
                    spelled,
                    arguments,
                    _result(match[4], short),
                    not match[1],
                    family.verdicts,
                )


_SYNTAX: Final = frozenset(("coalesce", "nullif", "greatest", "least"))
"""Calls that are syntax in PostgreSQL; in the table they are of kind `predicate`."""

_CONSTANT_UNITS: Final = {
    "date_trunc": "microseconds milliseconds second minute hour day week month quarter year "
    "decade century millennium",
    "extract": "microsecond millisecond second minute hour day week month quarter year decade "
    "century millennium dow doy isodow isoyear epoch",
}
"""Functions whose first argument must be one of these constants."""


class ExactnessTable:
    """Entries by key. The module's functions ask the one TABLE; tests make tables of their own."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._by_key: dict[Key, Entry] = {}
        self._by_name: dict[tuple[Kind, str], list[Entry]] = {}
        for entry in self.entries:
            key = (entry.kind, entry.name, entry.arguments)
            assert key not in self._by_key, f"listed twice: {key}"
            self._by_key[key] = entry
            self._by_name.setdefault((entry.kind, entry.name), []).append(entry)

    def find(self, kind: Kind, name: str, arguments: Sequence[str]) -> Entry | None:
        """The entry for these argument types (modifiers do not matter), or None."""
        return self._by_key.get((kind, name, tuple(base_type(each) for each in arguments)))

    def named(self, kind: Kind, name: str) -> Sequence[Entry]:
        """All entries of that name."""
        return self._by_name.get((kind, name), ())

    def lookup(self, kind: Kind, name: str, arguments: Sequence[str], backend: str) -> Exactness:
        """The verdict for a backend kind; what is not listed is No."""
        entry = self.find(kind, name, arguments)
        if entry is None:
            return No(f"{describe(kind, name, arguments)} is not in the exactness table")
        verdict = entry.verdicts.get(backend)
        if verdict is None:
            return No(f"{describe(kind, name, arguments)} is not proven exact for {backend}")
        return verdict

    def judge(self, expr: Expr, backend: str) -> Exactness:
        """The verdict for a whole expression: the first No, else a rewrite, else Exact."""
        rewrite: Exactness = EXACT
        for node in ir.walk(expr):
            verdict = self._judge_node(node, backend)
            if isinstance(verdict, No):
                return verdict
            if isinstance(verdict, ExactWithRewrite):
                rewrite = verdict
        return rewrite

    def _judge_node(self, node: Expr, backend: str) -> Exactness:
        refusal = _refuse_form(node)
        if refusal is not None:
            return refusal
        verdict: Exactness = EXACT
        for kind, name, arguments in node_keys(node):
            verdict = self.lookup(kind, name, arguments, backend)
            if isinstance(verdict, No):
                return verdict
        return verdict

    def may_raise(self, expr: Expr) -> bool:
        """True unless every part is known to answer on every value."""
        return any(self._node_may_raise(node) for node in ir.walk(expr))

    def _node_may_raise(self, node: Expr) -> bool:
        if isinstance(node, ir.Cast) and node.type != base_type(node.type):
            return True
        if isinstance(node, ir.Like) and not _pattern_ends_well(node):
            return True
        entries = (self.find(*key) for key in node_keys(node))
        return any(entry is None or not entry.total for entry in entries)


def describe(kind: Kind, name: str, arguments: Sequence[str]) -> str:
    """A phrase for reasons: `function lower(text)`, `operator integer + text`."""
    types = [base_type(each) for each in arguments]
    if kind == "operator" and len(types) == 2:
        return f"operator {types[0]} {name} {types[1]}"
    if kind == "cast":
        return f"cast from {types[0]} to {name}"
    if kind == "value":
        return f"{name} of type {types[0]}"
    word = "function" if name in _SYNTAX else kind
    return f"{word} {name}({', '.join(types)})"


def node_keys(node: Expr) -> list[Key]:
    """The entries that a node stands on, its parts not included."""
    types = tuple(type_of(part) for part in children(node))
    match node:
        case ir.ColumnRef() if node.path:
            arrow = "->>" if node.type == "text" else "->"
            return [
                ("value", "column", ("jsonb",)),
                ("operator", "->", ("jsonb", "text")),
                ("operator", arrow, ("jsonb", "text")),
            ]
        case ir.ColumnRef():
            return [("value", "column", (node.type,))]
        case ir.Literal() | ir.Param():
            # The element type stands for an array: only `any` takes one, and looks at its own.
            return [("value", "literal", (node.type.removesuffix("[]"),))]
        case ir.Compare():
            return [("operator", node.op, types)]
        case ir.And() | ir.Or():
            return [("operator", "and" if isinstance(node, ir.And) else "or", types[:2])]
        case ir.Not():
            return [("operator", "not", types)]
        case ir.Arithmetic():
            return [("operator", node.op, types)]
        case _:
            return _syntax_keys(node, types)


def _syntax_keys(node: Expr, types: tuple[str, ...]) -> list[Key]:
    match node:
        case ir.In():
            items = types[1:]
            if node.spread:
                return [("predicate", "any", (types[0], items[0].removesuffix("[]")))]
            return [("predicate", "in", (types[0], item)) for item in dict.fromkeys(items)]
        case ir.IsNull():
            return [("predicate", "is null", types)]
        case ir.Like():
            return [("predicate", "ilike" if node.insensitive else "like", types)]
        case ir.Case():
            return [("predicate", "case", (node.type, node.type))]
        case ir.Cast():
            return [("cast", base_type(node.type), types)]
        case _:
            assert isinstance(node, ir.Call)
            if node.name in ("coalesce", "greatest", "least"):
                return [("predicate", node.name, (types[0], each)) for each in types]
            kind: Kind = "predicate" if node.name in _SYNTAX else "function"
            return [(kind, node.name, types)]


def _refuse_form(node: Expr) -> No | None:
    """Forms that types do not show: mixed IN lists, units that are not constants."""
    if isinstance(node, ir.In) and not node.spread:
        kinds = {base_type(type_of(item)) for item in node.items}
        if len(kinds) > 1 and not kinds <= {"smallint", "integer", "bigint"}:
            return No("IN over items of several types is not in the exactness table")
    if isinstance(node, ir.Call) and node.name in ("date_trunc", "extract", "date_part"):
        unit = node.args[0]
        allowed = _CONSTANT_UNITS["date_trunc" if node.name == "date_trunc" else "extract"]
        if not isinstance(unit, ir.Literal) or unit.text not in allowed.split():
            return No(f"function {node.name} with a unit that is not one of its constants")
    return None


def _pattern_ends_well(node: ir.Like) -> bool:
    """True when the pattern is a constant that cannot raise 22025 (it ends with its escape)."""
    if not isinstance(node.pattern, ir.Literal):
        return False
    escape = "\\" if node.escape is None else node.escape
    characters = iter(node.pattern.text or "")
    return all(char != escape or next(characters, None) is not None for char in characters)


def _listed(kind: Kind, lines: str) -> Iterator[Key]:
    for line in filter(None, (line.strip() for line in lines.splitlines())):
        match = _STORE_LINE.fullmatch(line)
        assert match is not None, line
        for name in match[1].split():
            spelled = name.replace("_", " ") if name.startswith("is_") else name
            spelled = TYPES.get(name, spelled) if kind == "cast" else spelled
            for signature in match[2].split("|"):
                yield kind, spelled, tuple(TYPES[part] for part in signature.split(",") if part)


def with_stores(entries: Sequence[Entry], stores: Sequence[StoreVerdicts]) -> list[Entry]:
    """The entries with what the stores' own modules say of them; a line that names no entry, or
    one that its store has a verdict for, is a fault of the table.
    """
    by_key = {(entry.kind, entry.name, entry.arguments): entry for entry in entries}
    for store in stores:
        for key in _listed(store.kind, store.lines):
            entry = by_key[key]
            assert store.backend not in entry.verdicts, (store.backend, key)
            verdicts = {**entry.verdicts, store.backend: store.verdict}
            by_key[key] = replace(entry, verdicts=verdicts)
    return list(by_key.values())


TABLE: Final = ExactnessTable(
    with_stores(
        [entry for family in FAMILIES for entry in expand(family)],
        (*MONGODB, *CASSANDRA, *POSTGRES),
    )
)


def lookup(kind: Kind, name: str, arguments: Sequence[str], backend: str) -> Exactness:
    """The verdict of the table; unknown → No.

    >>> lookup("operator", "=", ("integer", "bigint"), "embedded")
    Exact()
    """
    return TABLE.lookup(kind, name, arguments, backend)


@functools.lru_cache(maxsize=64)
def judge_for(backend: str, table: ExactnessTable = TABLE) -> Judge:
    """The judge of a backend kind, as a scan's ask carries it: one for each kind and table."""

    def judge(expr: Expr) -> Exactness:
        return table.judge(expr, backend)

    return judge


__all__ = [
    "BACKENDS",
    "FAMILIES",
    "TABLE",
    "TYPES",
    "Entry",
    "Exact",
    "ExactWithRewrite",
    "Exactness",
    "ExactnessTable",
    "Family",
    "Kind",
    "No",
    "describe",
    "expand",
    "judge_for",
    "lookup",
    "node_keys",
]
