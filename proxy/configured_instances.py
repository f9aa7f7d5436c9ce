"""The instances of the configuration, brought into the catalog at every start.

An instance that left the configuration is forgotten; when foreign tables lie in it, it stays as one
that cannot be connected to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import asyncpg

from catalog.instances import (
    EMBEDDED,
    INSTANCES_QUERY,
    Instance,
    instances_from_rows,
    option_pairs,
    remove_statement,
    save_statement,
)
from catalog.shapes import alter_server_statements, drop_server_statement, server_statements
from config.connection import REFERENCE, parse_options
from config.instance import InstanceSettings
from core.errors import ConfigError
from core.telemetry.log import Log

LOG = Log("instances")
_TABLES = (
    "SELECT DISTINCT t->>'instance' FROM morph_catalog.versions v "
    "CROSS JOIN jsonb_array_elements(v.spec) t WHERE t->>'kind' = 'foreign'"
)


def configured(settings: InstanceSettings) -> Instance:
    """An instance of the configuration as the catalog keeps it."""
    options = parse_options(settings.options)
    for name in ("host", "database"):
        if value := getattr(settings, name):
            options[name] = value
    if settings.port:
        options["port"] = str(settings.port)
    if settings.dsn is not None:
        options[f"dsn{REFERENCE}"] = settings.dsn.reference
    login = {}
    if settings.user:
        login["user"] = settings.user
    if settings.password is not None:
        login[f"password{REFERENCE}"] = settings.password.reference
    return Instance(
        settings.name,
        settings.kind,
        "config",
        option_pairs(options),
        option_pairs(login) if login else None,
    )


async def register_instances(
    connection: asyncpg.Connection, settings: Iterable[InstanceSettings]
) -> None:
    """Make the catalog say what the configuration says. ConfigError (F0000) when an instance with
    tables changed its kind.
    """
    wanted = {each.name: configured(each) for each in settings if each.kind != EMBEDDED}
    async with connection.transaction():
        rows = await connection.fetch(INSTANCES_QUERY)
        known = {each.name: each for each in instances_from_rows(tuple(row) for row in rows)}
        used = {row[0] for row in await connection.fetch(_TABLES)}
        statements: list[str] = []
        for name, instance in wanted.items():
            statements += _bring_in(known.get(name), instance, in_use=name in used)
        for name, instance in known.items():
            if instance.origin == "config" and name not in wanted:
                statements += _take_out(instance, in_use=name in used)
        await connection.execute("SET LOCAL ROLE morph_owner")
        for statement in statements:
            await connection.execute(statement)


def _bring_in(old: Instance | None, new: Instance, *, in_use: bool) -> list[str]:
    if old == new:
        return []
    save = save_statement(new)
    if old is None:
        return [save, *server_statements(new)]
    if old.origin == "sql":
        LOG.warning("instances.taken_over", name=new.name)
    if old.kind == new.kind:
        return [save, *alter_server_statements(old, new)]
    if in_use:
        raise ConfigError(
            f'instance "{new.name}" is of kind {new.kind} now, its tables of {old.kind}',
            hint="Give the other store another name; or drop the tables first.",
        )
    return [save, drop_server_statement(new.name), *server_statements(new)]


def _take_out(instance: Instance, *, in_use: bool) -> list[str]:
    if in_use:
        LOG.warning("instances.gone", name=instance.name)
        return [save_statement(replace(instance, origin="gone"))]
    return [remove_statement(instance.name), drop_server_statement(instance.name)]
