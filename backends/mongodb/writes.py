"""What a statement changed in a table, as commands (pure): documents, updates and deletes.

An update or delete names the row by its exact key and by the exact BSON values that were found for
it, so a row that another writer was faster with is not matched. NULL is a missing field: assigning
NULL removes it (docs/rewriting.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from backends.mongodb.decode import ColumnSpec, MisfitCounter, decode_column, values_at
from backends.mongodb.encode import encode, merged, parse_json
from backends.mongodb.filters import where_true
from backends.mongodb.literals import NotPushed
from backends.mongodb.pushdown import column_spec, fields_of
from catalog.model import Column, Native, Table
from core import expr as ir
from core.encoding import to_text_carrier
from core.errors import FeatureNotSupported, InvalidParameterValue
from core.types import PgType, type_by_name

KEY: Final = "_id"
POSITION: Final = "_l"
"""Reserved in a layout that is fed: it goes when the change is contracted, under any writer."""
_JSON: Final = ("jsonb", "json")
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WrittenColumn:
    """A column of a batch of changes, its values as text."""

    spec: ColumnSpec
    pg: PgType
    texts: Sequence[str | None]


def written_columns(table: Table, batch: pa.RecordBatch) -> list[WrittenColumn]:
    """The columns of a batch whose fields are `c<id>`, parents before what is in them."""
    made = []
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        column = table.column_by_id(int(name[1:]))
        assert column is not None, name
        if not isinstance(column.source, Native):
            raise FeatureNotSupported(f'column "{column.name}" is not a field of the documents')
        pg = type_by_name(column.type)
        texts = to_text_carrier(values, pg).to_pylist()
        made.append(WrittenColumn(column_spec(table, column), pg, texts))
    return sorted(made, key=lambda column: len(column.spec.path))


def documents(table: Table, batch: pa.RecordBatch) -> list[Document]:
    """The documents of inserted rows."""
    columns = written_columns(table, batch)
    made: list[Document] = []
    for row in range(batch.num_rows):
        document: Document = {}
        for column in columns:
            text = column.texts[row]
            if text is not None:
                value = encode(text, column.pg, column.spec.store_type)
                document = put(document, column.spec.path, value)
        made.append({KEY: document[KEY], **document} if KEY in document else document)
    return made


def put(document: Document, path: tuple[str, ...], value: Any) -> Document:
    """The document with a value at a path; the documents on the way are made."""
    if not path:
        if not isinstance(value, dict):
            raise InvalidParameterValue("a document must be a JSON object")
        return {**value, **document}
    at = document
    for key in path[:-1]:
        at = at.setdefault(key, {})
        if not isinstance(at, dict):
            raise InvalidParameterValue(f'"{".".join(path)}" lies in a value that is no document')
    at[path[-1]] = value
    return document


def rows_filter(table: Table, batch: pa.RecordBatch) -> dict[str, Any]:
    """A find filter for the rows of the batch by their key, as `key_filter` has it."""
    if len(table.key) != 1:
        raise FeatureNotSupported(f'foreign table "{table.name}" has a key of several columns')
    column = table.column_by_id(table.key[0])
    assert column is not None
    carrier = to_text_carrier(batch.column(f"c{column.id}"), type_by_name(column.type))
    return key_filter(table, column, carrier.to_pylist())


def key_filter(table: Table, column: Column, texts: Iterable[str | None]) -> dict[str, Any]:
    """A find filter that meets the documents whose key, `column`, is shown as one of these texts.
    It may meet others of an equal `_id` that the table does not show (78 as a Decimal128): beside
    `$in` nothing is asked of `_id`, as there are servers that walk the whole collection for it.
    """
    source = column.source
    assert isinstance(source, Native)
    name = ".".join(source.path)
    items = tuple(ir.Literal(ir.base_type(column.type), text) for text in dict.fromkeys(texts))
    try:
        asked = where_true(ir.In(ir.ColumnRef(column.id, column.type), items), fields_of(table))
    except NotPushed:
        pg = type_by_name(column.type)
        values = [encode(str(item.text), pg, source.store_type) for item in items]
        return {name: {"$in": values}}
    listed = asked.get(KEY)
    if name == KEY and isinstance(listed, dict) and "$in" in listed:
        return {KEY: {"$in": listed["$in"]}}
    return asked


@dataclass(frozen=True, slots=True)
class Found:
    """Documents of the store by the text of their key."""

    by_key: Mapping[str, Document]


def found_by_key(table: Table, found: Sequence[Document]) -> Found:
    """The documents by what their key is shown as."""
    column = table.column_by_id(table.key[0])
    assert column is not None
    spec = column_spec(table, column)
    keys = _shown(found, spec)
    return Found({key: each for key, each in zip(keys, found, strict=True) if key is not None})


def keyed(table: Table, found: Sequence[Document]) -> list[Document]:
    """The documents whose key the table can show."""
    column = table.column_by_id(table.key[0])
    assert column is not None
    keys = _shown(found, column_spec(table, column))
    return [each for key, each in zip(keys, found, strict=True) if key is not None]


def _shown(found: Sequence[Document], spec: ColumnSpec) -> list[str | None]:
    """A column of documents as PostgreSQL's text."""
    column = decode_column(values_at(found, spec.path), spec, MisfitCounter())
    texts: list[str | None] = to_text_carrier(column, type_by_name(spec.sql_type)).to_pylist()
    return texts


