"""Constraints: declared on a version's shape, enforced by the store for all versions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from catalog.model import Column, Constraint, Stored, Table, Version
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import FeatureNotSupported
from evolution.introspect import ScratchConstraint
from evolution.seeds.expressions import substitute

_REFERENCES = re.compile(r"REFERENCES .*?\)(?P<rest>.*)\Z", re.DOTALL)
IDENTIFIER_MAX = 63


def store_name(number: int, name: str) -> str:
    """A name that is unique in the store's schema and still tells whose it is."""
    return f"k{number}_{name}"[:IDENTIFIER_MAX]


def _stored(table: str, column: Column) -> str:
    if not isinstance(column.source, Stored) or column.source.converts(column.type):
        raise FeatureNotSupported(
            f'a constraint on "{table}" cannot use column "{column.name}": it lies in the document',
            hint="Use CREATE UNIQUE INDEX for uniqueness.",
        )
    return column.source.column


def read_constraint(
    version: Version,
    table: Table,
    columns: Mapping[int, Column],
    found: ScratchConstraint,
    number: int,
) -> tuple[Constraint, str]:
    """The constraint for the model, and the store's clause `ADD CONSTRAINT …`.

    `columns` are by attribute number of the scratch table.
    """
    if found.kind == "x":
        raise FeatureNotSupported("exclusion constraints are not supported")
    name = store_name(number, found.name)
    used = [columns[n] for n in found.columns]
    names = ", ".join(quote_ident(_stored(table.name, c)) for c in used)
    if found.kind in ("p", "u"):
        rest = found.definition.split(")", 1)[1]
        head = found.definition.split("(", 1)[0]
        clause = f"{head}({names}){rest}"
    elif found.kind == "c":
        clause = _check_clause(table, found, used)
    else:
        clause = f"FOREIGN KEY ({names}) {_foreign(version, found)}"
    constraint = Constraint(
        found.name,
        found.kind,  # type: ignore[arg-type]
        tuple(c.id for c in used),
        _unqualified(found.definition),
        name,
    )
    return constraint, f"ADD CONSTRAINT {quote_ident(name)} {clause}"


def _unqualified(definition: str) -> str:
    """The definition with the referenced table by its bare name: each version has its own."""
    return re.sub(r'REFERENCES (?:"?(?:v\d+|public|morph_scratch)"?\.)', "REFERENCES ", definition)


def _check_clause(table: Table, found: ScratchConstraint, used: Sequence[Column]) -> str:
    replacements = {c.name: quote_ident(_stored(table.name, c)) for c in used}
    rest = " NO INHERIT" if found.definition.endswith("NO INHERIT") else ""
    return f"CHECK {substitute(found.expression or 'true', replacements)}{rest}"


def _foreign(version: Version, found: ScratchConstraint) -> str:
    other = version.table(found.references)
    if other is None or other.kind != "table":
        raise FeatureNotSupported(f'a foreign key cannot reference "{found.references}"')
    keys = [other.columns[n - 1] for n in found.foreign_columns]
    names = ", ".join(quote_ident(_stored(other.name, c)) for c in keys)
    match = _REFERENCES.search(found.definition)
    rest = match["rest"] if match else ""
    return f"REFERENCES {STORE_SCHEMA}.{quote_ident(other.store)} ({names}){rest}"
