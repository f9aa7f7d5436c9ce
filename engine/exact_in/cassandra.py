"""What Cassandra answers exactly as the private PostgreSQL does.

These are conditions on key and indexed columns; backends/cassandra/pushdown.py decides which of
them CQL can take at all. Proven by tests/services/cassandra against a real server.
"""

from __future__ import annotations

from typing import Final

from backends.base import EXACT, ExactWithRewrite
from engine.exact_in.verdicts import StoreVerdicts

_VALUES: Final = (
    "column literal(bool|int2|int4|int8|numeric|float4|float8|text|varchar|date|timestamptz|time|"
    "uuid|bytea)"
)
_PLAIN: Final = """
= < <= > >=(int2,int2|int2,int4|int2,int8|int4,int2|int4,int4|int4,int8|int8,int2|int8,int4)
= < <= > >=(int8,int8|numeric,int2|numeric,int4|numeric,int8|numeric,numeric)
= < <= > >=(text,text|varchar,varchar|text,varchar|varchar,text)
= < <= > >=(bool,bool|date,date|time,time|bytea,bytea)
=(uuid,uuid)
not(bool)
"""
_ZEROS: Final = """
= < <= > >=(float4,float4|float8,float8|float8,numeric|float8,int2|float8,int4|float8,int8)
"""
_CANDIDATES: Final = """
in any(bool,bool|int2,int2|int2,int4|int2,int8|int4,int2|int4,int4|int4,int8|int8,int2|int8,int4)
in any(int8,int8|numeric,numeric|text,text|varchar,varchar|date,date|time,time)
in any(uuid,uuid|bytea,bytea)
in(numeric,int4|numeric,int8)
any(text,varchar|varchar,text)
"""
_COUNTS: Final = """
count(|bool|int2|int4|int8|float4|float8|uuid|bytea)
min max(int2|int4|int8)
"""

CASSANDRA: Final[tuple[StoreVerdicts, ...]] = (
    StoreVerdicts("cassandra", "value", _VALUES, EXACT),
    StoreVerdicts("cassandra", "operator", _PLAIN, EXACT),
    StoreVerdicts("cassandra", "operator", _ZEROS, ExactWithRewrite("both_zeros")),
    StoreVerdicts(
        "cassandra",
        "operator",
        "= < <= > >=(timestamptz,timestamptz)",
        ExactWithRewrite("whole_units"),
    ),
    StoreVerdicts("cassandra", "predicate", _CANDIDATES, EXACT),
    StoreVerdicts(
        "cassandra",
        "predicate",
        "in any(timestamptz,timestamptz)",
        ExactWithRewrite("whole_units"),
    ),
    StoreVerdicts(
        "cassandra",
        "predicate",
        "in any(float4,float4|float8,float8)",
        ExactWithRewrite("both_zeros"),
    ),
    StoreVerdicts(
        "cassandra",
        "predicate",
        "like(text,text|varchar,text)",
        ExactWithRewrite("prefix_range"),
    ),
    StoreVerdicts("cassandra", "aggregate", _COUNTS, EXACT),
)
