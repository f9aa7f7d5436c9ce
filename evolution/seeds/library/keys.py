"""Key types and digests that the hash generators share.

A key is hashed as the UTF-8 bytes of its text: the database's encoding is UTF8, so md5(text) is the
MD5 of exactly these bytes. `bigint` and `uuid` have an immutable text form and overloads of their
own; other types go through morph.key(). A salt is hashed first: md5(salt) has a fixed length, so
(salt, key) pairs never run into one another, and a constant salt costs one concatenation a row.
"""

from __future__ import annotations

from collections.abc import Callable

from evolution.seeds.library.generator import sql_function, statements

POSITIVE_BITS = 9223372036854775807

KEY_TYPES = (("text", "key"), ("bigint", "key::pg_catalog.text"), ("uuid", "key::pg_catalog.text"))


def _digest(key: str, *, salted: bool, size: int) -> str:
    """SQL for the first `size` bytes of the digest as a bigint."""
    data = f"pg_catalog.md5(salt) || {key}" if salted else key
    digest = f"pg_catalog.decode(pg_catalog.md5({data}), 'hex')"
    return f"pg_catalog.substr({digest}, 1, {size})::pg_catalog.int8"


def hash63(key: str, *, salted: bool) -> str:
    """SQL for 63 pseudo-random bits of the key, 0 or more."""
    return f"({_digest(key, salted=salted, size=8)} & {POSITIVE_BITS})"


def hash53(key: str, *, salted: bool) -> str:
    """SQL for 53 bits of the key: what a float8 can hold exactly."""
    return f"({_digest(key, salted=salted, size=7)} >> 3)"


def overloads(name: str, parameters: str, returns: str, body: Callable[[str, bool], str]) -> str:
    """DDL for all key types, without and with salt. `body` gets the key's SQL and `salted`."""
    ddl = []
    for key_type, key in KEY_TYPES:
        for salted in (False, True):
            signature = f"morph.{name}(key {key_type}{parameters}{', salt text' if salted else ''})"
            ddl.append(sql_function(signature, returns, body(key, salted)))
    return statements(*ddl)
