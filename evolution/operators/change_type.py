"""ALTER COLUMN TYPE that converts values: a lens from the stored column to the new one.

PostgreSQL judges it: the client's statement ran on the empty scratch copy, and each direction is
made here as a generated column of a scratch table, which PostgreSQL only does for an expression
that is immutable through and through. What comes back is PostgreSQL's own print of it.

`up` is the client's USING or the assignment cast; `down` is `morph.back` or the way back that
follows from `up`: of a cast the cast back, of coalesce(x, constant) the value itself, of AT TIME
ZONE the same zone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from catalog.lenses import lens_call, lens_function
from catalog.model import Column, DocPath, Lens, Lensed, Native, ParentKey, Stored, Table, Version
from catalog.readers import field_of, fill
from catalog.sqltext import quote_ident, quote_literal
from core.errors import (
    FeatureNotSupported,
    InvalidObjectDefinition,
    InvalidParameterValue,
    MorphError,
)
from evolution.dependents import has_parts, seeds
from evolution.foreign_columns import require_foreign_convertible, stored_path
from evolution.operators.casts import assigned, back
from evolution.operators.printing import print_expression
from evolution.request import DdlRequest
from evolution.seeds.expressions import (
    Expression,
    column_uses,
    parse_expression,
    splice,
)
from rewrite.edits import replace_text
from rewrite.tree import Node, ast

BACK_SETTING = "morph.back"
_SETTINGS = ("TimeZone", "DateStyle", "IntervalStyle")
_BACK_HINT = (
    "Say how older versions get their value: SET morph.back = '<expression over the column>', or "
    'a JSON object of column and expression, \'{"column": "expression"}\'.'
)
PURE_HINT = (
    "It must give the same result in every session: with AT TIME ZONE 'UTC' between timestamps "
    "with and without time zone; no texts of dates, whose reading depends on DateStyle."
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A column to be converted: what the client's ALTER COLUMN TYPE says. `using` is "" without."""

    column: Column
    new_type: str
    using: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The expressions of a lens over one column: `up` over `"$1"` in the form that is stored, typed
    as the new column, `down` typed as the stored one. Settings (see lens_function) make a direction
    a function, for `down` so does `total`. `forgets`: there is no way back, older versions keep
    what they have and show NULL for what comes. `fills`: `up` gives a value for NULL.
    """

    up: str
    down: str
    total: bool = False
    up_settings: str = ""
    down_settings: str = ""
    forgets: bool = False
    fills: bool = False


def usings(commands: Sequence[Node], request: DdlRequest) -> dict[str, str]:
    """The client's USING expressions by column; "" for ALTER COLUMN TYPE without."""
    found: dict[str, str] = {}
    for command in commands:
        if command.subtype.name == "AT_AlterColumnType":
            using = command.def_.raw_default
            found[command.name] = "" if using is None else _using_text(command, request)
    return found


def _using_text(command: Node, request: DdlRequest) -> str:
    tokens = request.tokens
    index = tokens.index_at(command.def_.location)
    while tokens.name(index) != "USING":
        index = tokens.after_brackets(index)
    items, _ = tokens.list_items(index + 1, frozenset())
    start, end = items[0]
    return request.text[start : min(end, request.end)]


def plain_cast(using: str, name: str) -> bool:
    """True for no USING, and for the plain cast that some tools always write."""
    return not using or _is_cast(parse_expression(using).node, name)


def _is_cast(node: Node, name: str) -> bool:
    while isinstance(node, ast.TypeCast):
        node = node.arg
    if not isinstance(node, ast.ColumnRef) or not isinstance(node.fields[-1], ast.String):
        return False
    return bool(node.fields[-1].sval == name)


def _is_constant(node: Node) -> bool:
    while isinstance(node, ast.TypeCast):
        node = node.arg
    return isinstance(node, ast.A_Const) and not node.isnull


# ---------------------------------------------------------------------------------- may it be


