"""morph.hash_bucket: one of n buckets, numbered from 0."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator
from evolution.seeds.library.keys import hash63, overloads


def _body(key: str, salted: bool) -> str:
    message = "'number of buckets must be greater than 0, not ' || buckets::pg_catalog.text"
    return (
        f"CASE WHEN buckets < 1 THEN morph._refuse({message}, buckets)\n"
        f"  ELSE ({hash63(key, salted=salted)} % buckets)::pg_catalog.int4 END"
    )


HASH_BUCKET = Generator(
    name="hash_bucket",
    signatures=(
        "morph.hash_bucket(key text | bigint | uuid, buckets int) → int",
        "morph.hash_bucket(key, buckets, salt text) → int",
    ),
    summary="The number of a bucket from 0 to `buckets` - 1: experiment arms, shards, samples.",
    nulls="NULL when any argument is NULL.",
    cost="0.22 µs",
    examples=(
        Example("morph.hash_bucket('alice', 10)", "7"),
        Example("morph.hash_bucket(42, 2, 'experiment 7')", "1"),
        Example("morph.hash_bucket('alice', NULL)", None),
        Example("morph.hash_bucket('alice', 0)", sqlstate="22023"),
    ),
    ddl=overloads("hash_bucket", ", buckets int", "int", _body),
)
