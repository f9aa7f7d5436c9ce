"""CALL morph.split_column and morph.merge_columns: several columns instead of one, or one instead
of several, by a lens (EVOLUTION 2).

PostgreSQL adds and drops the columns on the scratch copy, so names, dependents and their errors are
its own; what is added there is read through the lens instead of being stored empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from catalog.lenses import lens_call, lens_function
from catalog.model import Column, Lens, Lensed, Native, Stored, Table
from catalog.readers import fill
from catalog.sqltext import quote_ident, quote_literal, shape_schema
from core.errors import (
    FeatureNotSupported,
    InvalidObjectDefinition,
    InvalidParameterValue,
    UndefinedColumn,
)
from evolution.introspect import SCRATCH, scratch_path
from evolution.operators.calls import call_arguments
from evolution.operators.casts import assigned, back
from evolution.operators.change_type import PURE_HINT, field_under, require_convertible
from evolution.operators.printing import HELPER, RESULT, print_expression
from evolution.request import DdlRequest
from evolution.seeds.expressions import parse_expression, substitute


@dataclass(frozen=True, slots=True)
class Reshaping:
    """What a call asks for: `unders` are columns of the table, `overs` the new ones by name and
    type; `ups` one expression an over over "$1" … , `downs` one an under.
    """

    kind: str
    unders: tuple[Column, ...]
    overs: tuple[tuple[str, str], ...]
    ups: tuple[str, ...]
    downs: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The names of the new columns."""
        return [name for name, _ in self.overs]

    def alter_text(self, table: Table) -> str:
        """The ALTER TABLE that PostgreSQL judges on the scratch copy."""
        actions = [f"DROP COLUMN {quote_ident(c.name)}" for c in self.unders]
        actions += [f"ADD COLUMN {quote_ident(name)} {kind}" for name, kind in self.overs]
        return f"ALTER TABLE {SCRATCH}.{quote_ident(table.name)} {', '.join(actions)}"

    def carry_out(
        self, table: Table, shown: Sequence[Column], new_id: Callable[[], int]
    ) -> tuple[list[Column], Lens, list[str]]:
        """See Reshape."""
        return reshape(table, self, shown, new_id())


def _object(values: Mapping[str, str], key: str) -> dict[str, str]:
    try:
        found = json.loads(values[key])
    except ValueError:
        found = None
    if (
        not isinstance(found, dict)
        or len(found) < 2
        or not all(isinstance(v, str) for v in found.values())
    ):
        raise InvalidParameterValue(
            f"{key} must be a JSON object of two columns or more and their expressions",
            hint="For example '{\"first\": \"split_part(name, '' '', 1)\"}'.",
        )
    return found


async def read_reshaping(request: DdlRequest, table: Table) -> Reshaping:
    """The call, its expressions judged and printed by PostgreSQL. Raises what PostgreSQL raises of
    an expression, 42P17 for what is not immutable, 0A000 for columns that keep their form.
    """
    name, values = call_arguments(request.node)
    if name == "split_column":
        ups, downs = _object(values, "parts"), {values["column_name"]: values["back"]}
    else:
        ups, downs = {values["column_name"]: values["expression"]}, _object(values, "back")
    unders = tuple(convertible(request, table, column) for column in downs)
    schema = shape_schema(request.head.number)
    old = [(c.name, c.type) for c in unders]
    types = await result_types(request, schema, old, list(ups.values()))
    new = list(zip(ups, types, strict=True))
    up_texts = [
        await _expression(request, schema, old, kind, ups[column], column) for column, kind in new
    ]
    down_texts = [
        await _expression(request, schema, new, c.type, downs[c.name], c.name) for c in unders
    ]
    return Reshaping(name.replace("_", " "), unders, tuple(new), tuple(up_texts), tuple(down_texts))


