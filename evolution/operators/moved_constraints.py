"""Constraints over converted columns: in the store they go over to what is stored now, under the
name they have, so every version's errors name its own (decision 0008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.model import Constraint, Table, Version
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import FeatureNotSupported
from evolution.constraints import foreign_rest, stored_name
from evolution.seeds.expressions import substitute
from rewrite.tree import OPEN_PAREN, Tokens

_ORDER = {"p": 0, "u": 1, "c": 2, "f": 3}


def renumbered(version: Version, table_id: int, ids: dict[int, int]) -> Version:
    """The new version with constraints over the new ids of converted columns, foreign keys of other
    tables too.
    """
    for table in version.tables:
        constraints = tuple(_renumbered(c, table.id, table_id, ids) for c in table.constraints)
        if constraints != table.constraints:
            version = version.with_table(replace(table, constraints=constraints))
    return version


def _renumbered(
    constraint: Constraint, owner: int, table_id: int, ids: dict[int, int]
) -> Constraint:
    columns, foreign = constraint.columns, constraint.foreign_columns
    if owner == table_id:
        columns = tuple(ids.get(c, c) for c in columns)
    if constraint.references == table_id:
        foreign = tuple(ids.get(c, c) for c in foreign)
    return replace(constraint, columns=columns, foreign_columns=foreign)


def moved(version: Version, table: Table, ids: set[int]) -> tuple[list[str], list[str]]:
    """Statements that drop what the store has of constraints over the columns `ids` of a table, and
    those that make it anew over the columns of now; foreign keys of other tables too.
    """
    found = [(table, c) for c in table.constraints if ids & set(c.columns)]
    found += [
        (other, c)
        for other in version.tables
        for c in other.constraints
        if c.references == table.id and ids & set(c.foreign_columns) and other.store
        if other.id != table.id or not ids & set(c.columns)
    ]
    found.sort(key=lambda pair: _ORDER[pair[1].kind])
    drops = [f"{_alter(owner)} DROP CONSTRAINT {quote_ident(c.store_name)}" for owner, c in found]
    adds = [
        f"{_alter(owner)} ADD CONSTRAINT {quote_ident(c.store_name)} "
        f"{store_clause(version, owner, c)}"
        for owner, c in found
    ]
    return drops[::-1], adds


def _alter(table: Table) -> str:
    return f"ALTER TABLE {STORE_SCHEMA}.{quote_ident(table.store)}"


def store_clause(version: Version, table: Table, constraint: Constraint) -> str:
    """What stands after ADD CONSTRAINT name in the store, for a constraint as a version shows it.

    Raises FeatureNotSupported (0A000) when the store has its columns in another form.
    """
    head, rest = _around(constraint.definition)
    if constraint.kind == "c":
        names = {c.name: quote_ident(name) for c in table.columns if (name := stored_name(c))}
        inside = constraint.definition[len(head) : len(constraint.definition) - len(rest)]
        return f"CHECK {substitute(inside, names)}{rest}"
    if constraint.kind != "f":
        return f"{head}({_stored(table, constraint.columns)}){rest}"
    other = version.table_by_id(constraint.references)
    assert other is not None, constraint.name
    ours = _stored(table, constraint.columns)
    return (
        f"FOREIGN KEY ({ours}) REFERENCES {STORE_SCHEMA}.{quote_ident(other.store)} "
        f"({_stored(other, constraint.foreign_columns)}){foreign_rest(constraint.definition, ours)}"
    )


def _stored(table: Table, ids: Sequence[int]) -> str:
    names: list[str] = []
    for column_id in ids:
        column = table.column_by_id(column_id)
        assert column is not None, table.name
        name = stored_name(column)
        if not name:
            raise FeatureNotSupported(
                f'a constraint of "{table.name}" cannot use column "{column.name}": the store has '
                "its values in another form"
            )
        names.append(quote_ident(name))
    return ", ".join(names)


def _around(definition: str) -> tuple[str, str]:
    """What stands before and after the first list in parentheses."""
    tokens = Tokens(definition)
    index = next(n for n in range(len(tokens.items)) if tokens.name(n) == OPEN_PAREN)
    close = tokens.matching_close(index)
    return definition[: tokens.items[index].start], definition[tokens.items[close].end :]
