"""The one table of PostgreSQL types: OIDs, names, lengths, categories and Arrow carriers.

What it is: per type the row of pg_type that the wire and the encoders need, lookups by OID and by
SQL text (aliases and type modifiers included), and the Arrow type that carries the values.
What it is not: code that encodes; that is `core.encoding`.

**Carrier rule (exact).** Every type has the *text carrier*: an Arrow string column that holds the
text PostgreSQL itself prints (DateStyle ISO, IntervalStyle postgres, bytea_output hex, lc_monetary
C). Types that Arrow can hold exactly also have an *Arrow carrier*, `PgType.arrow`. A column whose
values do not all fit the Arrow carrier (infinity or year 294276 in a timestamp, NaN in
numeric(10,2), 24:00:00, an array with two dimensions) is carried as text, as a whole column of that
batch; no value is rounded, clamped or dropped. Years BC and above 9999 fit. For types without an
Arrow carrier `arrow` is string. The carrier of a column is its Arrow type, nothing else says it.
numeric has an Arrow carrier only with a declared precision of at most 76 digits: decimal128 up to
38, decimal256 above.

Source: pg_type.dat, format_type.c, numeric.c, timestamp.c of PostgreSQL 18 (checked by a test
against a running server).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa

from core.errors import InvalidParameterValue, UndefinedObject

DECIMAL128_DIGITS_MAX: Final = 38
DECIMAL256_DIGITS_MAX: Final = 76
_VARHDRSZ: Final = 4


@dataclass(frozen=True, slots=True)
class PgType:
    """A PostgreSQL type with its modifier.

    `name` is format_type(oid, -1), `typname` the name in pg_type, `sql` format_type(oid, typmod).
    `arrow` is the Arrow carrier; pa.string() where only the text carrier is exact. `element` is set
    for arrays only.
    """

    oid: int
    name: str
    typname: str
    array_oid: int
    typlen: int
    category: str
    arrow: pa.DataType = field(hash=False)
    typmod: int = -1
    element: PgType | None = None

    @property
    def sql(self) -> str:
        """The type as format_type() prints it with its modifier."""
        if self.element is not None:
            return f"{self.element.with_typmod(self.typmod).sql}[]"
        return _format(self)

    @property
    def text_only(self) -> bool:
        """Whether the text carrier is the only exact one."""
        return bool(self.arrow.equals(pa.string()))

    def with_typmod(self, typmod: int) -> PgType:
        """The same type with another modifier; numeric's carrier follows it."""
        if typmod == self.typmod:
            return self
        if self.element is not None:
            element = self.element.with_typmod(typmod)
            return replace(self, typmod=typmod, element=element, arrow=pa.list_(element.arrow))
        arrow = _numeric_carrier(typmod) if self.oid == NUMERIC_OID else self.arrow
        return replace(self, typmod=typmod, arrow=arrow)

    def array(self) -> PgType:
        """The one-dimensional array of this type (an array's array is itself, as in PostgreSQL)."""
        if self.element is not None:
            return self
        if not self.array_oid:
            raise UndefinedObject(f"could not find array type for data type {self.name}")
        return PgType(
            oid=self.array_oid,
            name=f"{self.name}[]",
            typname=f"_{self.typname}",
            array_oid=0,
            typlen=-1,
            category="A",
            arrow=pa.list_(self.arrow),
            typmod=self.typmod,
            element=self,
        )


NUMERIC_OID: Final = 1700

_S = pa.string()
# oid, format_type name, typname, array oid, typlen, category, Arrow carrier
_ROWS: Final[tuple[tuple[int, str, str, int, int, str, pa.DataType], ...]] = (
    (16, "boolean", "bool", 1000, 1, "B", pa.bool_()),
    (17, "bytea", "bytea", 1001, -1, "U", pa.binary()),
    (18, '"char"', "char", 1002, 1, "Z", _S),
    (19, "name", "name", 1003, 64, "S", _S),
    (20, "bigint", "int8", 1016, 8, "N", pa.int64()),
    (21, "smallint", "int2", 1005, 2, "N", pa.int16()),
    (23, "integer", "int4", 1007, 4, "N", pa.int32()),
    (25, "text", "text", 1009, -1, "S", _S),
    (26, "oid", "oid", 1028, 4, "N", pa.uint32()),
    (114, "json", "json", 199, -1, "U", _S),
    (142, "xml", "xml", 143, -1, "U", _S),
    (650, "cidr", "cidr", 651, -1, "I", _S),
    (700, "real", "float4", 1021, 4, "N", pa.float32()),
    (701, "double precision", "float8", 1022, 8, "N", pa.float64()),
    (790, "money", "money", 791, 8, "N", _S),
    (829, "macaddr", "macaddr", 1040, 6, "U", _S),
    (774, "macaddr8", "macaddr8", 775, 8, "U", _S),
    (869, "inet", "inet", 1041, -1, "I", _S),
    (1042, "bpchar", "bpchar", 1014, -1, "S", _S),
    (1043, "character varying", "varchar", 1015, -1, "S", _S),
    (1082, "date", "date", 1182, 4, "D", pa.date32()),
    (1083, "time without time zone", "time", 1183, 8, "D", pa.time64("us")),
    (1114, "timestamp without time zone", "timestamp", 1115, 8, "D", pa.timestamp("us")),
    (1184, "timestamp with time zone", "timestamptz", 1185, 8, "D", pa.timestamp("us", tz="UTC")),
    (1186, "interval", "interval", 1187, 16, "T", _S),
    (1266, "time with time zone", "timetz", 1270, 12, "D", _S),
    (1560, '"bit"', "bit", 1561, -1, "V", _S),
    (1562, "bit varying", "varbit", 1563, -1, "V", _S),
    (NUMERIC_OID, "numeric", "numeric", 1231, -1, "N", _S),
    (2950, "uuid", "uuid", 2951, 16, "U", pa.binary(16)),
    (3802, "jsonb", "jsonb", 3807, -1, "U", _S),
    (705, "unknown", "unknown", 0, -2, "X", _S),
)