def convertible(request: DdlRequest, table: Table, name: str) -> Column:
    """The column, which may be read in another form. UndefinedColumn (42703), or
    FeatureNotSupported (0A000) where it keeps its form.
    """
    column = table.column(name)
    if column is None:
        raise UndefinedColumn(f'column "{name}" of relation "{table.name}" does not exist')
    versions = list(request.snapshot.versions.values())
    require_convertible(versions, request.head, table, column, direct=False)
    what = f'cannot convert the values of column "{name}" of table "{table.name}"'
    for constraint in table.constraints:
        if column.id in constraint.columns:
            raise FeatureNotSupported(
                f'{what}: constraint "{constraint.name}" uses it', hint="Drop it first."
            )
    return column


async def result_types(
    request: DdlRequest, schema: str, columns: Sequence[tuple[str, str]], texts: Sequence[str]
) -> list[str]:
    """The types of expressions over columns; text for what has none of its own."""
    listed = ", ".join(f"{quote_ident(name)} {kind}" for name, kind in columns)
    bare = {name: quote_ident(name) for name, _ in columns}
    shown = ", ".join(f'{substitute(text, bare)} AS "{n}"' for n, text in enumerate(texts))
    view = f"CREATE VIEW {SCRATCH}.types AS SELECT {shown} FROM {HELPER}"
    asked = (
        "SELECT string_agg(format_type(atttypid, atttypmod), E'\\x01' ORDER BY attnum) "
        f"FROM pg_attribute WHERE attrelid = '{SCRATCH}.types'::regclass"
    )
    body = f"BEGIN PERFORM set_config('{RESULT}', ({asked}), true); END"
    await request.tx.apply(
        [
            f"CREATE SCHEMA {SCRATCH}",
            scratch_path(schema),
            f"CREATE TABLE {HELPER} ({listed})",
            view,
            "SET LOCAL search_path = pg_catalog, pg_temp",
            f"DO {quote_literal(body)}",
            f"DROP SCHEMA {SCRATCH} CASCADE",
        ]
    )
    ((found,),) = await request.tx.fetch(f"SELECT current_setting('{RESULT}', true)")
    return (found or "").split("\x01")


async def _expression(
    request: DdlRequest,
    schema: str,
    columns: Sequence[tuple[str, str]],
    result: str,
    text: str,
    target: str,
) -> str:
    parse_expression(text)
    bare = {name: quote_ident(name) for name, _ in columns}
    found, problem = await print_expression(
        request, schema, columns, result, substitute(text, bare)
    )
    if problem is None:
        return assigned(found, result)
    code, message = problem
    if code == "42P17":
        raise InvalidObjectDefinition(
            f'the expression of column "{target}" is not immutable', hint=PURE_HINT
        )
    raise InvalidParameterValue(f'the expression of column "{target}": {message}')


def reshape(
    table: Table, asked: Reshaping, shown: Sequence[Column], lens_id: int
) -> tuple[list[Column], Lens, list[str]]:
    """The new columns as the version shows them (`shown` have their ids, of a foreign table their
    places in another layout), the lens, and statements for the store: every way back is a function
    that gives NULL where it fails.
    """
    statements: list[str] = []
    downs: list[str] = []
    unders: list[Column] = []
    casts: list[str] = []
    kinds = [kind for _, kind in asked.overs]
    for n, (column, down) in enumerate(zip(asked.unders, asked.downs, strict=True)):
        name = f"lens_{lens_id}_down_{n + 1}"
        statements += lens_function(name, kinds, column.type, down, total=True)
        under, cast = field_under(table, column)
        unders.append(under)
        casts.append(f'("${n + 1}")::{column.type}' if cast else f'"${n + 1}"')
        call = lens_call(name, len(kinds))
        downs.append(fill(back(column.type, under.type), [call]) if cast else call)
    ups = [fill(up, casts) for up in asked.ups]
    columns, overs = [], []
    for column in shown:
        field = column.name if table.has_doc else ""
        stored: Stored | Native = Stored(f"c{column.id}", column.type, field=field)
        source = Lensed(lens_id, field=field)
        if isinstance(column.source, Native):
            stored = replace(column.source, clean=False)
            source = Lensed(lens_id, path=stored.path)
        overs.append(replace(column, source=stored, default=None, comment=None))
        columns.append(replace(column, source=source))
    lens = Lens(lens_id, tuple(unders), tuple(overs), tuple(ups), tuple(downs))
    return columns, lens, statements
