"""From an instance of the catalog to what a driver needs: its secrets are read here, each time.

A client that registers an instance could name any variable or file of this process as its secret
and have it sent to a server of its own; so SQL may refer only to variables with a prefix and to
files in one directory (`stores.secret_env_prefix`, `stores.secret_directory`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from backends.stores import StoreOptions
from catalog.instances import REFERENCE, Instance
from config.secret import Secret
from config.stores import StoresSettings
from core.errors import CannotConnect, ConfigError, InvalidParameterValue

SYNONYMS: Final[Mapping[str, str]] = {
    "dbname": "database",
    "username": "user",
    "servername": "host",
    "address": "host",
    "uri": "dsn",
    "uri_ref": "dsn_ref",
}
_SECRET_WORDS: Final = ("password", "passwd", "passfile", "secret", "token", "sslpassword", "pwd")
_HINT: Final = (
    "Secrets are given by reference: password_ref 'env:NAME' or 'file:PATH'"
    " (see stores.secret_env_prefix and stores.secret_directory)."
)


def check_option(name: str, value: str) -> tuple[str, str]:
    """An option as it is kept: by its usual name, and free of secrets.

    Raises InvalidParameterValue (22023) for a secret in plain and for a reference that is none.
    """
    name = SYNONYMS.get(name.lower(), name.lower())
    if name.endswith(REFERENCE):
        reference(value)
    elif any(word in name for word in _SECRET_WORDS):
        raise InvalidParameterValue(f'option "{name}" must not hold a secret itself', hint=_HINT)
    elif name == "dsn" and holds_secret(value):
        hint = "Give the connection string by reference: dsn_ref 'env:NAME', or the password."
        raise InvalidParameterValue('option "dsn" must not hold a password', hint=hint)
    return name, value


def holds_secret(dsn: str) -> bool:
    """Whether a connection string has a password in it, as far as one can see."""
    try:
        parts = urlsplit(dsn)
        if parts.scheme and parts.netloc:
            names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
            # Of several hosts urlsplit understands the first only.
            user_info = parts.netloc.rpartition("@")[0]
            return ":" in user_info or any(w in n for n in names for w in _SECRET_WORDS)
    except ValueError:
        return True
    words = "|".join(_SECRET_WORDS)
    return re.search(rf"(?i)\w*({words})\w*\s*=", dsn) is not None


def reference(value: str) -> Secret:
    """The secret that a reference names; InvalidParameterValue (22023) when it is none."""
    scheme, found, name = value.partition(":")
    if not found or not name or "\0" in name or scheme not in ("env", "file"):
        raise InvalidParameterValue("the reference of a secret is not valid", hint=_HINT)
    return Secret("env" if scheme == "env" else "file", name)


def permit(instance: Instance, settings: StoresSettings) -> None:
    """InvalidParameterValue (22023) for a reference that SQL may not use."""
    if instance.origin != "sql":
        return
    for name, value in instance.all_options.items():
        if not name.endswith(REFERENCE):
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
