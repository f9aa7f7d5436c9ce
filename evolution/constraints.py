"""Constraints: declared on a version's shape, enforced by the store on writes of all versions.

They belong to the rows, as indexes do: one that is added holds at once for every version, one that
is dropped by name stops to hold for every version. One that only goes with a column or table of a
version stays in the store, where older versions have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from catalog.model import Column, Constraint, Seed, Stored, Table, Version
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import FeatureNotSupported
from evolution.introspect import SCRATCH, ScratchConstraint
from evolution.seeds.expressions import substitute
from rewrite.parsing import parse_statements
from rewrite.tree import OPEN_PAREN, Tokens

IDENTIFIER_MAX = 63


def store_name(number: int, name: str) -> str:
    """A name that is unique in the store's schema and still tells whose it is."""
    return clip(f"k{number}_{name}")


def clip(name: str) -> str:
    """The name cut to what PostgreSQL keeps of an identifier: 63 bytes, never half a character."""
    return name.encode()[:IDENTIFIER_MAX].decode("utf-8", "ignore")


def _stored(table: str, column: Column) -> str:
    if isinstance(column.source, Seed) and column.source.column:
        return column.source.column
    if not isinstance(column.source, Stored):
        raise FeatureNotSupported(
            f'a constraint on "{table}" cannot use column "{column.name}": it lies in the document',
            hint="Use CREATE UNIQUE INDEX for uniqueness.",
        )
    if column.source.converts(column.type):
        raise FeatureNotSupported(
            f'a constraint on "{table}" cannot use column "{column.name}": the store holds it as '
            f"{column.source.type}",
            hint="Use CREATE UNIQUE INDEX for uniqueness.",
        )
    return column.source.column


def stored_name(column: Column) -> str:
    """The column of the store with the very values that are shown, "" for none."""
    if isinstance(column.source, Seed):
        return column.source.column
    if isinstance(column.source, Stored) and not column.source.converts(column.type):
        return column.source.column
    return ""


def read_constraint(
    table: Table,
    columns: Mapping[int, Column],
    found: ScratchConstraint,
    other: tuple[Table, Mapping[int, Column]] | None,
    number: int,
) -> tuple[Constraint, str]:
    """The constraint for the model, and the store's clause `ADD CONSTRAINT …`.

    `columns` are by attribute number of the scratch table, `other` is the table that a foreign key
    references with its columns by number.
    """
    if found.kind == "x":
        raise FeatureNotSupported("exclusion constraints are not supported")
    name = store_name(number, found.name)
    used = [columns[n] for n in found.columns]
    names = ", ".join(quote_ident(_stored(table.name, c)) for c in used)
    constraint = Constraint(
        found.name,
        found.kind,  # type: ignore[arg-type]
        tuple(c.id for c in used),
        unqualified(found.definition),
        name,
    )
    if found.kind in ("p", "u"):
        head, rest = _around_columns(found.definition, 0)
        if rest.lstrip().startswith("INCLUDE"):
            raise FeatureNotSupported("INCLUDE in a constraint is not supported")
        clause = f"{head}({names}){rest}"
    elif found.kind == "c":
        clause = _check_clause(table, found, used)
    else:
        if other is None or other[0].kind != "table":
            raise FeatureNotSupported(f'a foreign key cannot reference "{found.references_name}"')
        target, by_number = other
        if target.part is not None:
            raise FeatureNotSupported(
                f'a foreign key cannot reference "{target.name}": it shows some of the rows of a '
                "table that was split",
                hint="Reference a table of its own, or merge the parts first.",
            )
        keys = [by_number[n] for n in found.foreign_columns]
        listed = ", ".join(quote_ident(_stored(target.name, c)) for c in keys)
        clause = (
            f"FOREIGN KEY ({names}) REFERENCES {STORE_SCHEMA}.{quote_ident(target.store)} "
            f"({listed}){foreign_rest(found.definition, names)}"
        )
        constraint = replace(
            constraint, references=target.id, foreign_columns=tuple(c.id for c in keys)
        )
    return constraint, f"ADD CONSTRAINT {quote_ident(name)} {clause}"


def unqualified(definition: str) -> str:
    """The definition with the referenced table by its bare name: each version has its own."""
    return re.sub(rf'REFERENCES (?:"?(?:v\d+|public|{SCRATCH})"?\.)', "REFERENCES ", definition)


def _check_clause(table: Table, found: ScratchConstraint, used: Sequence[Column]) -> str:
    replacements = {c.name: quote_ident(_stored(table.name, c)) for c in used}
    rest = "".join(
        f" {words}" for words in ("NO INHERIT", "NOT VALID") if found.definition.endswith(words)
    )
    return f"CHECK {substitute(found.expression or 'true', replacements)}{rest}"


def foreign_rest(definition: str, names: str) -> str:
    """What follows the referenced columns; `names` are the key's own, as they are to be called.

    ON DELETE SET NULL and SET DEFAULT may list some of the key's columns.
    """
    rest = _around_columns(definition, 1)[1]
    if "(" not in rest:
        return rest
    renamed = dict(zip(_listed(definition), _listed(f"({names})"), strict=True))
    head, tail = _around_columns(rest, 0)
    return f"{head}({', '.join(quote_ident(renamed[n]) for n in _listed(rest))}){tail}"


def _listed(text: str) -> list[str]:
    """The names of the first list in parentheses."""
    head, tail = _around_columns(text, 0)
    inside = text[len(head) : len(text) - len(tail)]
    statement = parse_statements(f"INSERT INTO t {inside} SELECT")[0].stmt
    return [c.name for c in statement.cols]


def _around_columns(definition: str, nth: int) -> tuple[str, str]:
    """What stands before and after the nth list in parentheses."""
    tokens = Tokens(definition)
    index = -1
    for _ in range(nth + 1):
        index += 1
        while tokens.name(index) != OPEN_PAREN:
            index += 1
        start = tokens.items[index].start
        index = tokens.matching_close(index)
    return definition[:start], definition[tokens.items[index].end :]


def fit_foreign_keys(version: Version, tables: Sequence[Table] = ()) -> Version:
    """The version with foreign keys in its own names; without those it cannot show (of `tables`,
    all when there are none).
    """
    only = {t.id for t in tables}
    for table in version.tables:
        if any(c.references for c in table.constraints) and (not only or table.id in only):
            fitted = [_fit(version, table, c) for c in table.constraints]
            kept = tuple(c for c in fitted if c is not None)
            if kept != table.constraints:
                version = version.with_table(replace(table, constraints=kept))
    return version


def _fit(version: Version, table: Table, constraint: Constraint) -> Constraint | None:
    if not constraint.references:
        return constraint
    other = version.table_by_id(constraint.references)
    ours = _names(table, constraint.columns)
    theirs = _names(other, constraint.foreign_columns) if other else None
    if other is None or ours is None or theirs is None:
        return None
    definition = (
        f"FOREIGN KEY ({ours}) REFERENCES {quote_ident(other.name)}({theirs})"
        f"{foreign_rest(constraint.definition, ours)}"
    )
    return replace(constraint, definition=definition)


def _names(table: Table, ids: Sequence[int]) -> str | None:
    columns = [table.column_by_id(i) for i in ids]
    if None in columns:
        return None
    return ", ".join(quote_ident(c.name) for c in columns if c is not None)
