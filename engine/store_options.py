"""From an instance of the catalog to what a driver needs: its secrets are read here, each time.

A client that registers an instance could name any variable or file of this process as its secret
and have it sent to a server of its own; so SQL may refer only to variables with a prefix and to
files in one directory (`stores.secret_env_prefix`, `stores.secret_directory`). For the same reason
every other option that is a path leads into that directory: certificates, and no Unix socket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from backends.stores import StoreOptions
from catalog.instances import Instance
from config.connection import REFERENCE, reference
from config.stores import StoresSettings
from core.errors import CannotConnect, ConfigError, InvalidParameterValue


def permit(instance: Instance, settings: StoresSettings) -> None:
    """InvalidParameterValue (22023) for a reference that SQL may not use."""
    if instance.origin != "sql":
        return
    for name, value in instance.all_options.items():
        if not name.endswith(REFERENCE):
            _permit_paths(name, value, settings.secret_directory)
            continue
        secret = reference(value)
        if secret.scheme == "env":
            if not secret.name.startswith(settings.secret_env_prefix):
                raise InvalidParameterValue(
                    f'option "{name}" refers to a variable that SQL may not use',
                    hint=f"Its name must begin with {settings.secret_env_prefix}.",
                )
        elif not _inside(Path(secret.name), settings.secret_directory):
            raise InvalidParameterValue(
                f'option "{name}" refers to a file that SQL may not use',
                hint=f"It must lie in {settings.secret_directory}.",
            )


def _permit_paths(name: str, value: str, directory: Path) -> None:
    for word in _words(value) if name == "dsn" else (value,):
        for part in word.split(","):
            is_path = part[:1] in ("@", "~") or "/" in part or "\\" in part
            if is_path and not _inside(Path(part), directory):
                raise InvalidParameterValue(
                    f'option "{name}" refers to a file that SQL may not use',
                    hint=f"It must lie in {directory}.",
                )


def _words(dsn: str) -> list[str]:
    """What a connection string names: hosts and values, as the driver would read them."""
    scheme, found, rest = dsn.partition("://")
    if not found or "/" in scheme or "=" in scheme:
        return [part.strip("'\"") for part in re.split(r"\s*=\s*|\s+", dsn)]
    places, _, query = rest.partition("?")
    hosts, _, path = places.partition("/")
    values = [value for pair in re.split("[&;]", query) for value in pair.split("=")[1:]]
    return [unquote(text) for text in (*hosts.rpartition("@")[2].split(","), path, *values)]


def _inside(path: Path, directory: Path) -> bool:
    try:
        return path.is_absolute() and path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError):
        return False


def store_options(
    instance: Instance, settings: StoresSettings, env: Mapping[str, str]
) -> StoreOptions:
    """What the driver gets. Raises CannotConnect (08001) when a secret cannot be read."""
    permit(instance, settings)
    parts: dict[str, str] = {}
    for name, value in instance.all_options.items():
        if name.endswith(REFERENCE):
            try:
                parts[name.removesuffix(REFERENCE)] = reference(value).reveal(env)
            except ConfigError as error:
                raise CannotConnect(
                    f'could not connect to server "{instance.name}"', detail=f"{error.primary}."
                ) from None
        else:
            parts[name] = value
    return StoreOptions(
        dsn=parts.pop("dsn", ""),
        parts=parts,
        connect_timeout=settings.connect_timeout,
        batch_rows=settings.batch_rows,
        connections_max=settings.max_connections,
    )
