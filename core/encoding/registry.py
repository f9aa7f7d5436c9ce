"""The explicit registry: which family encodes which type. One line per family."""

from __future__ import annotations

from core.encoding.arrays import ARRAY
from core.encoding.bits import BITS
from core.encoding.boolean import BOOLEAN
from core.encoding.bytea import BYTEA
from core.encoding.date import DATE
from core.encoding.family import register, register_arrays
from core.encoding.floating import FLOATING
from core.encoding.integer import INTEGER
from core.encoding.interval import INTERVAL
from core.encoding.money import MONEY
from core.encoding.network import INET, MACADDR
from core.encoding.numeric import NUMERIC
from core.encoding.text import CHAR, JSONB, TEXT
from core.encoding.time import TIME, TIMETZ
from core.encoding.timestamp import TIMESTAMP
from core.encoding.uuid import UUID
from core.types import TYPES

_FAMILIES = {
    "bool": BOOLEAN,
    "int2": INTEGER,
    "int4": INTEGER,
    "int8": INTEGER,
    "oid": INTEGER,
    "float4": FLOATING,
    "float8": FLOATING,
    "numeric": NUMERIC,
    "text": TEXT,
    "varchar": TEXT,
    "bpchar": TEXT,
    "name": TEXT,
    "json": TEXT,
    "xml": TEXT,
    "unknown": TEXT,
    "jsonb": JSONB,
    "char": CHAR,
    "bytea": BYTEA,
    "date": DATE,
    "time": TIME,
    "timetz": TIMETZ,
    "timestamp": TIMESTAMP,
    "timestamptz": TIMESTAMP,
    "interval": INTERVAL,
    "uuid": UUID,
    "inet": INET,
    "cidr": INET,
    "macaddr": MACADDR,
    "macaddr8": MACADDR,
    "bit": BITS,
    "varbit": BITS,
    "money": MONEY,
}

for _type in TYPES:
    register([_type.oid], _FAMILIES[_type.typname])
register_arrays(ARRAY)
