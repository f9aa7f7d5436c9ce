"""morph.hash_int: a uniform integer between two bounds."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator
from evolution.seeds.library.keys import hash63, overloads


def _body(key: str, salted: bool) -> str:
    message = (
        "'lower bound of morph.hash_int must not be greater than upper bound: '"
        " || lo::pg_catalog.text || ' > ' || hi::pg_catalog.text"
    )
    return (
        f"CASE WHEN hi < lo THEN morph._refuse({message}, lo)\n"
        f"  ELSE lo + {hash63(key, salted=salted)} % (hi - lo + 1) END"
    )


HASH_INT = Generator(
    name="hash_int",
    signatures=(
        "morph.hash_int(key text | bigint | uuid, lo bigint, hi bigint) → bigint",
        "morph.hash_int(key, lo, hi, salt text) → bigint",
    ),
    summary=(
        "A uniform integer from `lo` to `hi`, both included. Two columns over one key need two "
        "salts, or they hold the same numbers. An `int` column takes the value by its own cast."
    ),
    nulls="NULL when any argument is NULL.",
    cost="0.22 µs (text key), 0.25 µs (bigint key)",
    examples=(
        Example("morph.hash_int('alice', 1, 100)", "18"),
        Example("morph.hash_int('alice', 1, 100, 'risk')", "76"),
        Example("morph.hash_int(42, -5, 5)", "-2"),
        Example("morph.hash_int(NULL::text, 1, 100)", None),
        Example("morph.hash_int('alice', 2, 1)", sqlstate="22023"),
    ),
    ddl=overloads("hash_int", ", lo bigint, hi bigint", "bigint", _body),
    notes=(
        "63 bits of the MD5 of the key modulo the width, so a value is off uniform by at most "
        "width / 2⁶³. `hi - lo + 1` must fit bigint (22003 otherwise)."
    ),
)
