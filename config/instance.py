"""Table `[[instance]]`: a store that Morphgres stands in front of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from config.fields import choice, secret, text
from config.secret import Secret

InstanceKind = Literal["embedded", "mongodb", "cassandra", "postgres"]
AVAILABLE_KINDS: tuple[InstanceKind, ...] = ("embedded",)
INSTANCES_MAX = 1000
INSTANCE_EXAMPLE = """\
name = "local"
kind = "embedded"
"""


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """A store that Morphgres stands in front of."""

    name: Annotated[str, text("Name of the instance, unique.")]
    kind: Annotated[
        InstanceKind,
        choice("Kind of store; this build has embedded only.", get_args(InstanceKind)),
    ]
    dsn: Annotated[
        Secret | None,
        secret("Reference to the connection string; an embedded instance has none."),
    ] = None


DEFAULT_INSTANCES = (InstanceSettings(name="local", kind="embedded"),)
