"""CALL morph.nest_columns and morph.unnest_column: fields of a jsonb document as columns, and
columns as one document (EVOLUTION 2, nest and unnest).

Columns at paths of the store's documents only get another path: what lies beside them stays where
it is. Otherwise a lens stands between them, made of functions of its own: `get` reads one path as
the type of its column, `nest` puts the columns into a document, `rest` is the document without what
the columns give back. That rest is a column of the lens which no version shows (EXTRA), so whoever
writes one field changes no other, and nothing of a document is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from catalog.lenses import differ, lens_call
from catalog.model import Column, DocPath, Lens, Lensed, Stored, Table
from catalog.naming import Path, parse_path
from catalog.readers import extract, fill
from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal, text_array
from core.errors import (
    DatatypeMismatch,
    FeatureNotSupported,
    InvalidParameterValue,
    UndefinedColumn,
)
from evolution.introspect import SCRATCH
from evolution.operators.base import EXTRA
from evolution.operators.calls import call_arguments, read_names, read_types
from evolution.operators.casts import assigned, back, base_type
from evolution.operators.change_type import field_under
from evolution.operators.split_columns import convertible
from evolution.request import DdlRequest
from evolution.seeds.expressions import parse_expression
from rewrite.tree import ast

_DOCUMENTS: Final = ("jsonb", "json")
_NUMBERS: Final = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_PLAIN: Final = frozenset({"smallint", "integer", "bigint", "numeric", "text", "boolean", "jsonb"})
"""Types whose texts depend on no setting."""
_SETTINGS: Final = (
    " SET DateStyle = 'ISO, YMD' SET TimeZone = 'UTC' SET IntervalStyle = 'postgres'"
    " SET extra_float_digits = 1"
)


@dataclass(frozen=True, slots=True)
class Nesting:
    """What a call asks for. `document` is the jsonb column: the new one's name, or the old column;
    `fields` are the paths in it by column name, `types` SQL types of new columns by name.
    """

    kind: str
    unders: tuple[Column, ...]
    document: str
    fields: dict[str, Path]
    types: dict[str, str]

    @property
    def names(self) -> list[str]:
        """See Reshape."""
        return list(self.types)

    def alter_text(self, table: Table) -> str:
        """See Reshape."""
        actions = [f"DROP COLUMN {quote_ident(c.name)}" for c in self.unders]
        actions += [f"ADD COLUMN {quote_ident(name)} {kind}" for name, kind in self.types.items()]
        return f"ALTER TABLE {SCRATCH}.{quote_ident(table.name)} {', '.join(actions)}"

    def carry_out(
        self, table: Table, shown: Sequence[Column], new_id: Callable[[], int]
    ) -> tuple[list[Column], Lens | None, list[str]]:
        """See Reshape."""
        base = _common_path(self)
        if base is not None:
            return self._at_paths(shown, base), None, []
        extra = new_id()
        stored = Column(extra, EXTRA, "jsonb", Stored(f"c{extra}", "jsonb"))
        if self.kind == "nest columns":
            return self._nested(table, shown, stored, new_id())
        return self._unnested(table, shown, stored, new_id())

    def _at_paths(self, shown: Sequence[Column], base: Path) -> list[Column]:
        if self.kind == "nest columns":
            return [replace(c, source=DocPath(base)) for c in shown]
        return [replace(c, source=DocPath((*base, *self.fields[c.name]), clean=False))
                for c in shown]  # fmt: skip

    def _nested(
        self, table: Table, shown: Sequence[Column], extra: Column, lens_id: int
    ) -> tuple[list[Column], Lens, list[str]]:
        """Columns of the store under a document."""
        paths = [self.fields[c.name] for c in self.unders]
        functions = _Functions(lens_id, paths, [c.type for c in self.unders])
        unders, casts, downs = [], [], []
        for n, column in enumerate(self.unders):
            under, cast = field_under(table, column)
            unders.append(under)
            casts.append(f'("${n + 1}")::{column.type}' if cast else f'"${n + 1}"')
            get = functions.get(n)
            downs.append(fill(back(column.type, under.type), [get]) if cast else get)
        up = fill(functions.nest, [*casts, f'"${len(unders) + 1}"'])
        columns, overs = _over(table, shown, lens_id)
        lens = Lens(
            lens_id, (*unders, extra), tuple(overs), (up,), (*downs, functions.rest)
        )  # fmt: skip
        store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
        made = f"ALTER TABLE {store} ADD COLUMN IF NOT EXISTS {quote_ident(f'c{extra.id}')} jsonb"
        return columns, lens, [*functions.statements(), made]

    def _unnested(
        self, table: Table, shown: Sequence[Column], extra: Column, lens_id: int
    ) -> tuple[list[Column], Lens, list[str]]:
        """A document of the store under columns."""
        paths = [self.fields[c.name] for c in shown]
        functions = _Functions(lens_id, paths, [c.type for c in shown])
        under, _ = field_under(table, self.unders[0])
        value = '"$1"' if under.type == "jsonb" else '("$1")::jsonb'
        ups = [*(functions.get(n) for n in range(len(shown))), functions.rest]
        down = functions.nest if under.type == "jsonb" else f"({functions.nest})::{under.type}"
        columns, overs = _over(table, shown, lens_id)
        lens = Lens(
            lens_id, (under,), (*overs, extra), tuple(fill(up, [value]) for up in ups), (down,)
        )
        return columns, lens, functions.statements()


def _over(table: Table, shown: Sequence[Column], lens_id: int) -> tuple[list[Column], list[Column]]:
    """The columns as the version shows them, and as the lens has them."""
    columns, overs = [], []
    for column in shown:
        field = column.name if table.has_doc else ""
        stored = Stored(f"c{column.id}", column.type, field=field)
        overs.append(replace(column, source=stored, default=None, comment=None))
        columns.append(replace(column, source=Lensed(lens_id, field=field)))
    return columns, overs


def _common_path(asked: Nesting) -> Path | None:
    """The path of the document that the store has already; None where it has none."""
    paths = [c.source.path for c in asked.unders if isinstance(c.source, DocPath)]
    if len(paths) < len(asked.unders):
        return None
    if asked.kind == "unnest column":
        return paths[0]
    length = min(map(len, paths)) - 1
    while length and len({path[:length] for path in paths}) > 1:
        length -= 1
    return paths[0][:length] if length > 0 else None


# ---------------------------------------------------------------------------------- the call


def read_nesting(request: DdlRequest, table: Table) -> Nesting:
    """The call, checked. UndefinedColumn (42703), InvalidParameterValue (22023) for sets of columns
    that make no document, DatatypeMismatch (42804) for a column that is none, FeatureNotSupported
    (0A000) for columns that keep their form.
    """
    name, values = call_arguments(request.node)
    if name == "nest_columns":
        names = read_names(values["columns"], "columns")
        unders = tuple(_column(table, each) for each in names)
        asked = Nesting("nest columns", unders, values["column_name"], _paths(names),
                        {values["column_name"]: "jsonb"})  # fmt: skip
    else:
        types = read_types(values["columns"], "columns")
        document = _column(table, values["column_name"])
        if document.type not in _DOCUMENTS:
            raise DatatypeMismatch(
                f'column "{document.name}" is of type {document.type}, not of type jsonb'
            )
        for each in types.values():
            _check_type(each)
        asked = Nesting("unnest column", (document,), document.name, _paths(list(types)), types)
    if _common_path(asked) is None:
        for column in asked.unders:
            convertible(request, table, column.name)
    else:
        _require_free(table, asked)
    return asked


def _column(table: Table, name: str) -> Column:
    column = table.column(name)
    if column is None:
        raise UndefinedColumn(f'column "{name}" of relation "{table.name}" does not exist')
    return column


def _paths(names: Sequence[str]) -> dict[str, Path]:
    """The paths that columns of these names have in the document: a dot leads inside."""
    found = {name: parse_path(name) for name in names}
    for one, inner in found.items():
        for other, outer in found.items():
            if one != other and inner[: len(outer)] == outer:
                raise InvalidParameterValue(f'"{one}" lies inside of "{other}"')
    return found


def _check_type(text: str) -> None:
    """The text names a type and nothing else; whether there is one says PostgreSQL."""
    node = parse_expression(f"NULL::{text}").node
    if not isinstance(node, ast.TypeCast) or not isinstance(node.arg, ast.A_Const):
        raise InvalidParameterValue(f'"{text}" is not the name of a type')


def _require_free(table: Table, asked: Nesting) -> None:
    """Constraints keep their columns."""
    for column in asked.unders:
        for constraint in table.constraints:
            if column.id in constraint.columns:
                raise FeatureNotSupported(
                    f'cannot change the form of column "{column.name}" of table "{table.name}": '
                    f'constraint "{constraint.name}" uses it',
                    hint="Drop it first.",
                )


# ---------------------------------------------------------------------------------- functions


@dataclass(frozen=True, slots=True)
class _Functions:
    """The functions of one lens over a document: columns of `types` lie in it at `paths`."""

    lens_id: int
    paths: Sequence[Path]
    types: Sequence[str]

    def get(self, number: int) -> str:
        """The call that reads a column out of the document "$1"."""
        return lens_call(self._name(f"get_{number + 1}"))

    @property
    def nest(self) -> str:
        """The call that makes the document of the columns and the rest."""
        return lens_call(self._name("nest"), len(self.types) + 1)

    @property
    def rest(self) -> str:
        """The call that takes out of the document "$1" what the columns give back."""
        return lens_call(self._name("rest"))

    def statements(self) -> list[str]:
        """What makes them."""
        made: list[str] = []
        for number, (path, sql_type) in enumerate(zip(self.paths, self.types, strict=True)):
            made += self._made(f"get_{number + 1}", ["jsonb"], sql_type, _get_body(path, sql_type))
        made += self._made("nest", [*self.types, "jsonb"], "jsonb", self._nest_body())
        return made + self._made("rest", ["jsonb"], "jsonb", self._rest_body())

    def _name(self, what: str) -> str:
        return f"lens_{self.lens_id}_{what}"

    def _made(self, what: str, arguments: Sequence[str], result: str, body: str) -> list[str]:
        name = f"morph_catalog.{quote_ident(self._name(what))}({', '.join(arguments)})"
        plain = {base_type(each) for each in (*arguments, result)} <= _PLAIN
        return [
            f"CREATE FUNCTION {name} RETURNS {result} LANGUAGE plpgsql IMMUTABLE "
            f"SET search_path = pg_catalog, pg_temp{'' if plain else _SETTINGS} "
            f"AS {quote_literal(body)}",
            f"GRANT EXECUTE ON FUNCTION {name} TO morph_client",
        ]

    def _nest_body(self) -> str:
        """The rest, and over it the columns that are not NULL. A rest that is no object gives way
        to them; NULL is the document of nothing at all.
        """
        count = len(self.types)
        some = " OR ".join(f"${n + 1} IS NOT NULL" for n in range(count))
        lines = [
            f"IF jsonb_typeof(d) IS DISTINCT FROM 'object' AND ({some}) THEN d := '{{}}'; END IF;"
        ]
        for n, path in enumerate(self.paths):
            around = "".join(
                f"IF jsonb_typeof(d #> {text_array(path[:k])}) IS DISTINCT FROM 'object' "
                f"THEN d := jsonb_set(d, {text_array(path[:k])}, '{{}}'); END IF; "
                for k in range(1, len(path))
            )
            lines.append(
                f"IF ${n + 1} IS NOT NULL THEN {around}"
                f"d := jsonb_set(d, {text_array(path)}, to_jsonb(${n + 1})); END IF;"
            )
        return f"DECLARE d jsonb := ${count + 1};\nBEGIN\n" + "\n".join([*lines, "RETURN d;\nEND"])

    def _rest_body(self) -> str:
        """The document without the paths whose columns give the very same value, and without the
        objects around them that became empty.
        """
        lines = ["IF jsonb_typeof(d) <> 'object' OR d = '{}' THEN RETURN d; END IF;"]
        for n, path in enumerate(self.paths):
            value = f"to_jsonb({fill(self.get(n), ['$1'])})"
            pruned = "".join(
                f"IF d #> {text_array(path[:k])} = '{{}}' "
                f"THEN d := d #- {text_array(path[:k])}; END IF; "
                for k in range(len(path) - 1, 0, -1)
            )
            lines.append(
                f"IF $1 #> {text_array(path)} IS NOT NULL AND "
                f"NOT {differ(value, f'$1 #> {text_array(path)}')} "
                f"THEN d := d #- {text_array(path)}; {pruned}END IF;"
            )
        lines.append("RETURN nullif(d, '{}');\nEND")
        return "DECLARE d jsonb := $1;\nBEGIN\n" + "\n".join(lines)


def _get_body(path: Path, sql_type: str) -> str:
    """The value at the path as the column's type, NULL for a value that is none of it."""
    base = base_type(sql_type)
    caught = " EXCEPTION WHEN data_exception THEN RETURN NULL;"
    if sql_type in _DOCUMENTS:
        value, caught = f"v::{sql_type}", ""
    elif sql_type.endswith("[]"):
        value = extract("v", (), sql_type, clean=False)
    elif base in (*_NUMBERS, "text", "boolean"):
        value = assigned(extract("v", (), base, clean=False), sql_type)
    else:
        value = f"CASE WHEN jsonb_typeof(v) = 'string' THEN {assigned(_TEXT, sql_type)} END"
    if sql_type in ("text", "boolean"):
        caught = ""
    return f"DECLARE v jsonb := $1 #> {text_array(path)};\nBEGIN\nRETURN {value};{caught}\nEND"


_TEXT: Final = "(v #>> '{}')"
