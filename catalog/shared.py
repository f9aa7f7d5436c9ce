"""What a change did to the rows of all versions, so that a rollback can undo it.

Constraints, NOT NULL and a wider type of the store's column are no matter of one version: the store
has them or not. Each change keeps what it did to them, in the order it did it, in the column
`shared` of `morph_catalog.versions`; it is read at promotion and rollback only, so it is no part of
the snapshot.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from catalog.codec import constraint_from_json
from catalog.model import Constraint
from catalog.sqltext import quote_literal
from core.errors import InternalError


@dataclass(frozen=True, slots=True)
class SharedConstraint:
    """A constraint that was added, or dropped by name. `shown` is how versions showed it that got
    or lost it: (version, constraint). `in_force`: it was not undone.
    """

    table_id: int
    added: bool
    shown: tuple[tuple[int, Constraint], ...]
    in_force: bool = True

    @property
    def store_name(self) -> str:
        """Its name in the store."""
        return self.shown[0][1].store_name


@dataclass(frozen=True, slots=True)
class SharedNull:
    """NOT NULL that a column of the store got or lost; `versions` showed the change of it."""

    table_id: int
    column_id: int
    not_null: bool
    versions: tuple[int, ...] = ()
    in_force: bool = True


@dataclass(frozen=True, slots=True)
class SharedType:
    """A wider type that a column of the store got, with no row written."""

    table_id: int
    column_id: int
    old: str
    new: str
    in_force: bool = True


Shared = SharedConstraint | SharedNull | SharedType

_KINDS: dict[str, type[Shared]] = {
    "constraint": SharedConstraint,
    "null": SharedNull,
    "type": SharedType,
}
_NAMES: dict[type[Shared], str] = {kind: name for name, kind in _KINDS.items()}


def encode_shared(shared: tuple[Shared, ...]) -> str:
    """As JSON text."""
    return json.dumps(
        [{"kind": _NAMES[type(each)], **dataclasses.asdict(each)} for each in shared],
        ensure_ascii=False,
    )


def decode_shared(text: str) -> tuple[Shared, ...]:
    """From JSON text. Raises InternalError (XX000) for what this build does not know."""
    return tuple(_decode(each) for each in json.loads(text))


def _decode(data: dict[str, Any]) -> Shared:
    fields = {name: value for name, value in data.items() if name != "kind"}
    if "shown" in fields:
        fields["shown"] = tuple((n, constraint_from_json(c)) for n, c in fields["shown"])
    if "versions" in fields:
        fields["versions"] = tuple(fields["versions"])
    try:
        return _KINDS[data["kind"]](**fields)
    except (KeyError, TypeError) as error:
        raise InternalError("the catalog holds an unknown shared change") from error


def shared_statement(number: int, shared: tuple[Shared, ...]) -> str:
    """Write what the change of a version did; its row must be there."""
    text = quote_literal(encode_shared(shared))
    return f"UPDATE morph_catalog.versions SET shared = {text}::jsonb WHERE version = {number}"
