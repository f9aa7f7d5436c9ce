"""Wishes about a change (evolution/changes/requests.py), and waiting until they came true.

Used by CALL morph.promote, … of a session and by `morphgres change` on the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from catalog.model import CatalogSnapshot
from core.errors import CrashShutdown, ObjectNotInPrerequisiteState
from evolution.changes import events, requests
from evolution.changes.controller import FAULTS, ConnectionCatalog
from evolution.changes.driver import read_snapshot
from evolution.changes.in_flight import beside_changes
from evolution.changes.records import (
    CHANGE_CHANNEL,
    Note,
    Record,
    kept_by,
    load_record,
    load_records,
    lock_statement,
    move,
)
from evolution.changes.requests import Wish
from evolution.changes.states import Phase
from evolution.ddl import LOCK_CATALOG
from evolution.lifecycle import give_up, line
from evolution.transaction import Transaction

LOOK_S: Final = 1.0
WITHDRAW_S: Final = 10.0
_BROKEN: Final = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError, TimeoutError)
Told = Callable[[Record], None]


async def locked(tx: Transaction, number: int) -> Record:
    """The record, which nobody else moves until the transaction ends."""
    await tx.apply([lock_statement(number)])
    return await load_record(tx, number)


async def fulfil(
    connect: Callable[[], Awaitable[asyncpg.Connection]], wish: Wish, actor: str, told: Told
) -> None:
    """Write a wish and wait until it came true; `told` gets the record at each new state. When
    the wait is cancelled, the wish is taken back.

    Raises ObjectNotInPrerequisiteState (55000) when it cannot come true or was given up, and
    CrashShutdown (57P02) when the private PostgreSQL is gone.
    """
    try:
        connection = await connect()
        try:
            await _look_until(connection, wish, actor, told)
        finally:
            connection.terminate()
    except _BROKEN as error:
        raise CrashShutdown("the private PostgreSQL is not there") from error


async def _look_until(connection: asyncpg.Connection, wish: Wish, actor: str, told: Told) -> None:
    news = asyncio.Event()
    catalog = ConnectionCatalog(connection)
    await connection.add_listener(CHANGE_CHANNEL, lambda *_: news.set())
    async with catalog.transaction() as tx:
        if wish.wanted == requests.DISCARD:
            await tx.apply([LOCK_CATALOG])  # before any record, as a cut-over does
        record = await locked(tx, wish.change_id)
        await _begin(tx, record, wish, actor)
    shown = record.phase
    try:
        while True:
            async with catalog.transaction() as tx:
                record = await load_record(tx, wish.change_id)
            if requests.fulfilled(record, wish):
                return
            if record.phase is not shown:
                shown = record.phase
                told(record)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await news.wait()
            news.clear()
    except asyncio.CancelledError:
        await asyncio.shield(_withdraw(catalog, wish))
        raise


async def _begin(tx: Transaction, record: Record, wish: Wish, actor: str) -> None:
    requests.check(record, wish.wanted)
    if wish.wanted == requests.PROMOTE:
        await _require_free(tx, record)
    if wish.wanted != requests.DISCARD:
        await tx.apply(requests.wish_statements(wish))
    elif record.phase is not Phase.DISCARDED:
        await _discard(tx, record, actor)


async def _require_free(tx: Transaction, record: Record) -> None:
    """ObjectNotInPrerequisiteState (55000) when another change has to be ended by somebody before
    this one can begin.
    """
    kept = kept_by(await load_records(tx), record)
    if kept and record.phase is Phase.ANALYZED:
        raise ObjectNotInPrerequisiteState(
            f"change {record.change_id} cannot begin while change {kept} keeps two layouts of a "
            "table",
            hint=f"CALL morph.contract({kept}) gives up its rollback.",
        )


async def _discard(tx: Transaction, record: Record, actor: str) -> None:
    """Give the change up; DDL goes on from the version before it."""
    snapshot = await read_snapshot(tx)
    number = record.change_id
    if snapshot.current in line_after(snapshot, number):
        raise requests.refused(
            record,
            "discarded while its version is current",
            f"CALL morph.rollback({number}) first.",
        )
    note = Note(actor, f"discarded by {actor}", wanted="")
    await move(tx, record, events.Discard(actor), note)
    if number in snapshot.versions:
        await beside_changes(tx, lambda each: give_up(each, snapshot, number), apart=number)


def line_after(snapshot: CatalogSnapshot, number: int) -> set[int]:
    """The version and all that were made from it."""
    return {n for n in snapshot.versions if number in line(snapshot, n)}


async def _withdraw(catalog: ConnectionCatalog, wish: Wish) -> None:
    if wish.wanted == requests.DISCARD:
        return
    with contextlib.suppress(*FAULTS):
        async with asyncio.timeout(WITHDRAW_S), catalog.transaction() as tx:
            await tx.apply([requests.withdraw_statement(wish)])
