"""Errors of a PostgreSQL server and of the way to it, as Morphgres's own.

What the server reports keeps its SQLSTATE, texts and names of objects; CONTEXT says which instance
it came from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from core.errors import (
    CannotConnect,
    ConnectionFailure,
    MorphError,
    NotNullViolation,
    QueryCanceled,
    ReadOnlyTransaction,
    SerializationFailure,
    StoreError,
    StoreLoginRefused,
    UndefinedTable,
    UniqueViolation,
)

_CLASSES: dict[str, type[MorphError]] = {
    "23502": NotNullViolation,
    "23505": UniqueViolation,
    "25006": ReadOnlyTransaction,
    "40001": SerializationFailure,
    "42P01": UndefinedTable,
    "57014": QueryCanceled,
}
_BROKEN = (
    OSError,
    EOFError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""How asyncpg says that a connection broke."""
_AWAY = ("57P01", "57P02", "57P03", "53300", "53400")
"""The server ends, starts or is full: nobody is to blame but the connection."""


@contextmanager
def translated(instance: str, *, connecting: bool = False) -> Iterator[None]:
    """Errors of asyncpg inside as Morphgres's.

    Raises CannotConnect (08001) and StoreLoginRefused (28000) while connecting, ConnectionFailure
    (08006) for a connection that broke, QueryCanceled (57014) at the deadline.
    """
    try:
        yield
    except MorphError:
        raise
    except asyncpg.PostgresError as error:
        raise of_server(instance, error, connecting=connecting) from error
    except TimeoutError as error:
        if connecting:
            raise CannotConnect(
                f'could not connect to server "{instance}"', detail="It does not answer."
            ) from error
        raise QueryCanceled(
            "canceling statement due to statement timeout",
            detail=f'Server "{instance}" did not answer in time.',
        ) from error
    except _BROKEN as error:
        if connecting:
            raise CannotConnect(
                f'could not connect to server "{instance}"', detail=f"{_reason(error)}."
            ) from error
        raise broken(instance, error) from error


def broken(instance: str, error: BaseException) -> ConnectionFailure:
    """The connection is gone."""
    return ConnectionFailure(
        f'connection to server "{instance}" was lost', detail=f"{_reason(error)}."
    )


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).rstrip(".").splitlines()[0]


def of_server(
    instance: str, error: asyncpg.PostgresError, *, connecting: bool = False
) -> MorphError:
    """What the server reported, as our error of the same SQLSTATE."""
    sqlstate = error.sqlstate or "58000"
    message = error.message if isinstance(getattr(error, "message", None), str) else str(error)
    detail, hint = error.detail or "", error.hint or ""
    if isinstance(error, asyncpg.ConnectionDoesNotExistError):
        return broken(instance, error)
    if sqlstate[:2] == "28":
        return StoreLoginRefused(
            f'server "{instance}" refused the login', detail=f"{message}.", hint=hint
        )
    if connecting:
        return CannotConnect(f'could not connect to server "{instance}"', detail=f"{message}.")
    if sqlstate in _AWAY or sqlstate[:2] == "08":
        return ConnectionFailure(
            f'connection to server "{instance}" was lost', detail=f"{message}."
        )
    made = _CLASSES.get(sqlstate, StoreError)(message, detail=detail, hint=hint)
    if made.sqlstate != sqlstate:
        made.sqlstate = sqlstate  # type: ignore[misc]
    fields = {
        "W": f'server "{instance}"',
        "s": error.schema_name,
        "t": error.table_name,
        "c": error.column_name,
        "d": error.data_type_name,
        "n": error.constraint_name,
    }
    made.fields.update({code: value for code, value in fields.items() if value})
    return made


def is_cancelled(error: BaseException) -> bool:
    """Whether the work was given up, not failed."""
    return isinstance(error, asyncio.CancelledError | GeneratorExit)
