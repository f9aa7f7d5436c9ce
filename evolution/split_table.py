"""CALL morph.split_table: one table by its rows in two (EVOLUTION 2, split table).

No row moves: both new tables are the old one's store table with a condition, which writes have to
keep (44000, as WITH CHECK OPTION says). Older versions show the union, and so does whoever goes
back to them. Rows for which no condition holds stay where they are; a notice tells how many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from catalog.model import Column, Part, Stored, Table
from catalog.sqltext import quote_ident, shape_schema
from core.errors import (
    DatatypeMismatch,
    FeatureNotSupported,
    InvalidObjectDefinition,
    InvalidParameterValue,
    MorphError,
    UndefinedColumn,
)
from evolution.constraints import fit_foreign_keys
from evolution.operators.calls import call_arguments
from evolution.operators.change_type import PURE_HINT
from evolution.operators.printing import print_expression
from evolution.operators.split_columns import result_types
from evolution.parts import (
    check_divisible,
    check_names,
    check_seeds,
    count_outside,
    instead_of,
    made_part,
)
from evolution.publish import Operation, add_version
from evolution.request import DdlRequest, Note, Outcome
from evolution.seeds.expressions import column_uses, parse_expression, substitute

_NUMBERED = re.compile(r"\"\$(\d+)\"")


@dataclass(frozen=True, slots=True)
class _Condition:
    """A predicate as PostgreSQL prints it over columns of the store, and as it was asked for."""

    text: str
    columns: tuple[str, ...]
    told: str

    def part(self, of: int) -> Part:
        return Part(of, self.text, self.columns, self.told)


async def split_table(request: DdlRequest) -> Outcome:
    """CALL morph.split_table(relation, part, predicate [, rest [, rest_predicate]])."""
    _, values = call_arguments(request.node)
    table = request.on_head(request.resolve(None, values["relation"]))
    await check_divisible(request, table, "split table")
    names = [values["part"], *([values["rest"]] if "rest" in values else [])]
    check_names(request, [table], names)
    if "rest_predicate" in values and "rest" not in values:
        raise InvalidParameterValue("morph.split_table takes rest_predicate together with rest")
    first = await _read_condition(request, table, values["predicate"])
    conditions = [first]
    if "rest" in values:
        conditions.append(await _read_rest(request, table, first, values.get("rest_predicate")))
    next_id = request.snapshot.next_id
    made = [
        made_part(table, next_id + n, name, condition.part(table.id), table.columns)
        for n, (name, condition) in enumerate(zip(names, conditions, strict=True))
    ]
    version = instead_of(request.head, [table], made)
    version = replace(version, number=request.number, parent=request.parent)
    version = fit_foreign_keys(version)
    check_seeds(version, made)
    complete = "rest" in values and "rest_predicate" not in values
    notes = [] if complete else await _told_rows(request, table, made)
    operation = Operation("split table", table.name, request.statement, actor=request.actor)
    fresh = await add_version(
        request.tx, request.snapshot, version, [operation], next_id=next_id + len(made)
    )
    return Outcome(fresh, "CALL", tuple(notes))


async def _read_condition(request: DdlRequest, table: Table, text: str) -> _Condition:
    """A predicate, judged by PostgreSQL. UndefinedColumn (42703), DatatypeMismatch (42804),
    InvalidObjectDefinition (42P17) for what is not immutable, InvalidParameterValue (22023).
    """
    columns = _used(table, text)
    if not columns:
        raise InvalidParameterValue("the predicate reads no column of the table")
    schema = shape_schema(request.head.number)
    typed = [(c.name, c.type) for c in columns]
    (kind,) = await result_types(request, schema, typed, [text])
    if kind != "boolean":
        raise DatatypeMismatch(f"predicate must be of type boolean, not of type {kind}")
    bare = substitute(text, {c.name: quote_ident(c.name) for c in columns})
    found, problem = await print_expression(request, schema, typed, "boolean", bare)
    if problem is not None and problem[0] == "42P17":
        raise InvalidObjectDefinition("the predicate is not immutable", hint=PURE_HINT)
    if problem is not None:
        raise InvalidParameterValue(f"the predicate: {problem[1]}")
    stored = tuple(c.source.column for c in columns if isinstance(c.source, Stored))
    return _Condition(found, stored, text)


def _used(table: Table, text: str) -> list[Column]:
    """The columns that a predicate reads: the store's own."""
    names = dict.fromkeys(use.names[-1] for use in column_uses(parse_expression(text)))
    columns = []
    for name in names:
        column = table.column(name)
        if column is None:
            raise UndefinedColumn(f'column "{name}" does not exist')
        if not isinstance(column.source, Stored) or column.source.converts(column.type):
            raise FeatureNotSupported(
                f'cannot split table "{table.name}" by column "{name}": it is computed',
                hint="Use the columns that it is made of.",
            )
        columns.append(column)
    return columns


async def _read_rest(
    request: DdlRequest, table: Table, first: _Condition, text: str | None
) -> _Condition:
    """The condition of the other part: not that of the first, and what was said of it. So no row is
    in both.
    """
    rest = f"(({first.text}) IS NOT TRUE)"
    if text is None:
        return _Condition(rest, first.columns, f"({first.told}) IS NOT TRUE")
    second = await _read_condition(request, table, text)
    behind = len(first.columns)
    moved = _NUMBERED.sub(lambda m: f'"${int(m[1]) + behind}"', second.text)
    return _Condition(
        f"{rest} AND ({moved})",
        (*first.columns, *second.columns),
        f"({first.told}) IS NOT TRUE AND ({second.told})",
    )


async def _told_rows(request: DdlRequest, table: Table, made: list[Table]) -> list[MorphError]:
    """What to say of rows that are in no part."""
    count = await count_outside(request, made)
    if not count:
        return []
    conditions = " AND ".join(f"({t.part.told}) IS NOT TRUE" for t in made if t.part)
    older = f"{shape_schema(request.parent)}.{quote_ident(table.name)}"
    which = "in none of the new tables" if len(made) > 1 else f'not in "{made[0].name}"'
    return [
        Note(
            f'{count} rows of table "{table.name}" are {which}',
            detail="They stay, and older versions show and write them.",
            hint=f"SELECT * FROM {older} WHERE {conditions}; shows them, "
            "and CALL morph.merge_tables brings them back.",
        )
    ]
