"""What stands against a constraint, NOT NULL or a narrower type that is to be put back: how many
rows, which ones, and the error with which PostgreSQL would refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from catalog.model import Constraint, Table, Version
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import (
    CheckViolation,
    ForeignKeyViolation,
    MorphError,
    NotNullViolation,
    NumericValueOutOfRange,
    StringDataRightTruncation,
    UniqueViolation,
)
from evolution.constraints import stored_name
from evolution.seeds.expressions import substitute
from evolution.shared.record import read_json
from evolution.transaction import Transaction
from rewrite.tree import OPEN_PAREN, Tokens

KEYS_TOLD: Final = 10
_ROW: Final = "t"


@dataclass(frozen=True, slots=True)
class Against:
    """`count` rows stand against something; `keys` are the first of them, none when the table has
    no key. `kind` and `primary` are PostgreSQL's error, `sentence` its detail or "".
    """

    kind: type[MorphError]
    primary: str
    sentence: str
    count: int
    keys: tuple[str, ...]

    @property
    def detail(self) -> str:
        """How many rows and which."""
        rows = "1 row stands" if self.count == 1 else f"{self.count} rows stand"
        told = ""
        if self.keys:
            more = ", …" if self.count > len(self.keys) else ""
            told = f" (keys {', '.join(self.keys)}{more})"
        return f"{self.sentence}{' ' if self.sentence else ''}{rows} against it{told}."

    def error(self, hint: str) -> MorphError:
        """The error."""
        return self.kind(self.primary, detail=self.detail, hint=hint)


@dataclass(frozen=True, slots=True)
class Look:
    """The rows of `source` (an SQL relation over the store's table) for which `condition` holds
    stand against it; `values` are SQL texts for `sentence`, where {0} stands for them.
    """

    table: Table
    source: str
    condition: str
    kind: type[MorphError]
    primary: str
    sentence: str = ""
    values: tuple[str, ...] = ()

    def query(self) -> str:
        """One JSON object: count, first keys, first values."""
        key = _key(self.table)
        text = "NULL"
        if key:
            listed = ", ".join(f"{_ROW}.{k}::text" for k in key)
            text = f"concat('(', concat_ws(', ', {listed}), ')')" if len(key) > 1 else listed
        order = "".join(f", {_ROW}.{k} AS o{n}" for n, k in enumerate(key))
        by = ", ".join(f"o{n}" for n in range(len(key))) or "1"
        values = f"concat_ws(', ', {', '.join(self.values)})" if self.values else "''"
        return (
            f"WITH bad AS (SELECT {text} AS k, {values} AS v{order} FROM {self.source} {_ROW} "
            f"WHERE {self.condition}) "
            "SELECT json_build_object('count', (SELECT count(*) FROM bad), 'keys', "
            f"(SELECT json_agg(k) FROM (SELECT k FROM bad ORDER BY {by} LIMIT {KEYS_TOLD}) q), "
            f"'values', (SELECT v FROM bad ORDER BY {by} LIMIT 1))"
        )


async def against(tx: Transaction, look: Look) -> Against | None:
    """What stands against it now, or None."""
    found = await read_json(tx, look.query())
    if not found["count"]:
        return None
    keys = tuple(k for k in found["keys"] if k is not None)
    sentence = look.sentence.replace("{0}", found["values"])
    return Against(look.kind, look.primary, sentence, found["count"], keys)


def look_for_nulls(table: Table, name: str, column: str) -> Look:
    """For NOT NULL of the store's column `column`, called `name` by clients."""
    return Look(
        table, store(table), f"{_ROW}.{quote_ident(column)} IS NULL", NotNullViolation,
        f'column "{name}" of relation "{table.name}" contains null values',
    )  # fmt: skip


def look_for_type(table: Table, column: str, old: str, new: str) -> Look:
    """For the type `old` of a column that is of type `new` now."""
    value = f"{_ROW}.{quote_ident(column)}"
    fits = f"pg_input_is_valid({value}::text, '{old}')"
    same = f"{value}::text::{old}::{new}::text IS NOT DISTINCT FROM {value}::text"
    condition = f"NOT CASE WHEN {fits} THEN {same} ELSE {value} IS NULL END"
    kind, primary = StringDataRightTruncation, f"value too long for type {old}"
    if old.startswith("numeric"):
        return Look(table, store(table), condition, NumericValueOutOfRange,
                    "numeric field overflow")  # fmt: skip
    return Look(table, store(table), condition, kind, primary)


def look_for(version: Version, table: Table, constraint: Constraint) -> Look | None:
    """For a constraint as a version shows it; None when nothing can stand against it."""
    if constraint.definition.endswith("NOT VALID"):
        return None
    if constraint.kind == "c":
        return _check(table, constraint)
    columns = [physical(table, i) for i in constraint.columns]
    if constraint.kind == "f":
        return _foreign(version, table, constraint, columns)
    return _unique(table, constraint, columns)


def _check(table: Table, constraint: Constraint) -> Look:
    names = {c.name: f"{_ROW}.{quote_ident(n)}" for c in table.columns if (n := stored_name(c))}
    return Look(
        table, store(table), f"NOT {substitute(_inside(constraint.definition), names)}",
        CheckViolation,
        f'check constraint "{constraint.name}" of relation "{table.name}" is violated by some row',
    )  # fmt: skip


def _inside(definition: str) -> str:
    """What stands in the first parentheses, with them."""
    tokens = Tokens(definition)
    index = next(n for n in range(len(tokens.items)) if tokens.name(n) == OPEN_PAREN)
    close = tokens.matching_close(index)
    return definition[tokens.items[index].start : tokens.items[close].end]


def _unique(table: Table, constraint: Constraint, columns: Sequence[str]) -> Look:
    listed = ", ".join(quote_ident(c) for c in columns)
    source = f"(SELECT *, count(*) OVER (PARTITION BY {listed}) AS morph_same FROM {store(table)})"
    condition = f"{_ROW}.morph_same > 1"
    nulls = " OR ".join(f"{_ROW}.{quote_ident(c)} IS NULL" for c in columns)
    if constraint.kind == "p":
        condition = f"({condition} OR {nulls})"
    elif "NULLS NOT DISTINCT" not in constraint.definition:
        condition = f"{condition} AND NOT ({nulls})"
    names = ", ".join(_shown(table, constraint.columns))
    return Look(
        table, source, condition, UniqueViolation,
        f'could not create unique index "{constraint.name}"',
        f"Key ({names})=({{0}}) is duplicated.", _texts(columns),
    )  # fmt: skip


def _foreign(
    version: Version, table: Table, constraint: Constraint, columns: Sequence[str]
) -> Look | None:
    other = version.table_by_id(constraint.references)
    if other is None:
        return None
    theirs = [physical(other, i) for i in constraint.foreign_columns]
    joined = " AND ".join(
        f"o.{quote_ident(b)} = {_ROW}.{quote_ident(a)}"
        for a, b in zip(columns, theirs, strict=True)
    )
    present = [f"{_ROW}.{quote_ident(c)} IS NOT NULL" for c in columns]
    condition = f"NOT EXISTS (SELECT FROM {store(other)} o WHERE {joined})"
    if "MATCH FULL" in constraint.definition:
        condition = f"({' OR '.join(present)}) AND {condition}"
    else:
        condition = f"{' AND '.join(present)} AND {condition}"
    names = ", ".join(_shown(table, constraint.columns))
    return Look(
        table, store(table), condition, ForeignKeyViolation,
        f'insert or update on table "{table.name}" violates foreign key constraint '
        f'"{constraint.name}"',
        f'Key ({names})=({{0}}) is not present in table "{other.name}".', _texts(columns),
    )  # fmt: skip


def _texts(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{_ROW}.{quote_ident(c)}::text" for c in columns)


def _shown(table: Table, ids: Sequence[int]) -> list[str]:
    return [c.name for i in ids if (c := table.column_by_id(i)) is not None]


def store(table: Table) -> str:
    """The table of the store."""
    return f"{STORE_SCHEMA}.{quote_ident(table.store)}"


def physical(table: Table, column_id: int) -> str:
    """The same for a column of a table by its id; KeyError when the store has it otherwise."""
    column = table.column_by_id(column_id)
    name = stored_name(column) if column is not None else ""
    if not name:
        raise KeyError(column_id)
    return name


def _key(table: Table) -> list[str]:
    """The columns of the store that name a row, [] for none."""
    constraint = table.primary_key
    if constraint is None:
        return []
    names = [stored_name(c) for i in constraint.columns if (c := table.column_by_id(i))]
    return [quote_ident(n) for n in names] if all(names) else []
