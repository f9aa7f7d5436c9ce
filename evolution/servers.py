"""Instances by SQL: CREATE, ALTER and DROP SERVER, user mappings, CALL morph.add_instance.

An instance is a row of the catalog, and a server of PostgreSQL's own catalogs that mirrors it (see
catalog/shapes.py). All roles use one login to it, that of FOR PUBLIC. What is registered here can
be connected to when the transaction has committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from backends.stores import KINDS
from catalog.instances import (
    INSTANCES_QUERY,
    Instance,
    forget_health_statement,
    instances_from_rows,
    option_pairs,
    remove_statement,
    save_statement,
)
from catalog.model import Table, Version
from catalog.shapes import alter_server_statements, drop_server_statement, server_statements
from config.connection import check_option, usual_name
from core.errors import (
    DependentObjectsStillExist,
    DuplicateObject,
    FeatureNotSupported,
    InvalidParameterValue,
    MorphError,
    ObjectNotInPrerequisiteState,
    UndefinedObject,
)
from engine.instances import Instances
from evolution.dependents import dependent_views
from evolution.publish import Operation, drop_table_statements, publish_in_place
from evolution.request import DdlRequest, Note, Outcome
from evolution.transaction import Transaction
from rewrite.tree import Node

LOGIN_OPTIONS = frozenset(("user", "password_ref"))
NAME_BYTES_MAX = 63


class Skipped(Note, sqlstate="42710"):
    """IF NOT EXISTS found the object."""


async def read_instances(tx: Transaction) -> dict[str, Instance]:
    """The instances as the transaction sees them, by name."""
    return {each.name: each for each in instances_from_rows(await tx.fetch(INSTANCES_QUERY))}


async def find_instance(tx: Transaction, name: str) -> Instance:
    """An instance with tables of its own; UndefinedObject (42704) when there is none."""
    found = (await read_instances(tx)).get(name)
    if found is None or found.origin == "built in":
        raise UndefinedObject(f'server "{name}" does not exist')
    return found


def _registry(request: DdlRequest) -> Instances:
    if request.instances is None:
        raise FeatureNotSupported("servers cannot be registered here")
    request.instances.require_sql()
    return request.instances


async def _owned(request: DdlRequest, name: str) -> Instance:
    """An instance that SQL may change."""
    instance = await find_instance(request.tx, name)
    if instance.origin == "config":
        raise ObjectNotInPrerequisiteState(
            f'server "{name}" is registered in the configuration',
            hint="Change its [[instance]] there, and restart.",
        )
    return instance


def changed_options(
    old: Iterable[tuple[str, str]], elements: Iterable[Node] | None
) -> tuple[tuple[str, str], ...]:
    """Options after the ADD, SET and DROP of OPTIONS (…), as PostgreSQL does it: DuplicateObject
    (42710) for one that is there already, UndefinedObject (42704) for one that is not.
    """
    options = dict(old)
    for element in elements or ():
        action = element.defaction.name
        given = element.defname
        dropped = action == "DEFELEM_DROP"
        name, value = (usual_name(given), "") if dropped else check_option(given, element.arg.sval)
        if action in ("DEFELEM_DROP", "DEFELEM_SET") and name not in options:
            raise UndefinedObject(f'option "{given}" not found')
        if action in ("DEFELEM_ADD", "DEFELEM_UNSPEC") and name in options:
            raise DuplicateObject(f'option "{given}" provided more than once')
        if action == "DEFELEM_DROP":
            del options[name]
        else:
            options[name] = value
    return option_pairs(options)


def _new(name: str, kind: str) -> Instance:
    if kind not in KINDS:
        raise UndefinedObject(
            f'foreign-data wrapper "{kind}" does not exist', hint=f"There are {', '.join(KINDS)}."
        )
    return Instance(name, kind, "sql")


async def _publish(request: DdlRequest, statements: list[str], kind: str, name: str) -> Outcome:
    operation = Operation(kind, name, request.statement, actor=request.actor)
    fresh = await publish_in_place(
        request.tx,
        request.snapshot,
        {},
        statements,
        [operation],
        next_id=request.snapshot.next_id,
    )
    return Outcome(fresh, kind.upper())


async def _register(request: DdlRequest, instance: Instance) -> Outcome:
    _registry(request).permit(instance)
    statements = [
        save_statement(instance),
        forget_health_statement(instance.name),
        *server_statements(instance),
    ]
    return await _publish(request, statements, "create server", instance.name)


async def _change(request: DdlRequest, old: Instance, new: Instance, kind: str) -> Outcome:
    _registry(request).permit(new)
    statements = [
        save_statement(new),
        forget_health_statement(new.name),
        *alter_server_statements(old, new),
    ]
    return await _publish(request, statements, kind, new.name)


# ------------------------------------------------------------------ servers


async def create_server(request: DdlRequest) -> Outcome:
    """CREATE SERVER [IF NOT EXISTS] … FOREIGN DATA WRAPPER … OPTIONS (…)."""
    node = request.node
    _registry(request)
    if node.servertype is not None or node.version is not None:
        raise FeatureNotSupported(
            "TYPE and VERSION of a server are not supported",
            hint="The server says itself what it is: see morph.instances.",
        )
    instance = _new(node.servername, node.fdwname)
    if instance.name in await read_instances(request.tx):
        message = f'server "{instance.name}" already exists'
        if node.if_not_exists:
            return request.skipped("CREATE SERVER", message, Skipped)
        raise DuplicateObject(message)
    return await _register(request, replace(instance, options=changed_options((), node.options)))


async def alter_server(request: DdlRequest) -> Outcome:
    """ALTER SERVER … OPTIONS (…)."""
    node = request.node
    _registry(request)
    if node.has_version:
        raise FeatureNotSupported("the VERSION of a server is not supported")
    old = await _owned(request, node.servername)
    new = replace(old, options=changed_options(old.options, node.options))
    return await _change(request, old, new, "alter server")


async def drop_servers(request: DdlRequest) -> Outcome:
    """DROP SERVER [IF EXISTS] … [CASCADE]."""
    node = request.node
    _registry(request)
    known = await read_instances(request.tx)
    notices: list[MorphError] = []
    gone: list[Instance] = []
    for item in node.objects:
        if item.sval not in known or known[item.sval].origin == "built in":
            missing = f'server "{item.sval}" does not exist'
            if not node.missing_ok:
                raise UndefinedObject(missing)
            notices.append(Note(f"{missing}, skipping"))
        else:
            gone.append(await _owned(request, item.sval))
    if not gone:
        return Outcome(request.snapshot, "DROP SERVER", tuple(notices))
    cascade = node.behavior.name == "DROP_CASCADE"
    dropped = await remove(request, gone, cascade=cascade)
    return replace(dropped, tag="DROP SERVER", notices=(*notices, *dropped.notices))


async def remove(request: DdlRequest, gone: list[Instance], *, cascade: bool) -> Outcome:
    """Forget instances, and with `cascade` their logins and tables, in every version."""
    versions: dict[int, Version] = {}
    statements: list[str] = []
    dependents: dict[str, None] = {}
    names = {each.name for each in gone}
    for instance in gone:
        if instance.login is not None:
            text = f"user mapping for public on server {instance.name}"
            dependents[f"{text} depends on server {instance.name}"] = None
    for number, version in request.snapshot.versions.items():
        tables = [t for t in version.tables if t.instance in names]
        for table in tables:
            dependents[f"foreign table {table.name} depends on server {table.instance}"] = None
        views = dependent_views(request.snapshot, version, {t.id for t in tables})
        for view in views:
            dependents[f"view {view.name} depends on a foreign table"] = None
        if tables:
            versions[number] = _without(version, [*tables, *views])
            statements += drop_table_statements(request.snapshot, version, [*tables, *views])
    if dependents and not cascade:
        listed = ", ".join(sorted(names))
        raise DependentObjectsStillExist(
            f"cannot drop server {listed} because other objects depend on it",
            detail="\n".join(dependents),
            hint="Use DROP ... CASCADE to drop the dependent objects too.",
        )
    for instance in gone:
        statements += [
            remove_statement(instance.name),
            forget_health_statement(instance.name),
            drop_server_statement(instance.name),
        ]
    operations = [
        Operation("drop server", name, request.statement, actor=request.actor) for name in names
    ]
    fresh = await publish_in_place(
        request.tx,
        request.snapshot,
        versions,
        statements,
        operations,
        next_id=request.snapshot.next_id,
    )
    return Outcome(fresh, "", _cascaded(dependents))


def _without(version: Version, tables: list[Table]) -> Version:
    for table in tables:
        version = version.without_table(table.id)
    return version


def _cascaded(dependents: Iterable[str]) -> tuple[Note, ...]:
    lines = [f"drop cascades to {text.partition(' depends on')[0]}" for text in dependents]
    if len(lines) > 1:
        return (Note(f"drop cascades to {len(lines)} other objects", detail="\n".join(lines)),)
    return tuple(Note(line) for line in lines)


# ------------------------------------------------------------------ user mappings


def _require_public(node: Node) -> None:
    if node.user.roletype.name != "ROLESPEC_PUBLIC":
        raise FeatureNotSupported(
            "user mappings of single roles are not supported",
            detail="All roles share one login to a server.",
            hint="Write FOR PUBLIC.",
        )


async def create_user_mapping(request: DdlRequest) -> Outcome:
    """CREATE USER MAPPING [IF NOT EXISTS] FOR PUBLIC SERVER … OPTIONS (…)."""
    node = request.node
    _registry(request)
    _require_public(node)
    old = await _owned(request, node.servername)
    if old.login is not None:
        message = f'user mapping for "public" already exists for server "{old.name}"'
        if node.if_not_exists:
            return request.skipped("CREATE USER MAPPING", message, Skipped)
        raise DuplicateObject(message)
    new = replace(old, login=changed_options((), node.options))
    return await _change(request, old, new, "create user mapping")


async def alter_user_mapping(request: DdlRequest) -> Outcome:
    """ALTER USER MAPPING FOR PUBLIC SERVER … OPTIONS (…)."""
    node = request.node
    _registry(request)
    _require_public(node)
    old = await _owned(request, node.servername)
    if old.login is None:
        raise _no_mapping(old.name)
    new = replace(old, login=changed_options(old.login, node.options))
    return await _change(request, old, new, "alter user mapping")


async def drop_user_mapping(request: DdlRequest) -> Outcome:
    """DROP USER MAPPING [IF EXISTS] FOR PUBLIC SERVER …."""
    node = request.node
    _registry(request)
    _require_public(node)
    known = (await read_instances(request.tx)).get(node.servername)
    if known is None and node.missing_ok:
        message = f'server "{node.servername}" does not exist'
        return request.skipped("DROP USER MAPPING", message)
    old = await _owned(request, node.servername)
    if old.login is None:
        missing = _no_mapping(old.name)
        if node.missing_ok:
            return request.skipped("DROP USER MAPPING", missing.primary)
        raise missing
    return await _change(request, old, replace(old, login=None), "drop user mapping")


def _no_mapping(server: str) -> UndefinedObject:
    return UndefinedObject(f'user mapping for "public" does not exist for server "{server}"')


# ------------------------------------------------------------------ procedures


async def add_instance(request: DdlRequest, arguments: Mapping[str, str]) -> Outcome:
    """CALL morph.add_instance(name, kind, options): the same as CREATE SERVER with its mapping."""
    _registry(request)
    name = arguments["name"]
    if not name or len(name.encode()) > NAME_BYTES_MAX or "\0" in name:
        raise InvalidParameterValue(f"the name of an instance has 1 to {NAME_BYTES_MAX} bytes")
    if name in await read_instances(request.tx):
        raise DuplicateObject(f'server "{name}" already exists')
    options: dict[str, str] = {}
    for given, value in _json_options(arguments.get("options", "{}")).items():
        option, text = check_option(given, value)
        if option in options:
            raise DuplicateObject(f'option "{given}" provided more than once')
        options[option] = text
    login = {n: v for n, v in options.items() if n in LOGIN_OPTIONS}
    rest = {n: v for n, v in options.items() if n not in LOGIN_OPTIONS}
    instance = replace(
        _new(name, arguments["kind"]),
        options=option_pairs(rest),
        login=option_pairs(login) if login else None,
    )
    return replace(await _register(request, instance), tag="CALL")


def _json_options(text: str) -> dict[str, str]:
    try:
        options: Any = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise InvalidParameterValue("the options of an instance are a JSON object")
    texts = {}
    for name, value in options.items():
        if isinstance(value, bool):
            value = "true" if value else "false"
        if not isinstance(value, str | int | float):
            raise InvalidParameterValue(f'option "{name}" must be a text, a number or a boolean')
        texts[name] = str(value)
    return texts


async def drop_instance(request: DdlRequest, arguments: Mapping[str, str]) -> Outcome:
    """CALL morph.drop_instance(name): refused while tables lie in it; its login goes with it."""
    _registry(request)
    instance = await _owned(request, arguments["name"])
    without_login = replace(instance, login=None)
    return replace(await remove(request, [without_login], cascade=False), tag="CALL")
