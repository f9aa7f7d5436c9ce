"""From the driver's and the server's faults to SQL errors that name the instance.

A read that timed out is 57014, a node or replica that is not there 08006, a server that refuses for
its load or limits class 53, an unknown table 42P01. A write whose answer did not come is 40003: it
may have been done (Cassandra finishes what it accepted), so it must not be taken for failed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

import cassandra
from cassandra import ConsistencyLevel
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage, SyntaxException

from backends.cassandra.outages import NotSent
from core.errors import (
    CannotConnect,
    ConfigurationLimitExceeded,
    ConnectionFailure,
    InsufficientPrivilege,
    InsufficientResources,
    MorphError,
    ObjectNotInPrerequisiteState,
    QueryCanceled,
    StatementCompletionUnknown,
    StoreError,
    StoreLoginRefused,
    UndefinedColumn,
    UndefinedTable,
)

OVERLOADED: Final = 0x1001
BOOTSTRAPPING: Final = 0x1002
CAS_WRITE_UNKNOWN: Final = 0x1700
_TIMED_OUT: Final = 0x0002
_LIMITS: Final = {
    0x0001: ("more deleted rows", "tombstone_failure_threshold"),
    0x0004: ("larger rows", "local_read_size_fail_threshold"),
    0x0007: ("more index files", "sai_sstable_indexes_per_query_fail_threshold"),
}
_INDEX_NOT_AVAILABLE: Final = 0x0006
"""RequestFailureReason of Cassandra 5.0: what a replica says of why it failed."""
_ANSWERS: Final = (
    ErrorMessage,
    cassandra.RequestExecutionException,
    cassandra.RequestValidationException,
)
"""Faults that a node itself reported: they say more than that it did not answer."""
_NO_TABLE: Final = re.compile(
    r"unconfigured table|table \S+ does not exist|unknown cf ", re.IGNORECASE
)
_NO_KEYSPACE: Final = re.compile(r"keyspace '?\S+?'? does not exist", re.IGNORECASE)
_NO_COLUMN: Final = re.compile(r"undefined column name|unknown identifier", re.IGNORECASE)


def to_error(fault: BaseException, instance: str, *, writes: bool = False) -> MorphError:
    """The SQL error for a fault of the driver; `writes`: the request may have changed rows."""
    if isinstance(fault, MorphError):
        return fault
    where = f'Cassandra instance "{instance}"'
    if isinstance(fault, NoHostAvailable):
        return _no_host(fault, where, instance, writes and not isinstance(fault, NotSent))
    if writes and _is_open_ended(fault):
        return StatementCompletionUnknown(
            f"{where}: whether the write was done is not known", detail=_sentence(fault)
        )
    made = _of_request(fault, where)
    if made is not None:
        return made
    if isinstance(fault, ConnectionException | OSError | EOFError):
        return ConnectionFailure(f"{where}: the connection broke", detail=_sentence(fault))
    return _invalid(_message(fault), where)


def _is_open_ended(fault: BaseException) -> bool:
    """The request was sent, and how it ended is not known."""
    if isinstance(fault, ErrorMessage):
        return bool(fault.code == CAS_WRITE_UNKNOWN)
    return isinstance(
        fault,
        cassandra.WriteTimeout
        | cassandra.WriteFailure
        | cassandra.OperationTimedOut
        | ConnectionException
        | OSError,
    )


def _of_request(fault: BaseException, where: str) -> MorphError | None:
    if isinstance(fault, cassandra.Unavailable):
        return ConnectionFailure(
            f"{where}: consistency level {_level(fault)} cannot be reached",
            detail=f"Replicas needed: {fault.required_replicas}, alive: {fault.alive_replicas}.",
        )
    if isinstance(fault, cassandra.ReadTimeout | cassandra.WriteTimeout):
        return QueryCanceled(
            f"{where}: replicas did not answer in time at consistency level {_level(fault)}",
            detail=f"{fault.received_responses} of {fault.required_responses} answered.",
        )
    if isinstance(fault, cassandra.OperationTimedOut):
        return QueryCanceled(f"{where}: no answer within the deadline")
    if isinstance(fault, cassandra.ReadFailure | cassandra.WriteFailure):
        return _failure(fault, where)
    if isinstance(fault, cassandra.Unauthorized):
        return InsufficientPrivilege(f"{where}: {_message(fault)}")
    if isinstance(fault, cassandra.AuthenticationFailed):
        return StoreLoginRefused(f"{where} refused the login", detail=_sentence(fault))
    if isinstance(fault, cassandra.InvalidRequest | SyntaxException):
        return _invalid(_message(fault), where)
    if isinstance(fault, ErrorMessage) and fault.code == CAS_WRITE_UNKNOWN:
        return QueryCanceled(  # a SERIAL read, which ends the rounds of others first
            f"{where}: replicas did not settle in time what was being written",
            detail=_sentence(fault),
        )
    if isinstance(fault, ErrorMessage) and fault.code in (OVERLOADED, BOOTSTRAPPING):
        return InsufficientResources(f"{where} is overloaded", detail=_sentence(fault))
    return None


def _failure(fault: Any, where: str) -> MorphError:
    reasons = set((fault.error_code_map or {}).values())
    for reason in sorted(reasons & set(_LIMITS)):
        met, setting = _LIMITS[reason]
        return ConfigurationLimitExceeded(
            f"{where}: a read met {met} than Cassandra's limit",
            detail=f"The limit is {setting}; consistency level {_level(fault)}.",
            hint="Narrow the query, or have the limit raised in Cassandra.",
        )
    if _INDEX_NOT_AVAILABLE in reasons:
        return ObjectNotInPrerequisiteState(f"{where}: an index is not ready to answer")
    if _TIMED_OUT in reasons:
        return QueryCanceled(
            f"{where}: replicas did not answer in time at consistency level {_level(fault)}"
        )
    shown = ", ".join(sorted(f"0x{each:04x}" for each in reasons)) or "no reason given"
    return StoreError(
        f"{where}: {fault.failures} replicas failed at consistency level {_level(fault)}",
        detail=f"Reasons: {shown}.",
    )


def _invalid(message: str, where: str) -> MorphError:
    if _NO_TABLE.search(message) or _NO_KEYSPACE.search(message):
        return UndefinedTable(f"{where}: {message}")
    if _NO_COLUMN.search(message):
        return UndefinedColumn(f"{where}: {message}")
    return StoreError(f"{where}: {message}")


def _no_host(fault: NoHostAvailable, where: str, instance: str, writes: bool) -> MorphError:
    """Every node was tried; the first cause that says more than "down" decides."""
    tried = fault.errors
    causes = list(tried.values()) if isinstance(tried, dict) else []
    for cause in causes:
        if isinstance(cause, cassandra.AuthenticationFailed):
            return to_error(cause, instance)
    for cause in causes:
        if isinstance(cause, _ANSWERS) or (writes and _is_open_ended(cause)):
            known = cause.to_exception() if hasattr(cause, "to_exception") else cause
            return to_error(known, instance, writes=writes)
    shown = "; ".join(dict.fromkeys(_message(cause) for cause in causes)) or "no node is known"
    return ConnectionFailure(f"{where}: no node answered", detail=_full_stop(shown))


def cannot_connect(
    fault: BaseException, instance: str, local_dc: str = "", found: Collection[str] = ()
) -> MorphError:
    """The SQL error for a first connection that failed; `found` are its nodes' datacenters."""
    error = to_error(fault, instance)
    if isinstance(error, ConnectionFailure | StoreError | QueryCanceled):
        detail = error.detail or _full_stop(error.primary)
        if local_dc and found and local_dc not in found:
            there = ", ".join(sorted(found))
            detail = f'No node is in datacenter "{local_dc}" (option local_dc), only in {there}.'
        return CannotConnect(f'Cassandra instance "{instance}" cannot be reached', detail=detail)
    return error


def _level(fault: Any) -> str:
    return str(ConsistencyLevel.value_to_name.get(fault.consistency, "unknown"))


def _message(fault: BaseException) -> str:
    text = str(getattr(fault, "message", "") or fault or type(fault).__name__)
    match = re.search(r'message="(.*)"$', text, re.DOTALL)
    return match[1] if match else text


def _sentence(fault: BaseException) -> str:
    return _full_stop(_message(fault))


def _full_stop(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
