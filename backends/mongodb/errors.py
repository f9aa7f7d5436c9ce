"""Errors of pymongo as Morphgres' own, with the instance's name.

Codes: MongoDB manual, "Error Codes" (mongo/base/error_codes.yml).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bson.errors import BSONError, InvalidDocument
from pymongo import errors as driver

from core.errors import (
    CannotConnect,
    ConnectionFailure,
    DiskFull,
    InsufficientPrivilege,
    InvalidParameterValue,
    InvalidTableDefinition,
    MorphError,
    ProgramLimitExceeded,
    QueryCanceled,
    SerializationFailure,
    StoreError,
    StoreLoginRefused,
    UndefinedTable,
    UniqueViolation,
)

TRANSIENT: Final = "TransientTransactionError"
UNKNOWN_COMMIT: Final = "UnknownTransactionCommitResult"
DUPLICATE_KEY: Final = 11000
UNAUTHORIZED: Final = 13
COMMAND_NOT_FOUND: Final = 59

_BY_CODE: Final[dict[int, type[MorphError]]] = {
    UNAUTHORIZED: InsufficientPrivilege,
    18: StoreLoginRefused,  # AuthenticationFailed
    26: UndefinedTable,  # NamespaceNotFound
    43: ConnectionFailure,  # CursorNotFound: what was to come cannot be had any more
    50: QueryCanceled,  # MaxTimeMSExpired
    112: SerializationFailure,  # WriteConflict
    136: ConnectionFailure,  # CappedPositionLost
    166: InvalidTableDefinition,  # CommandNotSupportedOnView
    175: ConnectionFailure,  # QueryPlanKilled: the collection was dropped or renamed
    225: SerializationFailure,  # TransactionTooOld
    237: QueryCanceled,  # CursorKilled
    251: SerializationFailure,  # NoSuchTransaction
    262: QueryCanceled,  # ExceededTimeLimit
    10334: ProgramLimitExceeded,  # BSONObjectTooLarge
    DUPLICATE_KEY: UniqueViolation,
    11600: ConnectionFailure,  # InterruptedAtShutdown
    11601: QueryCanceled,  # Interrupted
    11602: ConnectionFailure,  # InterruptedDueToReplStateChange
    14031: DiskFull,  # OutOfDiskSpace
    17280: ProgramLimitExceeded,  # KeyTooLong
}


@contextmanager
def translated(instance: str, what: str = "") -> Iterator[None]:
    """Errors of the driver that are raised inside, as the seam's; `what` names the table.

    A deadline that passes inside (asyncio.timeout_at) is QueryCanceled.
    """
    try:
        yield
    except TimeoutError as error:
        raise QueryCanceled(
            f'canceling statement due to the time limit of instance "{instance}"'
        ) from error
    except driver.PyMongoError as error:
        raise translate(instance, error, what) from error
    except driver.DocumentTooLarge as error:
        raise ProgramLimitExceeded(
            f'a document is too large for instance "{instance}"', detail=str(error)
        ) from error
    except InvalidDocument as error:
        raise InvalidParameterValue(
            f'a document cannot be stored in instance "{instance}"', detail=str(error)
        ) from error
    except BSONError as error:
        raise StoreError(f'instance "{instance}" sent invalid BSON', detail=str(error)) from error


def translate(instance: str, error: driver.PyMongoError, what: str = "") -> MorphError:
    """The error of the seam for an error of the driver."""
    place = f' "{what}" of' if what else ""
    if isinstance(error, driver.ServerSelectionTimeoutError):
        return CannotConnect(f'could not connect to instance "{instance}"', detail=_text(error))
    if isinstance(error, driver.OperationFailure):
        return _failure(instance, error, place)
    if isinstance(error, driver.ConnectionFailure):
        return ConnectionFailure(f'connection to instance "{instance}" failed', detail=_text(error))
    if isinstance(error, driver.ConfigurationError | driver.InvalidURI):
        return CannotConnect(f'could not connect to instance "{instance}"', detail=_text(error))
    return StoreError(f'instance "{instance}" failed', detail=_text(error))


def _failure(instance: str, error: driver.OperationFailure, place: str) -> MorphError:
    code = error.code or 0
    detail = _text(error)
    if error.has_error_label(TRANSIENT) and code not in _BY_CODE:
        return SerializationFailure(
            f'could not serialize access to{place} instance "{instance}"', detail=detail
        )
    kind = _BY_CODE.get(code)
    if code == COMMAND_NOT_FOUND and "sasl" in detail:
        kind = StoreLoginRefused  # a server without logins
    if code == UNAUTHORIZED and "requires authentication" in detail:
        kind = StoreLoginRefused  # nobody was logged in
    if kind is None:
        return StoreError(f'instance "{instance}" answered with an error', detail=detail)
    messages: dict[type[MorphError], str] = {
        StoreLoginRefused: f'instance "{instance}" refused the login',
        InsufficientPrivilege: f'permission denied at{place} instance "{instance}"',
        UndefinedTable: f'collection{place} instance "{instance}" does not exist',
        ConnectionFailure: f'instance "{instance}" broke off the scan',
        SerializationFailure: f'could not serialize access to{place} instance "{instance}"',
        UniqueViolation: f'duplicate key value violates a unique index of instance "{instance}"',
        QueryCanceled: f'canceling statement: instance "{instance}" stopped it',
    }
    return kind(messages.get(kind, f'instance "{instance}" refused the command'), detail=detail)


def _text(error: driver.PyMongoError) -> str:
    """The server's words without the whole answer that pymongo appends."""
    return str(error).split(", full error:", 1)[0].split(", Timeout:", 1)[0]
