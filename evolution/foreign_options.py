"""Where a foreign table lies, from the options of CREATE FOREIGN TABLE: PostgreSQL's usual names of
options, and each store's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from catalog.instances import Instance
from catalog.naming import Path, parse_path
from core.errors import DuplicateObject, InvalidOptionName, InvalidParameterValue
from rewrite.tree import Node

KEY: Final = "key"


@dataclass(frozen=True, slots=True)
class Naming:
    """How a kind of store names its tables: the options for the namespace and for the table, the
    first of each as it is kept, and the namespace when none is given.
    """

    namespace: tuple[str, ...]
    table: tuple[str, ...]
    default: str = ""


NAMINGS: Final[Mapping[str, Naming]] = {
    "mongodb": Naming(("database", "dbname"), ("collection", "table_name", "table")),
    "cassandra": Naming(("keyspace", "database"), ("table_name", "table")),
    "postgres": Naming(("schema_name", "schema"), ("table_name", "table"), "public"),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a table lies; `key` are names of columns, None when it was not said."""

    native: tuple[str, ...]
    key: tuple[str, ...] | None


def given_options(elements: Iterable[Node] | None) -> dict[str, str]:
    """OPTIONS (name 'value', …) of a new object; DuplicateObject (42710) for one given twice."""
    options: dict[str, str] = {}
    for element in elements or ():
        name = element.defname.lower()
        if name in options:
            raise DuplicateObject(f'option "{element.defname}" provided more than once')
        options[name] = element.arg.sval
    return options


def placement(instance: Instance, options: Mapping[str, str], name: str) -> Placement:
    """Where the table called `name` lies. Raises InvalidOptionName (HV00D) for an unknown option,
    InvalidParameterValue (22023) when nothing says the database or keyspace.
    """
    naming = NAMINGS[instance.kind]
    known = (*naming.namespace, *naming.table, KEY)
    for option in options:
        if option not in known:
            raise InvalidOptionName(
                f'invalid option "{option}"', hint=f"There are {', '.join(known)}."
            )
    namespace = _one(options, naming.namespace)
    if not namespace:
        inherited = instance.all_options
        namespace = inherited.get("database") or inherited.get("keyspace") or ""
        if instance.kind == "postgres":
            namespace = naming.default  # a database of PostgreSQL is the connection's, no schema
    if not namespace:
        raise InvalidParameterValue(
            f'nothing says in which {naming.namespace[0]} foreign table "{name}" lies',
            hint=f"OPTIONS ({naming.namespace[0]} '…'), of the table or of the server.",
        )
    return Placement((namespace, _one(options, naming.table) or name), _key(options))


def _one(options: Mapping[str, str], names: tuple[str, ...]) -> str:
    given = [name for name in names if name in options]
    if len(given) > 1:
        raise DuplicateObject(f'option "{given[1]}" says the same as option "{given[0]}"')
    return options[given[0]] if given else ""


def _key(options: Mapping[str, str]) -> tuple[str, ...] | None:
    text = options.get(KEY)
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def kept_options(kind: str, native: tuple[str, ...]) -> dict[str, str]:
    """The options of its place, as the model keeps them and `\\d` shows them."""
    naming = NAMINGS[kind]
    return {naming.namespace[0]: native[0], naming.table[0]: native[-1]}


def column_path(kind: str, name: str, elements: Iterable[Node] | None) -> Path:
    """Where a column's value lies in a row: `path 'a.b'` inside documents, `column_name 'x'` by
    name; without either its own name says it.
    """
    options = given_options(elements)
    for option in options:
        if option not in ("path", "column_name"):
            raise InvalidOptionName(
                f'invalid option "{option}"', hint="Columns have path or column_name."
            )
    if len(options) > 1:
        raise DuplicateObject('option "column_name" says the same as option "path"')
    if "column_name" in options:
        return (options["column_name"],)
    if "path" in options:
        return parse_path(options["path"])
    return parse_path(name) if kind == "mongodb" else (name,)
