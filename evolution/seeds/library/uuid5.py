"""morph.uuid5: the name-based UUID of RFC 9562 section 5.5 (version 5, SHA-1).

PostgreSQL's core has no SHA-1, and the private PostgreSQL has neither pgcrypto nor uuid-ossp, so
this is FIPS 180-4 section 6.1 in PL/pgSQL. It is written out without loops and arrays: 80 rounds on
scalar variables, words as bigint. A word x is rotated left by n as (x | (x << 32)) >> 32 - n and
masked to 32 bits (PostgreSQL gives all bit operators the same precedence). Instead of shifting a,
b, c, d, e along, each round uses them under other names.
"""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, plpgsql_function

_MASK = 4294967295
_ROUND_CONSTANTS = (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)


def _mix(i: int, b: str, c: str, d: str) -> str:
    if i < 20:
        return f"({d} # ({b} & ({c} # {d})))"
    if 40 <= i < 60:
        return f"(({b} & {c}) | ({d} & ({b} | {c})))"
    return f"({b} # {c} # {d})"


def _round(i: int) -> list[str]:
    a, b, c, d, e = ("abcde"[(k - i) % 5] for k in range(5))
    word = f"w{i % 16}"
    lines = []
    if i >= 16:
        others = " # ".join(f"w{k % 16}" for k in (i - 3, i - 8, i - 14, i))
        lines.append(f"t := {others};")
        lines.append(f"{word} := ((t << 1) | (t >> 31)) & {_MASK};")
    constant = _ROUND_CONSTANTS[i // 20]
    lines.append(
        f"{e} := ((({a} | ({a} << 32)) >> 27 & {_MASK}) + {_mix(i, b, c, d)} + {e}"
        f" + {word} + {constant}) & {_MASK};"
    )
    lines.append(f"{b} := ({b} | ({b} << 32)) >> 2 & {_MASK};")
    return lines


def _body() -> str:
    words = "\n".join(f"    w{k} := substr(m, at + {4 * k}, 4)::bigint;" for k in range(16))
    rounds = "\n".join(f"    {line}" for i in range(80) for line in _round(i))
    declared = "\n".join(f"  w{k} bigint;" for k in range(16))
    sums = "\n".join(f"    h{k} := (h{k} + {v}) & {_MASK};" for k, v in enumerate("abcde"))
    starts = "\n".join(f"  h{k} bigint := {v};" for k, v in enumerate(_START))
    loads = " ".join(f"{v} := h{k};" for k, v in enumerate("abcde"))
    return f"""
DECLARE
  m bytea := uuid_send(namespace) || morph._utf8(name);
  size bigint := length(m);
  at int := 1;
  t bigint;
  a bigint; b bigint; c bigint; d bigint; e bigint;
{declared}
{starts}
BEGIN
  m := m || decode('80', 'hex') || decode(repeat('00', ((119 - size % 64) % 64)::int), 'hex')
    || int8send(size * 8);
  WHILE at < length(m) LOOP
{words}
    {loads}
{rounds}
{sums}
    at := at + 64;
  END LOOP;
  -- Version 5 and the variant take the places of six bits; the last word of SHA-1 is cut off.
  RETURN lpad(to_hex(h0), 8, '0') || lpad(to_hex(h1 & 4294905855 | 20480), 8, '0')
    || lpad(to_hex(h2 & 1073741823 | 2147483648), 8, '0') || lpad(to_hex(h3), 8, '0');
END"""


UUID5 = Generator(
    name="uuid5",
    signatures=("morph.uuid5(namespace uuid, name text) → uuid",),
    summary=(
        "The version 5 UUID of a name, as RFC 9562 defines it and as every language's library "
        "makes it. Where nobody else must come to the same UUID, `morph.uuid8` is faster."
    ),
    nulls="NULL when any argument is NULL.",
    cost="30 µs for a name of up to 39 bytes, as much again for each further 64 bytes",
    examples=(
        Example(
            "morph.uuid5('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'www.example.com')",
            "2ed6657d-e927-568b-95e1-2665a8aea6a2",
        ),
        Example("morph.uuid5(NULL, 'www.example.com')", None),
    ),
    ddl=plpgsql_function("morph.uuid5(namespace uuid, name text)", "uuid", _body(), strict=True),
)
