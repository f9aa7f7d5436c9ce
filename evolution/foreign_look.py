"""Looks into a store for DDL: what IMPORT FOREIGN SCHEMA finds, and what the columns of CREATE
FOREIGN TABLE are there. It is done before the catalog is locked, and with a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backends.base import Description, NativeTable, Scope, StoreBackend
from catalog.instances import Instance
from core.errors import (
    InvalidAuthorization,
    MorphError,
    QueryCanceled,
    StoreLoginRefused,
    UndefinedTable,
)
from engine.instances import Instances
from evolution.foreign_alter import place_after
from evolution.foreign_options import given_options, placement
from evolution.servers import find_instance
from evolution.transaction import Transaction
from rewrite.namespaces import Namespaces
from rewrite.tree import Node, ast

DESCRIBED_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Look:
    """What was found: `tables` for an import with the names of LIMIT TO that are not there, the
    `description` for a new foreign table, or the `problem` that it has none.
    """

    tables: tuple[tuple[NativeTable, Description], ...] = ()
    missing: tuple[str, ...] = ()
    description: Description | None = None
    problem: MorphError | None = None


def needs_look(node: Node) -> bool:
    """Whether a statement asks a store before it changes the catalog."""
    if isinstance(node, ast.AlterTableStmt):
        kinds = {command.subtype.name for command in node.cmds}
        return node.objtype.name == "OBJECT_FOREIGN_TABLE" and bool(kinds & _ABOUT_PLACES)
    return isinstance(node, (ast.ImportForeignSchemaStmt, ast.CreateForeignTableStmt))


_ABOUT_PLACES = frozenset(("AT_GenericOptions", "AT_AlterColumnGenericOptions", "AT_AddColumn"))


async def look(tx: Transaction, instances: Instances, node: Node, namespaces: Namespaces) -> Look:
    """Ask the store that the statement names."""
    if isinstance(node, ast.AlterTableStmt):
        return await _look_again(tx, instances, node, namespaces)
    if isinstance(node, ast.ImportForeignSchemaStmt):
        instance = await find_instance(tx, node.server_name)
        return await _answered(instances, _look_at_schema(instances, instance, node))
    instance = await find_instance(tx, node.servername)
    relation = node.base.relation
    place = placement(instance, given_options(node.options), relation.relname)
    try:
        return await _answered(instances, _look_at_table(instances, instance, place.native))
    except MorphError as error:
        return Look(problem=error)


async def _look_again(
    tx: Transaction, instances: Instances, node: Node, namespaces: Namespaces
) -> Look:
    """The table where ALTER FOREIGN TABLE puts it."""
    found = namespaces.resolve(node.relation.schemaname, node.relation.relname)
    if found is None or not found.table.instance:
        return Look()
    instance = await find_instance(tx, found.table.instance)
    native = place_after(found.table, instance, node.cmds).native
    try:
        return await _answered(instances, _look_at_table(instances, instance, native))
    except MorphError as error:
        return Look(problem=error)


async def _answered(instances: Instances, work: Awaitable[Look]) -> Look:
    timeout = instances.describe_timeout
    try:
        async with asyncio.timeout(timeout):
            return await work
    except TimeoutError:
        raise QueryCanceled(
            f"the store did not answer within {timeout:g} s", hint="See stores.describe_timeout."
        ) from None
    except StoreLoginRefused:
        raise
    except InvalidAuthorization as error:
        # Its severity would end the client's own session.
        raise StoreLoginRefused(error.primary, detail=error.detail, hint=error.hint) from error


@asynccontextmanager
async def _store(instances: Instances, instance: Instance) -> AsyncIterator[StoreBackend]:
    """The instance's backend; one of our own when this transaction made or altered it."""
    committed = await instances.committed(instance.name)
    if committed == instance:
        yield await instances.backend(instance.name)
        return
    backend = instances.prepare(instance)
    try:
        yield backend
    finally:
        with contextlib.suppress(MorphError, OSError):
            await backend.close()


def _scope(instances: Instances) -> Scope:
    return Scope(deadline=asyncio.get_running_loop().time() + instances.describe_timeout)


async def _look_at_table(instances: Instances, instance: Instance, native: tuple[str, ...]) -> Look:
    async with _store(instances, instance) as store:
        return Look(description=await store.describe(native, _scope(instances)))


async def _look_at_schema(instances: Instances, instance: Instance, node: Node) -> Look:
    scope = _scope(instances)
    async with _store(instances, instance) as store:
        found = await store.list_tables(node.remote_schema, scope)
        listed = [item.relname for item in node.table_list or ()]
        kind = node.list_type.name
        there = {each.native[-1] for each in found}
        missing: tuple[str, ...] = ()
        if kind == "FDW_IMPORT_SCHEMA_LIMIT_TO":
            missing = tuple(name for name in listed if name not in there)
            found = tuple(each for each in found if each.native[-1] in listed)
        elif kind == "FDW_IMPORT_SCHEMA_EXCEPT":
            found = tuple(each for each in found if each.native[-1] not in listed)
        limit = asyncio.Semaphore(DESCRIBED_AT_ONCE)

        async def describe(table: NativeTable) -> Description | None:
            async with limit:
                try:
                    return await store.describe(table.native, scope)
                except UndefinedTable:
                    return None  # dropped since it was listed

        described = await asyncio.gather(*(describe(each) for each in found))
    pairs = zip(found, described, strict=True)
    return Look(tuple((table, seen) for table, seen in pairs if seen is not None), missing)
