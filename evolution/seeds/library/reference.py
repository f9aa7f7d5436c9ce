"""docs/generators.md, printed from the registry: `python -m evolution.seeds.library.reference`."""

from __future__ import annotations

import sys

from evolution.seeds.library import GENERATORS
from evolution.seeds.library.generator import Example, Generator

_HEAD = """\
# Generators

A virtual column (a *schema seed*) is computed from its row when it is read; nothing is stored:

```
ALTER TABLE customers
  ADD COLUMN loyalty_score int GENERATED ALWAYS AS (morph.hash_int(id, 0, 100, 'loyalty')) VIRTUAL;
```

The expression is any immutable SQL over the columns of the row, other virtual columns included, and
the generators of schema `morph` below. The same row gives the same value in every session, process,
machine and version of PostgreSQL. Refused by ALTER TABLE:

| what | error |
| --- | --- |
| an expression that is not immutable (`now()`, `random()`, `date::text`) | 42P17 |
| a virtual column that depends on itself, also by way of other tables (with the cycle) | 42P17 |
| a generator that does not exist, with a hint at near names | 42883 |
| a column that does not exist | 42703 |
| a sub-select; `morph.lookup` and `morph.aggregate` read other rows | 0A000 |
| an aggregate, a window function, a set-returning function | 42803, 42P20, 0A000 |

**Keys.** The hash generators take `text`, `bigint` and `uuid` keys: text is hashed as its UTF-8
bytes, the others as their text, so `42` and `'42'` give the same value. Other types go through
`morph.key`. **Salt**: two columns over one key need different salts, or they hold the same numbers;
the column's name is a good one.

**Cost** is the time of one row above reading the row (PostgreSQL 18, 200,000 rows in memory, one
process). All but `morph.uuid5`, `morph.permute` and `morph.template` are inlined into the query; an
expression without generators costs what it costs in a query.

A cluster on a PostgreSQL built with OpenSSL in FIPS mode has no MD5, and the hash generators fail
there; the PostgreSQL that Morphgres brings has no OpenSSL.
"""

_MACRO = (
    "A macro: the call is expanded into a sub-select by ALTER TABLE, so table, columns and the "
    "expression over the child are literals, and it works nowhere else (0A000)."
)


def _example(example: Example) -> str:
    result = "NULL" if example.result is None else example.result
    if example.sqlstate:
        result = f"ERROR {example.sqlstate}"
    return f"SELECT {example.sql};\n-- {result}"


def _section(generator: Generator) -> str:
    signatures = "\n".join(generator.signatures)
    examples = "\n".join(map(_example, generator.examples))
    parts = [f"## morph.{generator.name}", f"```\n{signatures}\n```", generator.summary]
    if generator.kind == "macro":
        parts.append(_MACRO)
    parts.append(f"- NULL: {generator.nulls}\n- Cost: {generator.cost}.")
    if generator.notes:
        parts.append(generator.notes)
    if generator.usage:
        parts.append(f"```\n{generator.usage}\n```")
    parts.append(f"```sql\n{examples}\n```")
    return "\n\n".join(parts) + "\n"


def reference() -> str:
    """The page."""
    return "\n".join((_HEAD, *map(_section, GENERATORS)))


if __name__ == "__main__":
    sys.stdout.write(reference())
