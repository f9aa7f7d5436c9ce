"""The end of a transaction in several stores: one after the other, and an exact report when one of
them fails after another has committed.

What can still be refused without harm comes first: transactions that only read, then writes that
waited (a store without transactions may refuse one of them), then the transactions that wrote. As
long as nothing is committed, an error undoes everything and is the store's own. After that it is
40003 (statement_completion_unknown), or 08007 (transaction_resolution_unknown) when a store's
answer did not arrive; the detail says what is where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from backends.base import Scope
from core.errors import (
    MorphError,
    StatementCompletionUnknown,
    TransactionResolutionUnknown,
)
from proxy.logged_writes import LoggedWrites
from proxy.store_block import StoreWork

_HINT = "Look at the rows in the stores that are named before you run the transaction again."
_CANCELED = "It was canceled while the store worked on it."
_UNKNOWN = (TransactionResolutionUnknown, StatementCompletionUnknown)
"""Errors after which a write or COMMIT that was sent may have come to effect, or not."""


async def commit_all(
    works: Sequence[StoreWork],
    deadline: Callable[[], float],
    after: Sequence[str],
    logged: LoggedWrites,
) -> list[str]:
    """Commits; the names of the stores that have new rows now. `after` are what would be committed
    behind the stores. What is not committed when one fails is rolled back.
    """
    try:
        return await _commit_all(sorted(works, key=_rank), deadline, after, logged)
    finally:
        for work in works:
            work.release()


async def _commit_all(
    ordered: Sequence[StoreWork],
    deadline: Callable[[], float],
    after: Sequence[str],
    logged: LoggedWrites,
) -> list[str]:
    done: list[str] = []
    for number, work in enumerate(ordered):
        rest = ordered[number + 1 :]
        try:
            if work.transaction is None:
                await _write_waiting(work, deadline, logged)
            else:
                await work.transaction.commit(deadline())
        except (Exception, asyncio.CancelledError) as error:
            await roll_back_all(rest, deadline)
            left = [*(_name(each) for each in rest if each.wrote), *after]
            fault = error if isinstance(error, MorphError) else _unseen(error, _name(work))
            if done or (left and _unknown(fault)):
                raise _reported(fault, done, _name(work), left) from error
            if fault is error:
                raise
            raise fault from error
        if work.wrote:
            done.append(_name(work))
    return done


def _unseen(error: BaseException, name: str) -> MorphError:
    return TransactionResolutionUnknown(
        f"whether {name} committed is not known", detail=str(error) or _CANCELED
    )


def _rank(work: StoreWork) -> int:
    if not work.wrote:
        return 0
    return 1 if work.transaction is None else 2


def _name(work: StoreWork) -> str:
    return f'server "{work.backend.name}"'


async def _write_waiting(
    work: StoreWork, deadline: Callable[[], float], logged: LoggedWrites
) -> None:
    written = 0
    for each in work.waiting:
        try:
            result = await logged.apply(
                work.hold_of(each.table.id),
                work.author,
                work.backend,
                each.table,
                each.changes,
                Scope(deadline()),
            )
        except MorphError as error:
            if written:
                stays = f'{written} rows stay in server "{work.backend.name}".'
                detail = f"{error.primary} {error.detail} {stays}"
                kind = (
                    TransactionResolutionUnknown
                    if _unknown(error)
                    else (StatementCompletionUnknown)
                )
                raise kind(
                    f'the transaction was written to server "{work.backend.name}" in part',
                    detail=" ".join(detail.split()),
                    hint=_HINT,
                ) from error
            raise
        written += result.rows


def _unknown(error: MorphError) -> bool:
    return isinstance(error, _UNKNOWN)


def _reported(error: MorphError, done: Sequence[str], at: str, left: Sequence[str]) -> MorphError:
    said = " ".join(f"{error.primary} {error.detail}".split())
    if _unknown(error):
        return in_part(done, (at,), left, said)
    return in_part(done, (), (at, *left), said)


def in_part(
    done: Sequence[str], unknown: Sequence[str], left: Sequence[str], said: str
) -> MorphError:
    """The error of a transaction that was committed in some stores only."""
    kind = TransactionResolutionUnknown if unknown else StatementCompletionUnknown
    parts = [("Committed", done), ("Not known", unknown), ("Not committed", left)]
    listed = [f"{words}: {', '.join(names)}." for words, names in parts if names]
    primary = (
        "the transaction was committed in part"
        if done
        else "whether the transaction was committed in part is not known"
    )
    return kind(primary, detail=" ".join([*listed, said]), hint=_HINT)


async def roll_back_all(works: Sequence[StoreWork], deadline: Callable[[], float]) -> None:
    """Ends what is open, without effect."""
    for work in works:
        if work.transaction is not None:
            with suppress(MorphError):  # a store that cannot be reached rolls back by itself
                await work.transaction.rollback(deadline())
        work.release()
