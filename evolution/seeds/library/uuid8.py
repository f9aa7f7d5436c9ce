"""morph.uuid8: a name-based UUID from SHA-256 (RFC 9562 section 5.8, example in appendix B.2)."""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, sql_function, statements


def _uuid(data: str) -> str:
    digest = f"pg_catalog.sha256({data})"
    version = f"pg_catalog.get_byte({digest}, 6) & 15 | 128"
    variant = f"pg_catalog.get_byte({digest}, 8) & 63 | 128"
    return (
        "pg_catalog.encode(pg_catalog.set_byte(pg_catalog.set_byte(\n"
        f"  pg_catalog.substr({digest}, 1, 16), 6, {version}), 8, {variant}), 'hex')"
        "::pg_catalog.uuid"
    )


_BYTES = "morph._utf8(name)"

UUID8 = Generator(
    name="uuid8",
    signatures=(
        "morph.uuid8(name text) → uuid",
        "morph.uuid8(namespace uuid, name text) → uuid",
    ),
    summary=(
        "A version 8 UUID of a name: 122 bits of the SHA-256 of the name, or of the namespace's 16 "
        "bytes and the name as in RFC 9562, appendix B.2."
    ),
    nulls="NULL when any argument is NULL.",
    cost="1.4 µs",
    examples=(
        Example("morph.uuid8('alice')", "2bd806c9-7f0e-80af-9a1f-c3328fa763a9"),
        Example(
            "morph.uuid8('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'www.example.com')",
            "5c146b14-3c52-8afd-938a-375d0df1fbf6",
        ),
        Example("morph.uuid8(NULL)", None),
    ),
    ddl=statements(
        sql_function("morph.uuid8(name text)", "uuid", _uuid(_BYTES)),
        sql_function(
            "morph.uuid8(namespace uuid, name text)",
            "uuid",
            _uuid(f"pg_catalog.uuid_send(namespace) || {_BYTES}"),
        ),
    ),
)
