"""CALL morph.merge_tables: the parts of a split table are one table again (EVOLUTION 2).

No row moves: the result shows all rows of the store table, also those that were in no part.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import Table
from core.errors import DuplicateColumn, FeatureNotSupported, InvalidParameterValue, MorphError
from evolution.constraints import fit_foreign_keys
from evolution.operators.calls import call_arguments
from evolution.parts import (
    check_dependents,
    check_names,
    check_seeds,
    count_outside,
    instead_of,
    made_part,
    named_as_before,
)
from evolution.publish import Operation, add_version
from evolution.request import DdlRequest, Note, Outcome


async def merge_tables(request: DdlRequest) -> Outcome:
    """CALL morph.merge_tables(relation, other, result)."""
    _, values = call_arguments(request.node)
    one, other = (
        request.on_head(request.resolve(None, values[key])) for key in ("relation", "other")
    )
    if one.id == other.id:
        raise InvalidParameterValue("morph.merge_tables takes two tables")
    if one.part is None or other.part is None or one.part.of != other.part.of or one.part.keyed:
        raise FeatureNotSupported(
            f'cannot merge "{one.name}" and "{other.name}": they are not parts of one table',
            hint="INSERT INTO … SELECT puts the rows of one into the other; a view with UNION ALL "
            "shows both.",
        )
    for table in (one, other):
        check_dependents(request, table, "merge table")
    check_names(request, [one, other], [values["result"]])
    result = _merged(request, one, other, values["result"])
    version = instead_of(request.head, [one, other], [result])
    version = replace(version, number=request.number, parent=request.parent)
    version = fit_foreign_keys(version)
    check_seeds(version, [result])
    notes = await _told_rows(request, one, other)
    operation = Operation("merge tables", values["result"], request.statement, actor=request.actor)
    fresh = await add_version(
        request.tx, request.snapshot, version, [operation], next_id=request.snapshot.next_id
    )
    return Outcome(fresh, "CALL", tuple(notes))


def _merged(request: DdlRequest, one: Table, other: Table, name: str) -> Table:
    """The table that was split, with the columns of both parts. DuplicateColumn (42701)."""
    shown = {c.id for c in one.columns}
    columns = [*one.columns, *(c for c in other.columns if c.id not in shown)]
    names = [c.name for c in columns]
    for number, column in enumerate(names):
        if column in names[:number]:
            raise DuplicateColumn(
                f'column "{column}" exists in both tables and is not the same column',
                hint="Rename one of them.",
            )
    assert one.part is not None
    result = made_part(one, one.part.of, name, None, columns)
    return named_as_before(request, result)


async def _told_rows(request: DdlRequest, one: Table, other: Table) -> list[MorphError]:
    """What to say of rows that were in neither; none are where one had the rest of the other."""
    told_of = [t.part.told for t in (one, other) if t.part is not None]
    if any(left == f"({right}) IS NOT TRUE" for left in told_of for right in told_of):
        return []
    count = await count_outside(request, (one, other))
    told = f"{count} rows that neither table shows are rows of the result"
    return [Note(told)] if count else []
