"""Faults of the driver become SQL errors that name the instance (R0.4, issue 4)."""

from __future__ import annotations

from typing import Any

import cassandra
import pytest
from cassandra import ConsistencyLevel, WriteType
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException, ConnectionShutdown
from cassandra.policies import RetryPolicy
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
)

from backends.cassandra.faults import cannot_connect, to_error
from backends.cassandra.retries import RETRIES_MAX, CarefulRetries
from core.errors import ProgramLimitExceeded

QUORUM = ConsistencyLevel.QUORUM


def _failure(kind: Any, reason: int) -> BaseException:
    made: BaseException = kind(
        "failed",
        consistency=QUORUM,
        required_responses=2,
        received_responses=1,
        failures=1,
        error_code_map={"127.0.0.1": reason},
    )
    return made


def _timeout(kind: Any, **more: Any) -> BaseException:
    made: BaseException = kind(
        "late", consistency=QUORUM, required_responses=2, received_responses=1, **more
    )
    return made


def _error(kind: Any, code: int, message: str) -> BaseException:
    made: BaseException = kind(code, message, None)
    return made


FAULTS: tuple[tuple[BaseException, bool, str], ...] = (
    (cassandra.Unavailable("u", QUORUM, 2, 1), False, "08006"),
    (cassandra.Unavailable("u", QUORUM, 2, 1), True, "08006"),
    (_timeout(cassandra.ReadTimeout, data_retrieved=False), False, "57014"),
    (_timeout(cassandra.WriteTimeout, write_type=WriteType.SIMPLE), True, "40003"),
    (_timeout(cassandra.WriteTimeout, write_type=WriteType.CAS), True, "40003"),
    (_failure(cassandra.ReadFailure, 1), False, "53400"),
    (_failure(cassandra.ReadFailure, 2), False, "57014"),
    (_failure(cassandra.ReadFailure, 4), False, "53400"),
    (_failure(cassandra.ReadFailure, 6), False, "55000"),
    (_failure(cassandra.ReadFailure, 0), False, "58000"),
    (_failure(cassandra.WriteFailure, 0), True, "40003"),
    (cassandra.OperationTimedOut(), False, "57014"),
    (cassandra.OperationTimedOut(), True, "40003"),
    (cassandra.Unauthorized("no"), False, "42501"),
    (cassandra.AuthenticationFailed("no"), False, "28000"),
    (cassandra.InvalidRequest("unconfigured table t"), False, "42P01"),
    (cassandra.InvalidRequest("table t does not exist"), False, "42P01"),
    (cassandra.InvalidRequest("Keyspace 'k' does not exist"), False, "42P01"),
    (cassandra.InvalidRequest("Undefined column name c in table t"), False, "42703"),
    (cassandra.InvalidRequest("something else"), True, "58000"),
    (_error(OverloadedErrorMessage, 0x1001, "too much"), False, "53000"),
    (_error(IsBootstrappingErrorMessage, 0x1002, "wait"), True, "53000"),
    (_error(ErrorMessage, 0x1700, "unknown"), True, "40003"),
    (_error(ServerError, 0, "Unknown CF 83d0"), False, "42P01"),
    (ConnectionShutdown("closed"), False, "08006"),
    (ConnectionException("reset"), True, "40003"),
    (OSError("broken pipe"), False, "08006"),
    (NoHostAvailable("none", {}), False, "08006"),
    (NoHostAvailable("none", {}), True, "08006"),
    (NoHostAvailable("none", {"a": ConnectionShutdown("x")}), True, "40003"),
    (NoHostAvailable("none", {"a": cassandra.Unavailable("u", QUORUM, 2, 1)}), False, "08006"),
    (NoHostAvailable("none", {"a": cassandra.AuthenticationFailed("no")}), False, "28000"),
    (NoHostAvailable("none", ["a"]), False, "08006"),
    (ValueError("what"), False, "58000"),
    (_error(ErrorMessage, 0x1700, "unknown"), False, "57014"),
)


# R0.4: each fault has its SQLSTATE, and the message names the instance
@pytest.mark.parametrize(("fault", "writes", "sqlstate"), FAULTS)
def test_sqlstate(fault: BaseException, writes: bool, sqlstate: str) -> None:
    error = to_error(fault, "ring", writes=writes)
    assert error.sqlstate == sqlstate
    assert '"ring"' in error.primary
    assert error.detail == "" or error.detail.endswith(".")


# Issue 4: the consistency level is named where it is the reason
@pytest.mark.parametrize("number", [0, 2, 5, 30])
def test_consistency_level_is_named(number: int) -> None:
    error = to_error(FAULTS[number][0], "ring")
    assert "QUORUM" in f"{error.primary} {error.detail}"


def test_our_own_errors_pass() -> None:
    error = ProgramLimitExceeded("x")
    assert to_error(error, "ring") is error


# R0.4: the first connection: 08001, but a refused login stays 28000
def test_cannot_connect() -> None:
    assert cannot_connect(NoHostAvailable("none", {}), "ring").sqlstate == "08001"
    assert cannot_connect(cassandra.OperationTimedOut(), "ring").sqlstate == "08001"
    refused = NoHostAvailable("none", {"a": cassandra.AuthenticationFailed("no")})
    assert cannot_connect(refused, "ring").sqlstate == "28000"


class _Query:
    def __init__(self, is_idempotent: bool) -> None:
        self.is_idempotent = is_idempotent


# Issue 4: what may have been done is not done again
@pytest.mark.parametrize("idempotent", [False, True])
def test_retries(idempotent: bool) -> None:
    policy, query = CarefulRetries(), _Query(idempotent)
    again = RetryPolicy.RETRY if idempotent else RetryPolicy.RETHROW
    assert policy.on_write_timeout(query, QUORUM, WriteType.SIMPLE, 2, 1, 0)[0] == again
    assert policy.on_write_timeout(query, QUORUM, WriteType.CAS, 2, 1, 1)[0] == RetryPolicy.RETHROW
    next_host = RetryPolicy.RETRY_NEXT_HOST if idempotent else RetryPolicy.RETHROW
    lost = ConnectionShutdown("closed")
    assert policy.on_request_error(query, QUORUM, lost, 0)[0] == next_host
    assert policy.on_request_error(query, QUORUM, lost, RETRIES_MAX)[0] == RetryPolicy.RETHROW
    busy = _error(OverloadedErrorMessage, 0x1001, "too much")
    assert policy.on_request_error(query, QUORUM, busy, 0)[0] == RetryPolicy.RETRY_NEXT_HOST
    assert policy.on_unavailable(query, QUORUM, 2, 1, 0)[0] == RetryPolicy.RETRY_NEXT_HOST
    assert policy.on_unavailable(query, QUORUM, 2, 1, 1)[0] == RetryPolicy.RETHROW
    assert policy.on_read_timeout(query, QUORUM, 2, 2, False, 0)[0] == RetryPolicy.RETRY
    assert policy.on_read_timeout(query, QUORUM, 2, 1, False, 0)[0] == RetryPolicy.RETHROW
    assert policy.on_read_timeout(query, QUORUM, 2, 2, False, 1)[0] == RetryPolicy.RETHROW
