"""What a PostgreSQL server of version 14 or newer answers exactly as the private PostgreSQL does.

Nearly everything; proven against 15 by tests/services/postgres. Not here, because it depends on

- the locale of the server's database: lower, upper, initcap, ILIKE, regular expressions, the order
  of jsonb; text is ordered by code points there with COLLATE "C" (the rewrite `collate_c`);
- its encoding: octet_length, bit_length, ascii, md5 of texts;
- the client's settings, which the server has not: TimeZone (dates and times compared with
  timestamptz, or made of it), DateStyle, IntervalStyle, extra_float_digits, bytea_output;
- the version: numbers read from texts (0x10 and 1_000 since 16), infinite intervals (17), min and
  max of bytea (18);
- the order of the rows: sum and avg of floats.
"""

from __future__ import annotations

from typing import Final

from backends.base import EXACT, ExactWithRewrite
from engine.exact_in.verdicts import StoreVerdicts

_BACKEND: Final = "postgres"
COLLATE_C: Final = ExactWithRewrite("collate_c")


def _pairs(names: str) -> str:
    return "|".join(f"{name},{name}" for name in names.split())


def _cross(names: str) -> str:
    parts = names.split()
    return "|".join(f"{one},{other}" for one in parts for other in parts if one != other)


_INTS = "int2 int4 int8"
_NUMBERS = f"{_INTS} numeric float4 float8"
_TIMES = "date timestamp timestamptz time timetz"
_ORDERED = f"bool {_NUMBERS} {_TIMES} interval uuid bytea"
_TEXTS = "text varchar bpchar"
_SCALARS = f"{_ORDERED} {_TEXTS}"
_ALL = f"{_SCALARS} jsonb"
_BARE = "|".join(_ALL.split())

_OPERATORS = f"""
= <>({_pairs(_ALL)}|{_cross(_NUMBERS)}|{_cross("text varchar")}|{_cross("date timestamp")})
< <= > >=({_pairs(_ORDERED)}|{_cross(_NUMBERS)}|{_cross("date timestamp")})
is_distinct_from is_not_distinct_from({_pairs(_ALL)}|{_cross(_INTS)}|numeric,int4|float8,numeric)
and or(bool,bool)
not(bool)
@> <@(jsonb,jsonb)
?(jsonb,text)
->(jsonb,text)
->>(jsonb,text)
||(text,text|varchar,varchar|text,varchar|varchar,text)
+ -({_pairs(_INTS)}|int2,int4|int4,int2|int4,int8|int8,int4)
* / %({_pairs(_INTS)}|int2,int4|int4,int2|int4,int8|int8,int4)
+ - * / %(numeric,numeric|numeric,int4|int4,numeric|numeric,int8|int8,numeric)
+ - * /(float8,float8|float8,int4|int4,float8|float8,numeric|numeric,float8)
+ - * /(float4,float4)
-(int2|int4|int8|numeric|float8|float4)
-(date,date)
+ -(date,int4)
+ -(timestamp,interval)
"""
_TEXT_ORDER = f"< <= > >=({_pairs(_TEXTS)}|{_cross('text varchar')})"

_PREDICATES = f"""
in({_pairs(_SCALARS)}|{_cross(_INTS)})
in(numeric,int4|numeric,int8|int4,numeric|int8,numeric|float8,int4|float8,numeric)
any({_pairs(_SCALARS)}|{_cross(_INTS)}|{_cross("text varchar")})
is_null({_BARE})
like(text,text|varchar,text|varchar,varchar|text,varchar|bpchar,text)
case coalesce({_pairs(_ALL)})
greatest least({_pairs(_ORDERED)})
nullif({_pairs(_ALL)})
"""

_FUNCTIONS = """
reverse(text|varchar)
btrim ltrim rtrim(text|text,text|varchar|varchar,text)
length char_length character_length(text|varchar)
length octet_length(bytea)
substr substring(text,int4|varchar,int4)
substr substring(text,int4,int4|varchar,int4,int4)
left right(text,int4|varchar,int4)
replace translate(text,text,text|varchar,text,text)
strpos position(text,text|varchar,text)
starts_with(text,text|varchar,text)
md5(bytea)
split_part(text,text,int4|varchar,text,int4)
lpad rpad(text,int4|text,int4,text|varchar,int4,text)
abs(int2|int4|int8|numeric|float8)
sign ceil ceiling floor round trunc(numeric|float8)
round trunc(numeric,int4)
mod(int2,int2|int4,int4|int8,int8|numeric,numeric)
sqrt(float8)
date_trunc(text,timestamp)
extract(text,timestamp|text,date)
date_part(text,timestamp)
isfinite(date|timestamp|timestamptz|interval)
jsonb_typeof(jsonb)
jsonb_array_length(jsonb)
"""

_CASTS = """
int2(int2|int4|int8|numeric|float4|float8)
int4(int2|int4|bool|int8|numeric|float4|float8)
int8(int2|int4|int8|numeric|float4|float8)
numeric(int2|int4|int8|numeric|float4|float8)
float8(int2|int4|int8|float4|float8|numeric)
float4(int2|int4|int8|float4|numeric|float8)
bool(bool|int4)
text(bool|int2|int4|int8|numeric|text|varchar|bpchar|time|timetz|uuid|jsonb)
varchar(text|varchar|int4)
date(date|timestamp)
timestamp(timestamp|date)
timestamptz(timestamptz)
time(time|timestamp)
uuid(uuid)
jsonb(jsonb)
"""

_AGGREGATES = f"""
count(|{_BARE})
sum(int2|int4|int8|numeric)
avg(int2|int4|int8|numeric)
min max(int2|int4|int8|numeric|float4|float8)
min max(date|timestamp|timestamptz|time|timetz|interval)
bool_and bool_or every(bool)
"""
_TEXT_AGGREGATES = "min max(text|varchar|bpchar)"

POSTGRES: Final[tuple[StoreVerdicts, ...]] = (
    StoreVerdicts(_BACKEND, "operator", _OPERATORS, EXACT),
    StoreVerdicts(_BACKEND, "operator", _TEXT_ORDER, COLLATE_C),
    StoreVerdicts(_BACKEND, "predicate", _PREDICATES, EXACT),
    StoreVerdicts(_BACKEND, "function", _FUNCTIONS, EXACT),
    StoreVerdicts(_BACKEND, "cast", _CASTS, EXACT),
    StoreVerdicts(_BACKEND, "value", f"column literal({_BARE})", EXACT),
    StoreVerdicts(_BACKEND, "aggregate", _AGGREGATES, EXACT),
    StoreVerdicts(_BACKEND, "aggregate", _TEXT_AGGREGATES, COLLATE_C),
    StoreVerdicts(_BACKEND, "ordering", f"ordering({'|'.join(_ORDERED.split())})", EXACT),
    StoreVerdicts(_BACKEND, "ordering", f"ordering({'|'.join(_TEXTS.split())})", COLLATE_C),
)