TYPES: Final[tuple[PgType, ...]] = tuple(PgType(*row) for row in _ROWS)
_BY_OID: Final = {t.oid: t for t in TYPES} | {t.array_oid: t.array() for t in TYPES if t.array_oid}
_BY_TYPNAME: Final = {t.typname: t for t in _BY_OID.values()}

# SQL spellings that are not a typname. "char" in double quotes is typname char; without quotes it
# is bpchar.
_ALIASES: Final = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "int": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "decimal": "numeric",
    "dec": "numeric",
    "character varying": "varchar",
    "char varying": "varchar",
    "nchar varying": "varchar",
    "national character varying": "varchar",
    "national char varying": "varchar",
    "character": "bpchar",
    "char": "bpchar",
    "nchar": "bpchar",
    "national character": "bpchar",
    "national char": "bpchar",
    "bit varying": "varbit",
    "time without time zone": "time",
    "time with time zone": "timetz",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}
# These spellings mean a length of 1 when none is given; the typnames bpchar and "bit" do not.
_LENGTH_ONE: Final = {"character", "char", "nchar", "national character", "national char", "bit"}
_LENGTH_TYPES: Final = {"varchar", "bpchar"}
_BIT_TYPES: Final = {"bit", "varbit"}
_TIME_TYPES: Final = {"time", "timetz", "timestamp", "timestamptz"}
_TIME_PRECISION_MAX: Final = 6

_INTERVAL_FULL_RANGE: Final = 0x7FFF
_INTERVAL_FULL_PRECISION: Final = 0xFFFF
_MONTH, _YEAR, _DAY, _HOUR, _MINUTE, _SECOND = (1 << b for b in (1, 2, 3, 10, 11, 12))
_INTERVAL_RANGES: Final = {
    "year": _YEAR,
    "month": _MONTH,
    "day": _DAY,
    "hour": _HOUR,
    "minute": _MINUTE,
    "second": _SECOND,
    "year to month": _YEAR | _MONTH,
    "day to hour": _DAY | _HOUR,
    "day to minute": _DAY | _HOUR | _MINUTE,
    "day to second": _DAY | _HOUR | _MINUTE | _SECOND,
    "hour to minute": _HOUR | _MINUTE,
    "hour to second": _HOUR | _MINUTE | _SECOND,
    "minute to second": _MINUTE | _SECOND,
}
_INTERVAL_NAMES: Final = {mask: text for text, mask in _INTERVAL_RANGES.items()}

_SQL: Final = re.compile(
    r"""\s*(?:pg_catalog\s*\.\s*)?
    (?P<name>"[^"]+"|[a-z_][a-z_0-9]*(?:\s+[a-z_][a-z_0-9]*)*?)
    \s*(?:\(\s*(?P<mods>[-+\d\s,]*)\))?
    (?P<tail>(?:\s+(?:with(?:out)?\s+time\s+zone|varying))?)
    (?P<array>(?:\s+array(?:\s*\[\s*\d*\s*\])?|(?:\s*\[\s*\d*\s*\])+)?)\s*""",
    re.VERBOSE | re.IGNORECASE,
)


def type_by_oid(oid: int, typmod: int = -1) -> PgType:
    """The type with this OID; UndefinedObject when the table does not have it.

    >>> type_by_oid(1700, 655366).sql
    'numeric(10,2)'
    """
    found = find_type(oid, typmod)
    if found is None:
        raise UndefinedObject(f"type with OID {oid} does not exist")
    return found


def find_type(oid: int, typmod: int = -1) -> PgType | None:
    """The type with this OID, or None (enums, composites, extensions: see `opaque_type`)."""
    found = _BY_OID.get(oid)
    return found if found is None or typmod == -1 else found.with_typmod(typmod)


def opaque_type(oid: int, name: str, typmod: int = -1, typlen: int = -1) -> PgType:
    """A type outside the table (enum, composite, extension), carried as text, text format only."""
    return PgType(oid, name, name, 0, typlen, "U", pa.string(), typmod)