def matched(
    table: Table, batch: pa.RecordBatch, before: pa.RecordBatch, found: Found
) -> list[Document] | None:
    """The document of each row; None when one is gone or no longer as it was read."""
    keys = _keys(table, batch)
    documents = [found.by_key.get(key) for key in keys]
    present = [each for each in documents if each is not None]
    if len(present) != len(documents):
        return None
    for column in written_columns(table, before):
        if _shown(present, column.spec) != list(column.texts):
            return None
    return present


def _keys(table: Table, batch: pa.RecordBatch) -> list[str]:
    column = table.column_by_id(table.key[0])
    assert column is not None
    values = batch.column(f"c{column.id}")
    return [str(text) for text in to_text_carrier(values, type_by_name(column.type)).to_pylist()]


def updates(table: Table, batch: pa.RecordBatch, current: Sequence[Document]) -> Iterator[Document]:
    """The update statement of each row; `current` are the documents as they were found."""
    columns = [c for c in written_columns(table, batch) if c.spec.column_id not in table.key]
    shown = {column.spec.column_id: _shown(current, column.spec) for column in columns}
    for row, document in enumerate(current):
        fields: Document = {}
        new = copied(document)
        for column in columns:
            path, text = column.spec.path, column.texts[row]
            old = values_at([document], path)[0]
            if text is None:
                new = without(new, path)
            elif column.pg.typname in _JSON:
                new = _put_or_replace(new, path, merged(parse_json(text), old))
            elif shown[column.spec.column_id][row] == text:
                new = put(new, path, old)  # an int stays an int
            else:
                new = put(new, path, encode(text, column.pg, column.spec.store_type))
            fields.update(dict.fromkeys(path[:1] or new.keys() | document.keys()))
        fields.pop(KEY, None)
        yield {"q": _as_found(document, fields), "u": _change(document, new, fields)}


def _put_or_replace(document: Document, path: tuple[str, ...], value: Any) -> Document:
    if path:
        return put(document, path, value)
    if not isinstance(value, dict):
        raise InvalidParameterValue("a document must be a JSON object")
    return {KEY: document[KEY], **{k: v for k, v in value.items() if k != KEY}}


def without(document: Document, path: tuple[str, ...]) -> Document:
    """The document without the field at a path."""
    if not path:
        raise InvalidParameterValue("a document cannot be NULL")
    at: Any = document
    for key in path[:-1]:
        at = at.get(key) if isinstance(at, dict) else None
    if isinstance(at, dict):
        at.pop(path[-1], None)
    return document


def copied(value: Any) -> Any:
    """A copy as deep as documents go; arrays are never changed in place."""
    if type(value) is dict:
        return {key: copied(each) for key, each in value.items()}
    return value


def _as_found(document: Document, fields: Mapping[str, Any]) -> Document:
    """The filter that matches the document only as long as these fields are as they were found."""
    made: Document = {KEY: document[KEY]}
    for field in fields:
        if not field or "." in field or field.startswith("$"):
            continue  # no filter can name it
        if field not in document:
            made[field] = {"$exists": False}
        elif document[field] is None:
            made[field] = {"$eq": None, "$exists": True}
        else:
            made[field] = {"$eq": document[field]}
    return made


def _change(document: Document, new: Document, fields: Mapping[str, Any]) -> Document:
    if any(not field or "." in field or field.startswith("$") for field in fields):
        return new  # as a whole: no update operator can name such a field
    put = {field: new[field] for field in fields if field in new}
    gone = {field: "" for field in fields if field not in new and field in document}
    change = {name: part for name, part in (("$set", put), ("$unset", gone)) if part}
    return change or {"$set": {}}


def as_found(document: Document) -> Document:
    """The filter that matches the whole document only as long as it is as it was found."""
    return _as_found(document, dict.fromkeys(field for field in document if field != KEY))


def deletes(current: Sequence[Document]) -> Iterator[Document]:
    """The delete statement of each document that was found."""
    for document in current:
        fields = dict.fromkeys(field for field in document if field not in (KEY, POSITION))
        yield {"q": _as_found(document, fields), "limit": 1}
