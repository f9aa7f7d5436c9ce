"""Where a row lies in the order of the ring, as a text that outlives connections.

`<token>:<partition key>:<clustering columns>`: the token as a number, the values of the key columns
as their stored bytes in hexadecimal, with a comma between, "-" for a column that is null (a row of
static values only has no clustering columns). Equal in every table with the same key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import InvalidParameterValue


@dataclass(frozen=True, slots=True)
class Place:
    """A row's token and the stored bytes of its key."""

    token: int
    partition: tuple[bytes | None, ...]
    clustering: tuple[bytes | None, ...] = ()

    @property
    def key(self) -> tuple[bytes | None, ...]:
        """Partition key and clustering columns."""
        return (*self.partition, *self.clustering)

    def __str__(self) -> str:
        return f"{self.token}:{_hex(self.partition)}:{_hex(self.clustering)}"


def read_place(text: str) -> Place:
    """The place of a text; InvalidParameterValue (22023) for what is none."""
    try:
        token, partition, clustering = text.split(":")
        return Place(int(token), _bytes(partition), _bytes(clustering))
    except ValueError as error:
        raise InvalidParameterValue(f'"{text}" is no place of a row in Cassandra') from error


def _hex(values: Sequence[bytes | None]) -> str:
    return ",".join("-" if each is None else f"x{each.hex()}" for each in values)


def _bytes(text: str) -> tuple[bytes | None, ...]:
    parts = text.split(",") if text else []
    return tuple(None if each == "-" else bytes.fromhex(each.removeprefix("x")) for each in parts)
