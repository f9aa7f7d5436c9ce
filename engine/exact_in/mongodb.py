"""What MongoDB answers exactly as the private PostgreSQL does.

A column may hold any BSON value, whatever its type; backends/mongodb/filters.py says in each filter
which of them the column shows. Not here: comparisons that PostgreSQL makes in double precision of
an integer column (2^53 and up), ILIKE (case folding differs), expressions over columns ($expr
raises on values of other types), dates without zone (the session's zone decides), jsonb, bytea,
whether a uuid is NULL or another one (BinData of all subtypes is one type).
"""

from __future__ import annotations

from typing import Final

from backends.base import EXACT
from engine.exact_in.verdicts import StoreVerdicts

_BACKEND: Final = "mongodb"

_SHOWN = "bool|int2|int4|int8|numeric|float8|text|timestamptz"
_INTS = "int2,int2|int4,int4|int8,int8|int2,int4|int4,int2|int2,int8|int8,int2|int4,int8|int8,int4"
_NUMERICS = (
    "numeric,numeric|numeric,int2|int2,numeric|numeric,int4|int4,numeric|numeric,int8|int8,numeric"
)
_FLOATS = (
    "float8,float8|float8,int2|float8,int4|float8,int8|float8,numeric"
    "|int2,float8|int4,float8|int8,float8|numeric,float8"
)
_OTHERS = "bool,bool|text,text|text,varchar|varchar,text|timestamptz,timestamptz"

_OPERATORS = f"""
= <> < <= > >=({_INTS}|{_NUMERICS}|{_FLOATS}|{_OTHERS})
=(uuid,uuid)
is_distinct_from is_not_distinct_from({_INTS}|numeric,numeric|numeric,int4|float8,float8)
is_distinct_from is_not_distinct_from(float8,numeric|bool,bool|text,text)
is_distinct_from is_not_distinct_from(timestamptz,timestamptz)
and or(bool,bool)
not(bool)
"""

_PREDICATES = f"""
in({_INTS}|numeric,numeric|numeric,int4|float8,float8|float8,int4|float8,numeric|bool,bool)
in(text,text|timestamptz,timestamptz|uuid,uuid)
any({_INTS}|numeric,numeric|float8,float8|bool,bool|text,text|text,varchar)
any(timestamptz,timestamptz|uuid,uuid)
is_null({_SHOWN}|bytea)
like(text,text)
"""

_AGGREGATES = f"""
count(|{_SHOWN}|bytea)
sum avg(int2|int4|int8)
min max(int2|int4|int8|text|timestamptz)
bool_and bool_or every(bool)
"""

_ORDERINGS = "ordering(bool|int2|int4|int8|float8|text|timestamptz)"

MONGODB: Final[tuple[StoreVerdicts, ...]] = (
    StoreVerdicts(_BACKEND, "operator", _OPERATORS, EXACT),
    StoreVerdicts(_BACKEND, "predicate", _PREDICATES, EXACT),
    StoreVerdicts(_BACKEND, "aggregate", _AGGREGATES, EXACT),
    StoreVerdicts(_BACKEND, "ordering", _ORDERINGS, EXACT),
    StoreVerdicts(_BACKEND, "value", f"column literal({_SHOWN}|uuid|bytea|varchar)", EXACT),
)