def require_convertible(
    versions: Sequence[Version], head: Version, table: Table, column: Column, *, direct: bool
) -> None:
    """Raise FeatureNotSupported (0A000) for columns that keep their form: identities, what virtual
    columns and child tables read, fields inside of fields; and but for direct changes keys, whose
    rows are told apart by them while both forms are there. Nothing of a foreign table is converted
    directly.
    """
    what = f'cannot convert the values of column "{column.name}" of table "{table.name}"'
    if table.kind == "foreign":
        require_foreign_convertible(versions, table, column, what, direct=direct)
    if has_parts(versions, table):
        raise FeatureNotSupported(
            f"{what}: tables that were split off share its rows",
            hint="Convert it before the split, or merge the tables first.",
        )
    if column.identity:
        raise FeatureNotSupported(f"{what}: it is an identity column")
    for version in versions:
        _require_no_children(version, column, what)
        if not direct:
            _require_no_key(version, table, column, what)
    for other, seed in seeds(head):
        if column.id in getattr(seed.source, "depends", ()):
            raise FeatureNotSupported(
                "cannot alter type of a column used by a generated column",
                detail=f'Column "{column.name}" is used by generated column "{seed.name}"'
                f' of table "{other.name}".',
                hint="Drop the virtual column and add it again, in the same transaction.",
            )
    source = column.source
    if isinstance(source, DocPath):
        _require_own_field(versions, table, column, source, what)


def _require_no_children(version: Version, column: Column, what: str) -> None:
    for table in version.tables:
        for each in table.columns:
            if isinstance(each.source, ParentKey) and each.source.column_id == column.id:
                raise FeatureNotSupported(f'{what}: child table "{table.name}" shows it')


def _require_no_key(version: Version, table: Table, column: Column, what: str) -> None:
    hint = "SET morph.ddl_mode = direct converts it at once."
    shown = version.table_by_id(table.id)
    for constraint in shown.constraints if shown else ():
        if constraint.kind in "pf" and column.id in constraint.columns:
            raise FeatureNotSupported(f'{what}: constraint "{constraint.name}" uses it', hint=hint)
    for other in version.tables:
        for constraint in other.constraints:
            if constraint.references == table.id and column.id in constraint.foreign_columns:
                raise FeatureNotSupported(
                    f'{what}: foreign key "{constraint.name}" of table "{other.name}" '
                    "references it", hint=hint,
                )  # fmt: skip


def _require_own_field(
    versions: Sequence[Version], table: Table, column: Column, source: DocPath, what: str
) -> None:
    path = source.path
    if len(path) > 1:
        raise FeatureNotSupported(
            f"{what}: it lies inside of another field of the document",
            hint="Add a virtual column that converts it, or convert the outer field.",
        )
    for version in versions:
        shown = version.table_by_id(table.id)
        sources = [c.source for c in (shown.columns if shown else ())]
        below = [source.path for source in sources if isinstance(source, DocPath)]
        arrays = [t.parent_path for t in version.tables if t.parent_id == table.id]
        if any(p[:1] == path and (len(p) > 1 or p in arrays) for p in (*below, *arrays)):
            raise FeatureNotSupported(
                f"{what}: parts of it are columns or a child table of their own",
                hint="Add a virtual column that converts it.",
            )


# ---------------------------------------------------------------------------------- both ways


async def compile_recipe(request: DdlRequest, schema: str, conversion: Conversion) -> Recipe:
    """The expressions of a conversion, as PostgreSQL prints them; `schema` is where the client's
    names are from. Raises 22023 for a morph.back that does not fit; 42P17 for what is not immutable
    and 0A000 when no way back follows from the way there, but for direct changes: they take what
    PostgreSQL takes, under the session's settings of now, and do without a way back.
    """
    column, new_type, using = conversion.column, conversion.new_type, conversion.using
    expression = parse_expression(using or quote_ident(column.name))
    other = _other_column(expression, column)
    if other is not None:
        raise FeatureNotSupported(
            f'USING of column "{column.name}" reads column "{other}"',
            hint="A conversion reads the column itself; a virtual column may read others.",
        )
    text = _over(expression, column.name)
    value = (column.name, column.type)
    up, settings, problem = await _printed(request, schema, value, new_type, text)
    if problem:
        raise _impure(column, problem)
    fills = _fills_null(expression.node, column.name)
    nothing = f"NULL::{column.type}"
    recipe = Recipe(assigned(up, new_type), nothing, up_settings=settings, fills=fills)
    wanted = await _wanted_back(request, column, len(usings_of(request)))
    if wanted:
        return await _given_back(request, schema, conversion, wanted, recipe)
    return await _own_back(request, schema, conversion, expression, recipe)


