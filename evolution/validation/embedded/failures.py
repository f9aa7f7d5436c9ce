"""Errors of the private PostgreSQL while validating, as Morphgres's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from core.errors import ConnectionFailure, MorphError, QueryCanceled

BROKEN: Final = (OSError, EOFError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def as_morph_error(error: BaseException) -> MorphError:
    """The error with its own SQLSTATE; ConnectionFailure (08006) when the connection is gone,
    QueryCanceled (57014) at a deadline.
    """
    if isinstance(error, MorphError):
        return error
    if isinstance(error, TimeoutError):
        return QueryCanceled("the private PostgreSQL did not answer a validation in time")
    if isinstance(error, asyncpg.PostgresError) and not isinstance(
        error, asyncpg.ConnectionDoesNotExistError
    ):
        made = MorphError(str(error), detail=error.detail or "", hint=error.hint or "")
        made.sqlstate = error.sqlstate or made.sqlstate  # type: ignore[misc]
        return made
    return ConnectionFailure(f"lost the private PostgreSQL while validating: {error}")


@contextmanager
def translated() -> Iterator[None]:
    """Errors of asyncpg inside as MorphError."""
    try:
        yield
    except (asyncpg.PostgresError, *BROKEN, TimeoutError) as error:
        raise as_morph_error(error) from error
