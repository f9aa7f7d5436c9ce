"""Table `[[instance]]`: a store that Morphgres stands in front of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from config.fields import choice, integer, secret, text
from config.secret import Secret

InstanceKind = Literal["embedded", "mongodb", "cassandra", "postgres"]
AVAILABLE_KINDS: tuple[InstanceKind, ...] = get_args(InstanceKind)
INSTANCES_MAX = 1000
INSTANCE_EXAMPLE = """\
name = "orders"
kind = "mongodb"
dsn = "env:ORDERS_DSN"
"""


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """A store that Morphgres stands in front of."""

    name: Annotated[str, text("Name of the instance, unique: the server of its foreign tables.")]
    kind: Annotated[InstanceKind, choice("Kind of store.", get_args(InstanceKind))]
    dsn: Annotated[
        Secret | None,
        secret(
            "Reference to the driver's connection string; an embedded instance has none, another"
            " has this or host."
        ),
    ] = None
    host: Annotated[str, text("Host of the server, or several with commas.")] = ""
    port: Annotated[int, integer("Port of the server.", 0, 65535, zero="the usual one")] = 0
    database: Annotated[str, text("Database or keyspace that is meant when none is named.")] = ""
    user: Annotated[str, text("User to log in as.")] = ""
    password: Annotated[Secret | None, secret("Reference to the password of the user.")] = None
    options: Annotated[
        str,
        text(
            'More options of the kind as words, "name=value other=value"; a secret is'
            ' "name_ref=env:NAME".'
        ),
    ] = ""


DEFAULT_INSTANCES = (InstanceSettings(name="local", kind="embedded"),)
