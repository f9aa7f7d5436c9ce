"""morph.hash_float: a uniform number in [0, 1)."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator
from evolution.seeds.library.keys import hash53, overloads


def uniform(key: str, *, salted: bool) -> str:
    """SQL for a float8 in [0, 1): 53 bits over 2^53, exact on every machine."""
    return f"{hash53(key, salted=salted)}::pg_catalog.float8 / 9007199254740992"


HASH_FLOAT = Generator(
    name="hash_float",
    signatures=(
        "morph.hash_float(key text | bigint | uuid) → double precision",
        "morph.hash_float(key, salt text) → double precision",
    ),
    summary="A uniform number from 0 (included) to 1 (excluded), a multiple of 2⁻⁵³.",
    nulls="NULL when any argument is NULL.",
    cost="0.21 µs",
    examples=(
        Example("morph.hash_float('alice')", "0.3887464222719209"),
        Example("morph.hash_float(42, 'discount')", "0.515084070537812"),
        Example("morph.hash_float(NULL::uuid)", None),
    ),
    ddl=overloads(
        "hash_float",
        "",
        "double precision",
        lambda key, salted: uniform(key, salted=salted),
    ),
    notes=(
        "`morph.hash_float(NULL)` with an untyped NULL is the text form. `(key, salt)` with two "
        "literals: both are text."
    ),
)
