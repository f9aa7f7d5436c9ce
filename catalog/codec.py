"""The model as JSON and back, for the catalog store. Unknown kinds raise InternalError."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from catalog.model import (
    Column,
    Constraint,
    DocPath,
    Element,
    Index,
    Lens,
    Lensed,
    Native,
    Ordinality,
    ParentKey,
    Part,
    Partition,
    Seed,
    Source,
    Stored,
    Table,
    Version,
)
from core.errors import InternalError

_SOURCES: dict[str, type[Source]] = {
    "stored": Stored,
    "doc": DocPath,
    "seed": Seed,
    "parent_key": ParentKey,
    "ordinality": Ordinality,
    "element": Element,
    "native": Native,
    "lensed": Lensed,
}
_SOURCE_NAMES: dict[type[Source], str] = {cls: name for name, cls in _SOURCES.items()}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _source_to_json(source: Source) -> dict[str, Any]:
    return {"kind": _SOURCE_NAMES[type(source)], **dataclasses.asdict(source)}


def _source_from_json(data: dict[str, Any]) -> Source:
    fields = {k: _tuples(v) for k, v in data.items() if k != "kind"}
    try:
        return _SOURCES[data["kind"]](**fields)
    except (KeyError, TypeError) as error:
        raise InternalError("the catalog holds an unknown column source") from error


def _column_to_json(column: Column) -> dict[str, Any]:
    data = {
        f.name: getattr(column, f.name) for f in dataclasses.fields(column) if f.name != "source"
    }
    return {**data, "source": _source_to_json(column.source)}


def _column_from_json(data: dict[str, Any]) -> Column:
    return Column(**{**data, "source": _source_from_json(data["source"])})


def _table_to_json(table: Table) -> dict[str, Any]:
    data = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
    data["columns"] = [_column_to_json(c) for c in table.columns]
    data["constraints"] = [dataclasses.asdict(c) for c in table.constraints]
    data["indexes"] = [dataclasses.asdict(i) for i in table.indexes]
    data["partitions"] = [dataclasses.asdict(p) for p in table.partitions]
    data["lenses"] = [_lens_to_json(lens) for lens in table.lenses]
    data["part"] = dataclasses.asdict(table.part) if table.part is not None else None
    return data


def _lens_to_json(lens: Lens) -> dict[str, Any]:
    return {
        "id": lens.id,
        "under": [_column_to_json(c) for c in lens.under],
        "over": [_column_to_json(c) for c in lens.over],
        "up": list(lens.up),
        "down": list(lens.down),
    }


def _lens_from_json(data: dict[str, Any]) -> Lens:
    return Lens(
        data["id"],
        tuple(_column_from_json(c) for c in data["under"]),
        tuple(_column_from_json(c) for c in data["over"]),
        tuple(data["up"]),
        tuple(data["down"]),
    )


def constraint_from_json(data: dict[str, Any]) -> Constraint:
    """A constraint from its JSON."""
    return Constraint(**{name: _tuples(value) for name, value in data.items()})


def _table_from_json(data: dict[str, Any]) -> Table:
    return Table(
        **{
            **data,
            "columns": tuple(_column_from_json(c) for c in data["columns"]),
            "constraints": tuple(constraint_from_json(c) for c in data["constraints"]),
            "indexes": tuple(Index(**i) for i in data["indexes"]),
            "parent_path": tuple(data["parent_path"]),
            **_foreign_from_json(data),
            # Catalogs written before there were lenses lack them.
            "lenses": tuple(_lens_from_json(lens) for lens in data.get("lenses", ())),
            "part": _part_from_json(data.get("part")),
        }
    )


def _part_from_json(data: dict[str, Any] | None) -> Part | None:
    if data is None:
        return None
    return Part(**{**data, "columns": tuple(data["columns"])})


def _foreign_from_json(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of foreign tables; catalogs written before there were any lack them."""
    names = ("native", "key", "options")
    found: dict[str, Any] = {name: _tuples(data[name]) for name in names if name in data}
    return {**found, "partitions": tuple(Partition(**p) for p in data.get("partitions", ()))}


def encode_version(version: Version) -> str:
    """The version's tables as JSON text (number, parent and time are columns of their own)."""
    return json.dumps([_table_to_json(t) for t in version.tables], ensure_ascii=False)


def decode_version(number: int, parent: int, created_at: str, spec: str) -> Version:
    """The version from its JSON text."""
    tables = tuple(_table_from_json(t) for t in json.loads(spec))
    return Version(number, parent, tables, created_at)