@functools.lru_cache(maxsize=1024)
def type_by_name(sql: str) -> PgType:
    """The type that the SQL text names, with its modifier; UndefinedObject when unknown.

    >>> type_by_name("timestamp(3) with time zone").typmod
    3
    """
    match = _SQL.fullmatch(sql)
    if match is None:
        raise UndefinedObject(f'type "{sql}" does not exist')
    mods = [int(m) for m in (match["mods"] or "").split(",") if m.strip()]
    name = match["name"]
    if not name.startswith('"'):
        name = re.sub(r"\s+", " ", name + match["tail"]).lower()
    base = _interval(name, mods) if name.startswith("interval") else _scalar(name, mods, sql)
    return base.array() if match["array"] else base


def _scalar(name: str, mods: list[int], sql: str) -> PgType:
    quoted = name.startswith('"')
    if quoted:
        typname = name.strip('"')
    elif name == "float":
        typname = "float8" if not mods or mods[0] > 24 else "float4"
        mods = []
    else:
        typname = _ALIASES.get(name, name)
    found = _BY_TYPNAME.get(typname)
    if found is None:
        raise UndefinedObject(f'type "{sql}" does not exist')
    if not mods and not quoted and name in _LENGTH_ONE:
        mods = [1]
    return found.with_typmod(_typmod(typname, mods)) if mods else found


def _typmod(typname: str, mods: list[int]) -> int:
    if typname == "numeric":
        precision, scale = (*mods, 0)[:2]
        if not 1 <= precision <= 1000:
            raise InvalidParameterValue(f"NUMERIC precision {precision} must be between 1 and 1000")
        if not -1000 <= scale <= 1000:
            raise InvalidParameterValue(f"NUMERIC scale {scale} must be between -1000 and 1000")
        return ((precision << 16) | (scale & 0x7FF)) + _VARHDRSZ
    if len(mods) == 1 and typname in _TIME_TYPES:
        return min(mods[0], _TIME_PRECISION_MAX)
    if len(mods) == 1 and typname in _LENGTH_TYPES:
        return mods[0] + _VARHDRSZ
    if len(mods) == 1 and typname in _BIT_TYPES:
        return mods[0]
    raise InvalidParameterValue(f'type modifier is not allowed for type "{typname}"')


def _interval(name: str, mods: list[int]) -> PgType:
    fields = name.removeprefix("interval").strip()
    found = _BY_TYPNAME["interval"]
    mask = _INTERVAL_RANGES.get(fields, _INTERVAL_FULL_RANGE)
    if fields and fields not in _INTERVAL_RANGES:
        raise UndefinedObject(f'type "{name}" does not exist')
    if not fields and not mods:
        return found
    precision = min(mods[0], _TIME_PRECISION_MAX) if mods else _INTERVAL_FULL_PRECISION
    return found.with_typmod((mask << 16) | precision)


def numeric_precision_scale(typmod: int) -> tuple[int, int] | None:
    """Declared precision and scale of numeric, or None without a declaration."""
    if typmod < _VARHDRSZ:
        return None
    packed = typmod - _VARHDRSZ
    return packed >> 16, ((packed & 0x7FF) ^ 0x400) - 0x400


def _numeric_carrier(typmod: int) -> pa.DataType:
    declared = numeric_precision_scale(typmod)
    if declared is None:
        return pa.string()
    precision, scale = declared
    # numeric(3,-2) holds 99900: five digits, none after the point; numeric(2,4) needs four.
    digits = precision - scale if scale < 0 else max(precision, scale)
    if digits <= DECIMAL128_DIGITS_MAX:
        return pa.decimal128(digits, max(scale, 0))
    if digits <= DECIMAL256_DIGITS_MAX:
        return pa.decimal256(digits, max(scale, 0))
    return pa.string()


def _format(pg: PgType) -> str:
    if pg.typmod < 0:
        return pg.name
    if pg.oid == NUMERIC_OID:
        declared = numeric_precision_scale(pg.typmod)
        return pg.name if declared is None else f"numeric({declared[0]},{declared[1]})"
    if pg.typname in _LENGTH_TYPES:
        base = "character" if pg.typname == "bpchar" else pg.name
        return f"{base}({pg.typmod - _VARHDRSZ})"
    if pg.typname in _BIT_TYPES:
        return f"{pg.name.strip(chr(34))}({pg.typmod})"
    if pg.typname in _TIME_TYPES:
        head, _, tail = pg.name.partition(" ")
        return f"{head}({pg.typmod}) {tail}"
    if pg.typname == "interval":
        fields = _INTERVAL_NAMES.get((pg.typmod >> 16) & _INTERVAL_FULL_RANGE, "")
        precision = pg.typmod & 0xFFFF
        digits = "" if precision == _INTERVAL_FULL_PRECISION else f"({precision})"
        return f"interval {fields}{digits}" if fields else f"interval{digits}"
    return pg.name
