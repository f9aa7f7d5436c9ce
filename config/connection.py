"""The options of a connection as the configuration and SQL give them: their names, and no secrets.

What is secret is given by reference: an option whose name ends in `_ref`, whose value is `env:NAME`
or `file:PATH`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from config.secret import Secret
from core.errors import InvalidParameterValue

REFERENCE: Final = "_ref"
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


def usual_name(name: str) -> str:
    """The name under which an option is kept."""
    return SYNONYMS.get(name.lower(), name.lower())


def check_option(name: str, value: str) -> tuple[str, str]:
    """An option as it is kept: by its usual name, and free of secrets.

    Raises InvalidParameterValue (22023) for a secret in plain and for a reference that is none.
    """
    name = usual_name(name)
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


def parse_options(text: str) -> dict[str, str]:
    """The options of `name=value` words, quoted as in a shell where a value has spaces.

    Raises InvalidParameterValue (22023), which never shows a value.
    """
    options: dict[str, str] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidParameterValue(f"options cannot be read: {str(error).lower()}") from None
    for word in words:
        name, found, value = word.partition("=")
        if not found or not name:
            raise InvalidParameterValue(
                "options must be words such as name=value", hint="Put values with spaces in quotes."
            )
        name, value = check_option(name, value)
        if name in options:
            raise InvalidParameterValue(f'option "{name}" is given twice')
        options[name] = value
    return options
