"""The kinds of stores that have servers, and how each is made: the registry of backends.

Drivers are imported when the first instance of a kind is used; a driver that is not installed is a
clear error then, and nothing else suffers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final, cast

from backends.base import StoreBackend
from core.errors import FeatureNotSupported


@dataclass(frozen=True, slots=True, repr=False)
class StoreOptions:
    """How to reach a server. `dsn` is the driver's own connection string with its secrets, "" when
    the parts are given in `parts`: host, port, database, user, password and what the kind's
    document lists. Never printed: it may hold a password.
    """

    dsn: str = ""
    parts: Mapping[str, str] = field(default_factory=dict, hash=False)
    connect_timeout: float = 5.0
    """Seconds until a server that does not answer counts as unreachable."""
    batch_rows: int = 10_000
    """Rows that one batch of a scan may have."""
    connections_max: int = 8
    """Connections that one process keeps to the server."""

    def __repr__(self) -> str:
        return "StoreOptions(***)"


Factory = Callable[[str, StoreOptions], StoreBackend]

_MODULES: Final[Mapping[str, tuple[str, str]]] = {
    "mongodb": ("backends.mongodb.backend", "MongoBackend"),
    "cassandra": ("backends.cassandra.backend", "CassandraBackend"),
    "postgres": ("backends.postgres.backend", "PostgresBackend"),
}
KINDS: Final = tuple(_MODULES)
LAYOUT_KINDS: Final = frozenset({"mongodb", "cassandra"})
"""Kinds whose stores keep layouts of changes (Capabilities.layouts), known without a driver."""


def make_backend(kind: str, name: str, options: StoreOptions) -> StoreBackend:
    """The backend of an instance; it connects when it is first used.

    Raises FeatureNotSupported (0A000) for a kind without backend or whose driver is missing.
    """
    found = _MODULES.get(kind)
    if found is None:
        raise FeatureNotSupported(f'no backend for stores of kind "{kind}"')
    module, factory = found
    try:
        made = cast("Factory", getattr(import_module(module), factory))
    except ModuleNotFoundError as error:
        raise FeatureNotSupported(
            f'the driver for stores of kind "{kind}" is not installed',
            detail=f"Python module {error.name} was not found.",
        ) from error
    return made(name, options)