def usings_of(request: DdlRequest) -> dict[str, str]:
    """`usings` of the statement itself."""
    return usings(getattr(request.node, "cmds", ()), request)


def _other_column(expression: Expression, column: Column) -> str | None:
    """The name of a column that an expression reads besides its own."""
    names = (use.names[-1] for use in column_uses(expression))
    return next((name for name in names if name != column.name), None)


def _over(expression: Expression, name: str) -> str:
    """The expression with the column by its bare name."""
    edits = [replace_text(use.start, use.end, quote_ident(name)) for use in column_uses(expression)]
    return splice(expression, edits)


def _impure(column: Column, problem: tuple[str, str]) -> MorphError:
    code, message = problem
    if code == "42P17":
        return InvalidObjectDefinition(
            f'the conversion of column "{column.name}" is not immutable', hint=PURE_HINT
        )
    return FeatureNotSupported(f'cannot convert column "{column.name}": {message}')


async def _wanted_back(request: DdlRequest, column: Column, changes: int) -> str:
    """The expression of morph.back for the column, "" for none."""
    ((text,),) = await request.tx.fetch(f"SELECT current_setting('{BACK_SETTING}', true)")
    text = (text or "").strip()
    if not text.startswith("{"):
        if text and changes > 1:
            raise InvalidParameterValue(
                f"{BACK_SETTING} does not say which column it is for", hint=_BACK_HINT
            )
        return text
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidParameterValue(
            f"{BACK_SETTING} is not a JSON object", hint=_BACK_HINT
        ) from error
    return str(found.get(column.name, "")) if isinstance(found, dict) else ""


async def _given_back(
    request: DdlRequest, schema: str, conversion: Conversion, wanted: str, recipe: Recipe
) -> Recipe:
    column = conversion.column
    try:
        expression = parse_expression(wanted)
    except MorphError as error:
        raise InvalidParameterValue(f"{BACK_SETTING}: {error}", hint=_BACK_HINT) from error
    other = _other_column(expression, column)
    if other is not None:
        raise InvalidParameterValue(
            f'{BACK_SETTING} for column "{column.name}" reads column "{other}"', hint=_BACK_HINT
        )
    shown = (column.name, conversion.new_type)
    text = _over(expression, column.name)
    down, settings, problem = await _printed(request, schema, shown, column.type, text)
    if problem:
        raise InvalidParameterValue(
            f'{BACK_SETTING} for column "{column.name}": {problem[1]}',
            hint=PURE_HINT if problem[0] == "42P17" else _BACK_HINT,
        )
    down = assigned(down, column.type)
    return replace(recipe, down=down, total=True, down_settings=settings)


async def _own_back(
    request: DdlRequest,
    schema: str,
    conversion: Conversion,
    expression: Expression,
    recipe: Recipe,
) -> Recipe:
    """The way back that follows from the way there."""
    column, node = conversion.column, expression.node
    zone = _zone(node, column.name)
    name = quote_ident(column.name)
    if zone is not None:
        text = f"pg_catalog.timezone({quote_literal(zone)}, {name})"
    elif _is_cast(node, column.name) or _fills_null(node, column.name):
        text = f"({name})::{column.type}"
    elif request.direct:
        return replace(recipe, forgets=True)
    else:
        raise FeatureNotSupported(
            f'older versions could not get the values of column "{column.name}" back',
            detail="No way back follows from USING.",
            hint=_BACK_HINT,
        )
    shown = (column.name, conversion.new_type)
    down, settings, problem = await _printed(request, schema, shown, column.type, text)
    if problem and request.direct:
        return replace(recipe, forgets=True)
    if problem:
        raise FeatureNotSupported(
            f"there is no way back from {conversion.new_type} to {column.type} for column "
            f'"{column.name}": {problem[1]}',
            hint=_BACK_HINT,
        )
    if settings:
        return replace(recipe, down=down, total=True, down_settings=settings)
    down = down if zone is not None else back(conversion.new_type, column.type)
    return replace(recipe, down=down)


