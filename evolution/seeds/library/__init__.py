"""The generator library of schema `morph`: one file per generator, all of them in GENERATORS."""

from __future__ import annotations

from evolution.seeds.library import internals
from evolution.seeds.library.aggregate import AGGREGATE
from evolution.seeds.library.generator import Example, Generator
from evolution.seeds.library.hash_bucket import HASH_BUCKET
from evolution.seeds.library.hash_choice import HASH_CHOICE
from evolution.seeds.library.hash_float import HASH_FLOAT
from evolution.seeds.library.hash_int import HASH_INT
from evolution.seeds.library.key import KEY
from evolution.seeds.library.keyed_sequence import KEYED_SEQUENCE
from evolution.seeds.library.lookup import LOOKUP
from evolution.seeds.library.mask import MASK
from evolution.seeds.library.mask_email import MASK_EMAIL
from evolution.seeds.library.permute import PERMUTE
from evolution.seeds.library.template import TEMPLATE
from evolution.seeds.library.uuid5 import UUID5
from evolution.seeds.library.uuid8 import UUID8

__all__ = ["GENERATORS", "GENERATOR_NAMES", "Example", "Generator", "library_sql"]

GENERATORS: tuple[Generator, ...] = (
    HASH_INT,
    HASH_FLOAT,
    HASH_BUCKET,
    HASH_CHOICE,
    KEY,
    UUID5,
    UUID8,
    KEYED_SEQUENCE,
    PERMUTE,
    TEMPLATE,
    MASK,
    MASK_EMAIL,
    LOOKUP,
    AGGREGATE,
)

GENERATOR_NAMES: frozenset[str] = frozenset(g.name for g in GENERATORS)


def library_sql() -> str:
    """DDL of the whole library, to be run as the owner of schema `morph`, which must exist.

    Idempotent, and free of transaction control: it joins the caller's transaction.
    """
    return "\n\n".join((internals.DDL, *(g.ddl for g in GENERATORS))) + "\n"
