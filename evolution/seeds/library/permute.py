"""morph.permute: a keyed pseudo-random permutation of 0 .. n-1.

A Feistel network over the smallest power of two that holds n, with cycle walking: a result of n
or more goes in again (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). The halves
may differ by a bit, so the domain is less than 2n and the mean number of walks less than 2. Six
rounds take turns: one half is xored with a mix of the other half and a key of the round. That is a
bijection for every n and salt; it is not encryption.

The layout (widths, masks, round keys) depends on n and the salt alone: a function of constants that
the planner evaluates once per plan.
"""

from __future__ import annotations

from evolution.seeds.library.generator import (
    Example,
    Generator,
    plpgsql_function,
    sql_function,
    statements,
)

_ROUNDS = 6
_HALF_MASK = 2147483647

_LAYOUT = plpgsql_function(
    "morph._permute_layout(n bigint, salt text)",
    "bigint[]",
    f"""
DECLARE
  bits int := 2;
  layout bigint[];
BEGIN
  IF n < 1 OR n > 4611686018427387904 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('size of morph.permute must be from 1 to 2^62, not %s', n);
  END IF;
  WHILE 1::bigint << bits < n LOOP
    bits := bits + 1;
  END LOOP;
  -- Width of the lower half, mask of the upper half, mask of the lower half, round keys.
  layout := ARRAY[bits - bits / 2, (1::bigint << bits / 2) - 1, (1::bigint << bits - bits / 2) - 1];
  FOR i IN 1 .. {_ROUNDS} LOOP
    layout := layout || (substr(decode(md5(salt || ':' || i::text), 'hex'), 1, 4)::bigint
      & {_HALF_MASK});
  END LOOP;
  RETURN layout;
END""",
    strict=True,
)


def _rounds() -> str:
    lines = []
    for i in range(_ROUNDS):
        halves = ("upper_half", "lower_half")
        target, source = halves if i % 2 == 0 else reversed(halves)
        mask = 2 + i % 2
        lines.append(f"    mixed := ({source} # layout[{4 + i}]) * 2654435761;")
        lines.append(f"    mixed := ((mixed # (mixed >> 29)) & {_HALF_MASK}) * 2246822519;")
        lines.append(f"    {target} := {target} # ((mixed # (mixed >> 31)) & layout[{mask}]);")
    return "\n".join(lines)


_PERMUTE = plpgsql_function(
    "morph._permute(key bigint, n bigint, layout bigint[])",
    "bigint",
    f"""
DECLARE
  width int := layout[1];
  upper_half bigint;
  lower_half bigint;
  mixed bigint;
  at bigint := key;
BEGIN
  IF key < 0 OR key >= n THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('key %s of morph.permute is not in 0 .. %s', key, n - 1);
  END IF;
  LOOP
    upper_half := at >> width;
    lower_half := at & layout[3];
{_rounds()}
    at := upper_half << width | lower_half;
    EXIT WHEN at < n;
  END LOOP;
  RETURN at;
END""",
    strict=True,
)

PERMUTE = Generator(
    name="permute",
    signatures=(
        "morph.permute(key bigint, n bigint) → bigint",
        "morph.permute(key, n, salt text) → bigint",
    ),
    summary=(
        "A pseudo-random permutation of 0 .. n-1: every number once, no collisions, no counter. "
        "For serial keys: `morph.permute(id - 1, 1000000)`."
    ),
    nulls="NULL when any argument is NULL.",
    cost="2 µs with constant n and salt, twice that at worst (n just above a power of two)",
    examples=(
        Example("morph.permute(0, 10)", "1"),
        Example("morph.permute(1, 10)", "4"),
        Example("morph.permute(0, 10, 'tickets')", "7"),
        Example("morph.permute(NULL, 10)", None),
        Example("morph.permute(10, 10)", sqlstate="22023"),
        Example("morph.permute(0, 0)", sqlstate="22023"),
    ),
    ddl=statements(
        _LAYOUT,
        _PERMUTE,
        sql_function(
            "morph.permute(key bigint, n bigint)",
            "bigint",
            "morph._permute(key, n, morph._permute_layout(n, ''))",
        ),
        sql_function(
            "morph.permute(key bigint, n bigint, salt text)",
            "bigint",
            "morph._permute(key, n, morph._permute_layout(n, salt))",
        ),
    ),
    notes="A key outside 0 .. n-1 is an error (22023), so n must leave room for rows to come.",
)