def _fills_null(node: Node, name: str) -> bool:
    """coalesce(x, constant), and casts around it."""
    while isinstance(node, ast.TypeCast):
        node = node.arg
    if not isinstance(node, ast.CoalesceExpr):
        return False
    return _is_cast(node.args[0], name) and all(_is_constant(a) for a in node.args[1:])


def _zone(node: Node, name: str) -> str | None:
    """The zone of `x AT TIME ZONE 'zone'`."""
    if not isinstance(node, ast.FuncCall) or node.funcname[-1].sval != "timezone":
        return None
    zone, value = node.args if len(node.args) == 2 else (None, None)
    if not isinstance(zone, ast.A_Const) or not _is_cast(value, name):
        return None
    return str(zone.val.sval) if isinstance(zone.val, ast.String) else None


async def _printed(
    request: DdlRequest, schema: str, value: tuple[str, str], result: str, text: str
) -> tuple[str, str, tuple[str, str] | None]:
    """`_print`, and the session's settings for what depends on them and is converted directly."""
    found, problem = await print_expression(request, schema, [value], result, text)
    if problem is None or problem[0] != "42P17" or not request.direct:
        return found, "", problem
    found, problem = await print_expression(request, schema, [value], result, text, pure=False)
    names = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
    (values,) = await request.tx.fetch(f"SELECT {names}")
    settings = (
        f" SET {name} = {quote_literal(text or '')}"
        for name, text in zip(_SETTINGS, values, strict=True)
    )
    return found, "".join(settings), problem


# ---------------------------------------------------------------------------------- the lens


def make_lens(
    table: Table, old: Column, new: Column, recipe: Recipe, lens_id: int
) -> tuple[Column, Lens, list[str]]:
    """The column as the new version shows it, its lens, and statements for the store. `new` has the
    new id: the old one stays what it is for the versions that show the values in the old form.
    """
    statements: list[str] = []
    if recipe.up_settings:
        name = f"lens_{lens_id}_up"
        statements += lens_function(
            name, [old.type], new.type, recipe.up, total=False, settings=recipe.up_settings
        )
        recipe = replace(recipe, up=lens_call(name))
    if recipe.total:
        name = f"lens_{lens_id}_down"
        statements += lens_function(
            name, [new.type], old.type, recipe.down, total=True, settings=recipe.down_settings
        )
        recipe = replace(recipe, down=lens_call(name))
    under, up, down = _under(table, old, recipe)
    field = _field(table, old)
    stored: Stored | Native = Stored(f"c{new.id}", new.type, field=field)
    shown = Lensed(lens_id, field=field)
    if table.kind == "foreign":
        path = stored_path(old)
        stored, shown = Native(path, clean=False), Lensed(lens_id, path=path)
    over = replace(new, source=stored, default=None, comment=None, identity="")
    lens = Lens(lens_id, (under,), (over,), (up,), (down,))
    return replace(new, source=shown), lens, statements


def _under(table: Table, old: Column, recipe: Recipe) -> tuple[Column, str, str]:
    """The column under the lens, casts of the version folded into the expressions."""
    under, cast = field_under(table, old)
    if not cast:
        return under, recipe.up, recipe.down
    return (
        under,
        fill(recipe.up, (f'("$1")::{old.type}',)),
        fill(back(old.type, under.type), (recipe.down,)),
    )


def field_under(table: Table, old: Column) -> tuple[Column, bool]:
    """The column under a lens in the very type that the store has, and whether the version casts
    to read it.
    """
    source = old.source
    stored, plain = old.type, True
    if isinstance(source, Stored):
        stored, plain = source.type, source.plain
    elif isinstance(source, Lensed):
        below = table.lens(source.lens)
        stored, plain = below.over[below.over_column(old.id)].type, source.plain
    under = replace(old, type=stored, default=None, comment=None, identity="")
    return under, not (stored == old.type or plain)


def _field(table: Table, column: Column) -> str:
    if not table.has_doc:
        return ""
    source = column.source
    return source.path[0] if isinstance(source, DocPath) else field_of(column)
