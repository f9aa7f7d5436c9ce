"""morph.hash_choice: one of several values, all alike or by weights.

The weighted form looks the key's number up among cumulative weights. They come from a function of
the constants alone, which the planner evaluates once per plan, so a weighted choice costs a binary
search more than a plain one.
"""

from __future__ import annotations

from evolution.seeds.library.generator import Example, Generator, plpgsql_function, statements
from evolution.seeds.library.hash_float import uniform
from evolution.seeds.library.keys import hash63, overloads

# Bounds between the choices as fractions of the total; summed from left to right, so exactly
# reproducible. The last bound would be 1 and is left out.
_CUMULATE = plpgsql_function(
    "morph._cumulate(choices text[], weights double precision[])",
    "double precision[]",
    """
DECLARE
  total double precision := 0;
  sums double precision[] := '{}';
  weight double precision;
BEGIN
  IF cardinality(choices) <> cardinality(weights) OR cardinality(choices) = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format(
      'morph.hash_choice needs one weight per choice, not %s choices and %s weights',
      cardinality(choices), cardinality(weights));
  END IF;
  FOREACH weight IN ARRAY weights LOOP
    IF weight IS NULL OR NOT (weight >= 0 AND weight < 'Infinity') THEN
      RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format(
        'weights of morph.hash_choice must be numbers not less than 0, not %s',
        coalesce(weight::text, 'NULL'));
    END IF;
    total := total + weight;
    sums := sums || total;
  END LOOP;
  IF total = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'weights of morph.hash_choice must have a sum greater than 0';
  END IF;
  FOR i IN 1 .. cardinality(sums) LOOP
    sums[i] := sums[i] / total;
  END LOOP;
  RETURN sums[1 : cardinality(sums) - 1];
END""",
    strict=True,
)


def _plain(key: str, salted: bool) -> str:
    index = f"{hash63(key, salted=salted)} % pg_catalog.cardinality(choices)"
    return (
        "CASE WHEN pg_catalog.cardinality(choices) = 0\n"
        "    THEN morph._refuse('morph.hash_choice needs at least one choice', choices[1])\n"
        f"  ELSE choices[1 + ({index})::pg_catalog.int4] END"
    )


def _weighted(key: str, salted: bool) -> str:
    # Zero weight leaves an empty interval, so such a choice never comes.
    return (
        f"choices[1 + pg_catalog.width_bucket({uniform(key, salted=salted)},\n"
        "  morph._cumulate(choices, weights))]"
    )


HASH_CHOICE = Generator(
    name="hash_choice",
    signatures=(
        "morph.hash_choice(key text | bigint | uuid, choices text[]) → text",
        "morph.hash_choice(key, choices, salt text) → text",
        "morph.hash_choice(key, choices, weights double precision[]) → text",
        "morph.hash_choice(key, choices, weights, salt text) → text",
    ),
    summary=(
        "One of the choices; with weights, each as often as its share of their sum. For another "
        "type than text, cast the result."
    ),
    nulls="NULL when any argument is NULL. A NULL among the choices is a choice.",
    cost="0.25 µs, also with weights when choices and weights are constants",
    examples=(
        Example("morph.hash_choice('alice', ARRAY['bronze', 'silver', 'gold'])", "bronze"),
        Example("morph.hash_choice('alice', ARRAY['bronze', 'silver', 'gold'], 'tier')", "silver"),
        Example("morph.hash_choice(42, ARRAY['bronze', 'gold'], ARRAY[9, 1])", "bronze"),
        Example("morph.hash_choice(42, ARRAY['bronze', 'gold'], ARRAY[0, 1])", "gold"),
        Example("morph.hash_choice(NULL::bigint, ARRAY['a'])", None),
        Example("morph.hash_choice('alice', ARRAY[]::text[])", sqlstate="22023"),
        Example("morph.hash_choice('alice', ARRAY['a', 'b'], ARRAY[1.0])", sqlstate="22023"),
    ),
    ddl=statements(
        _CUMULATE,
        overloads("hash_choice", ", choices text[]", "text", _plain),
        overloads("hash_choice", ", choices text[], weights double precision[]", "text", _weighted),
    ),
    notes="Arrays are one-dimensional and count from 1. Give arrays as `ARRAY[…]`.",
)
