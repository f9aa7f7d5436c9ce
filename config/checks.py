"""Checks that need more than one setting, or the world: pairs that must agree, files of TLS.

Each yields findings; the loader finds their place in the file.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from config.connection import parse_options
from config.fields import fields_of
from config.instance import InstanceSettings
from config.settings import Settings
from config.validation import parse_severities
from core.errors import InvalidParameterValue

_WORDS = ("loopback", "all")


class Finding(NamedTuple):
    """A fault of `key`; `other` is the setting that it disagrees with."""

    key: str
    message: str
    hint: str = ""
    other: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """Every finding, section by section."""
    yield from _check_server(settings)
    yield from _check_tls(settings)
    yield from _check_auth(settings)
    yield from _check_private_pg(settings)
    yield from _check_changes(settings)
    yield from _check_validation(settings)
    yield from _check_instances(settings)


def _check_server(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    if not server.host:
        yield Finding(
            "server.host", "must not be empty", 'Write "0.0.0.0" or "::" for every address.'
        )
    if server.write_buffer_low >= server.write_buffer_high:
        yield Finding(
            "server.write_buffer_low",
            "must be less than server.write_buffer_high",
            other="server.write_buffer_high",
        )
    if server.max_statement_bytes > server.max_message_bytes:
        yield Finding(
            "server.max_statement_bytes",
            "must not exceed server.max_message_bytes",
            other="server.max_message_bytes",
        )
    if not settings.load.rejects_suffix:
        yield Finding("load.rejects_suffix", "must not be empty")


def _check_tls(settings: Settings) -> Iterator[Finding]:
    tls = settings.tls
    if tls.required and tls.cert is None:
        yield Finding("tls.required", "needs tls.cert and tls.key", other="tls.cert")
    if tls.client_ca is not None and tls.cert is None:
        yield Finding("tls.client_ca", "needs tls.cert and tls.key", other="tls.cert")
    if (tls.cert is None) != (tls.key is None):
        given, lacking = ("tls.cert", "tls.key") if tls.key is None else ("tls.key", "tls.cert")
        yield Finding(given, f"needs {lacking}", other=lacking)
    unreadable = [
        (f"tls.{name}", fault)
        for name, path in (("cert", tls.cert), ("key", tls.key), ("client_ca", tls.client_ca))
        if path is not None and (fault := _read_fault(path))
    ]
    for key, fault in unreadable:
        yield Finding(key, fault)
    if not unreadable:
        yield from _check_certificates(settings)


def _read_fault(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f'could not read "{path}": {(error.strerror or "unknown error").lower()}'
    return ""


def _check_certificates(settings: Settings) -> Iterator[Finding]:
    tls = settings.tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.cert is not None and tls.key is not None:
        try:
            # without the callback OpenSSL would ask for a password on the terminal
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
        except (ssl.SSLError, OSError, ValueError) as error:
            hint = "Both must be PEM, belong together, and the key must not be encrypted."
            yield Finding("tls.cert", f"certificate and key cannot be used: {_reason(error)}", hint)
    if tls.client_ca is not None and tls.cert is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except (ssl.SSLError, OSError, ValueError) as error:
            yield Finding("tls.client_ca", f"certificates cannot be used: {_reason(error)}")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return str(reason).lower().replace("_", " ")


def _check_auth(settings: Settings) -> Iterator[Finding]:
    for number, rule in enumerate(settings.auth.rules, 1):
        key = f"auth.rule[{number}]"
        if rule.address not in _WORDS:
            try:
                ipaddress.ip_network(rule.address)
            except ValueError as error:
                hint = 'Write "loopback", "all", or a network such as "10.0.0.0/8".'
                yield Finding(f"{key}.address", f"is not a network: {error}", hint)
        if rule.method == "cert" and settings.tls.client_ca is None:
            yield Finding(f"{key}.method", "cert needs tls.client_ca", other="tls.client_ca")
        if rule.kind == "tls" and settings.tls.cert is None:
            yield Finding(f"{key}.kind", "tls needs tls.cert and tls.key", other="tls.cert")
        if not rule.user:
            yield Finding(f"{key}.user", "must not be empty", 'Write "all" for every user.')
    seen: Counter[str] = Counter()
    for number, user in enumerate(settings.auth.users, 1):
        key = f"auth.user[{number}]"
        seen[user.name] += 1
        if not user.name or user.name == "all":
            yield Finding(f"{key}.name", f'"{user.name}" cannot be the name of a user')
        elif seen[user.name] == 2:
            yield Finding(f"{key}.name", f'user "{user.name}" is given twice')
        if (user.password is None) == (user.verifier is None):
            yield Finding(key, "needs either password or verifier")


def _check_private_pg(settings: Settings) -> Iterator[Finding]:
    private_pg = settings.private_pg
    if private_pg.restart_backoff_min > private_pg.restart_backoff_max:
        yield Finding(
            "private_pg.restart_backoff_min",
            "must not exceed private_pg.restart_backoff_max",
            other="private_pg.restart_backoff_max",
        )
    if not private_pg.binaries:
        yield Finding("private_pg.binaries", 'must be "wheel" or a directory')
    elif private_pg.binaries != "wheel" and not Path(private_pg.binaries, "postgres").is_file():
        message = f'no program "postgres" in "{private_pg.binaries}"'
        yield Finding(
            "private_pg.binaries", message, "Name the bin directory of PostgreSQL 18 or newer."
        )


def _check_changes(settings: Settings) -> Iterator[Finding]:
    changes = settings.changes
    if changes.backoff_min > changes.backoff_max:
        yield Finding(
            "changes.backoff_min",
            "must not exceed changes.backoff_max",
            other="changes.backoff_max",
        )


def _check_validation(settings: Settings) -> Iterator[Finding]:
    try:
        parse_severities(settings.validation.severities)
    except InvalidParameterValue as error:
        yield Finding("validation.severities", error.primary, error.hint)


def _check_instances(settings: Settings) -> Iterator[Finding]:
    names: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for number, instance in enumerate(settings.instances, 1):
        key = f"instance[{number}]"
        names[instance.name] += 1
        kinds[instance.kind] += 1
        if not instance.name:
            yield Finding(f"{key}.name", "must not be empty")
        elif names[instance.name] == 2:
            yield Finding(f"{key}.name", f'instance "{instance.name}" is given twice')
        if instance.kind == "embedded":
            yield from _check_embedded(key, instance)
            if kinds["embedded"] == 2:
                yield Finding(f"{key}.kind", "only one instance can be embedded")
        else:
            yield from _check_store(key, instance)


def _check_embedded(key: str, instance: InstanceSettings) -> Iterator[Finding]:
    given = (field.key for field in fields_of(InstanceSettings)[2:])
    for name in given:
        if getattr(instance, name):
            yield Finding(f"{key}.{name}", f'an embedded instance has no "{name}"')


def _check_store(key: str, instance: InstanceSettings) -> Iterator[Finding]:
    if instance.name == "embedded":
        yield Finding(f"{key}.name", 'only the embedded store is called "embedded"')
    if instance.dsn is None and not instance.host:
        yield Finding(key, 'has neither "dsn" nor "host"')
    if instance.dsn is not None and instance.host:
        yield Finding(f"{key}.host", "must not be given together with dsn", other=f"{key}.dsn")
    try:
        parse_options(instance.options)
    except InvalidParameterValue as error:
        yield Finding(f"{key}.options", error.primary, error.hint)
