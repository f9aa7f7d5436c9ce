"""How one setting is described: the metadata beside its type in a section's dataclass.

A section is a frozen dataclass whose fields read `name: Annotated[type, spec] = default`; the spec
made here carries the text, the unit and the limits. The loader, the checks and the generated
reference all read that one description.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, get_type_hints

KB = 1 << 10
MB = 1 << 20
GB = 1 << 30
TB = 1 << 40
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


class Kind(Enum):
    """The notation of a setting in the file, the environment and flags."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DURATION = "duration"
    SIZE = "size"
    PATH = "path"
    CHOICE = "choice"
    ADDRESS = "host:port"
    SECRET = "secret reference"
    TABLES = "tables"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a setting accepts; `low` and `high` are inclusive, in the unit of the value.

    `zero` says what 0 means where it is allowed besides the range. `key` is the name in the file
    where it differs from the attribute (`[[auth.rule]]` fills `rules`).
    """

    kind: Kind
    text: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    zero: str = ""
    choices: tuple[str, ...] = ()
    item: type | None = None
    key: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a section, ready to be read: attribute, key in the file, spec, default."""

    name: str
    key: str
    spec: Spec
    default: Any
    required: bool


def text(about: str) -> Spec:
    """A string."""
    return Spec(Kind.TEXT, about)


def boolean(about: str) -> Spec:
    """true or false."""
    return Spec(Kind.BOOLEAN, about)


def integer(about: str, low: int, high: int, *, unit: str = "", zero: str = "") -> Spec:
    """A whole number from low to high."""
    return Spec(Kind.INTEGER, about, low, high, unit=unit, zero=zero)


def duration(about: str, low: float, high: float, *, zero: str = "") -> Spec:
    """A time such as "30s"; the value is in seconds."""
    return Spec(Kind.DURATION, about, low, high, unit="s", zero=zero)


def size(about: str, low: int, high: int, *, zero: str = "") -> Spec:
    """An amount such as "64MB"; the value is in bytes."""
    return Spec(Kind.SIZE, about, low, high, unit="bytes", zero=zero)


def path(about: str) -> Spec:
    """A file or directory; a relative one counts from the directory of the configuration file."""
    return Spec(Kind.PATH, about)


def choice(about: str, choices: tuple[str, ...]) -> Spec:
    """One of a few words."""
    return Spec(Kind.CHOICE, about, choices=choices)


def address(about: str) -> Spec:
    """ "host:port", or the empty string for off."""
    return Spec(Kind.ADDRESS, about)


def secret(about: str) -> Spec:
    """A reference to a secret: env:NAME or file:PATH, never the secret itself."""
    return Spec(Kind.SECRET, about)


def tables(about: str, item: type, *, key: str, high: int, example: str) -> Spec:
    """A list of tables of one shape; `example` is shown in the generated example file."""
    return Spec(Kind.TABLES, about, 0, high, item=item, key=key, example=example)


@cache
def fields_of(section: type) -> tuple[Field, ...]:
    """The settings of a section in order of declaration; fields without a Spec are derived."""
    hints = get_type_hints(section, include_extras=True)
    found = []
    for field in dataclasses.fields(section):
        spec = next(
            (m for m in getattr(hints[field.name], "__metadata__", ()) if _is_spec(m)), None
        )
        if spec is None:
            continue
        required = field.default is dataclasses.MISSING
        default = None if required else field.default
        found.append(Field(field.name, spec.key or field.name, spec, default, required))
    return tuple(found)


def _is_spec(metadata: object) -> bool:
    return isinstance(metadata, Spec)
