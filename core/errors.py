"""The error tree: every fault carries the SQLSTATE and the fields PostgreSQL would send.

One class per SQLSTATE that Morphgres itself raises; errors of the private PostgreSQL are passed on
as they came. Primary messages are lower case without a full stop, details and hints are sentences
(PostgreSQL manual, section 55.3 "Error Message Style Guide").
"""

from __future__ import annotations

from typing import ClassVar


class MorphError(Exception):
    """Base of all errors: `sqlstate` by class keyword, the rest are fields of the instance.

    `position` counts characters from 1 in the statement text as the client sent it.
    """

    sqlstate: ClassVar[str] = "XX000"
    severity: ClassVar[str] = "ERROR"

    def __init_subclass__(cls, sqlstate: str = "", severity: str = "") -> None:
        super().__init_subclass__()
        if sqlstate:
            cls.sqlstate = sqlstate
        if severity:
            cls.severity = severity

    def __init__(
        self,
        primary: str,
        *,
        detail: str = "",
        hint: str = "",
        position: int = 0,
        fields: dict[str, str] | None = None,
    ) -> None:
        super().__init__(primary)
        self.primary = primary
        self.detail = detail
        self.hint = hint
        self.position = position
        self.fields: dict[str, str] = fields or {}


class InternalError(MorphError, sqlstate="XX000"):
    """An invariant is gone; a user must not be able to cause this."""


class ProtocolViolation(MorphError, sqlstate="08P01", severity="FATAL"):
    """The client sent bytes that are not the protocol; the connection ends."""


class QueryProtocolError(MorphError, sqlstate="08P01"):
    """A protocol fault that PostgreSQL answers with ERROR and goes on from."""


class ConnectionFailure(MorphError, sqlstate="08006"):
    """A store could not be reached or broke off."""


class CannotConnect(ConnectionFailure, sqlstate="08001"):
    """No connection to a store could be made."""


class TransactionResolutionUnknown(MorphError, sqlstate="08007"):
    """A commit was sent and its answer did not arrive."""


class FeatureNotSupported(MorphError, sqlstate="0A000"):
    """What was asked cannot be done, and the message says why."""


class CachedPlanChanged(MorphError, sqlstate="0A000"):
    """A prepared statement's row description changed under it."""


class InvalidAuthorization(MorphError, sqlstate="28000", severity="FATAL"):
    """No such way in for this user, address or method."""


class StoreLoginRefused(InvalidAuthorization, sqlstate="28000", severity="ERROR"):
    """A store refused the login that its instance has; the client's own session goes on."""


class InvalidPassword(MorphError, sqlstate="28P01", severity="FATAL"):
    """Password authentication failed."""


class InvalidCatalogName(MorphError, sqlstate="3D000", severity="FATAL"):
    """The database does not exist."""


class TooManyConnections(MorphError, sqlstate="53300", severity="FATAL"):
    """The connection limit is reached."""


class DiskFull(MorphError, sqlstate="53100"):
    """No space left on the device that holds the data directory."""


class InsufficientResources(MorphError, sqlstate="53000"):
    """A store is overloaded and refuses more work for now."""


class OutOfMemory(MorphError, sqlstate="53200"):
    """A bounded buffer would outgrow its named limit."""


class ConfigurationLimitExceeded(MorphError, sqlstate="53400"):
    """A statement needs more than a setting lets it have."""


class ProgramLimitExceeded(MorphError, sqlstate="54000"):
    """A statement is larger or more complex than a named limit allows."""


class StatementTooComplex(MorphError, sqlstate="54001"):
    """An expression is nested deeper than the limit."""


class QueryCanceled(MorphError, sqlstate="57014"):
    """Cancelled by the client or by a timeout."""


class AdminShutdown(MorphError, sqlstate="57P01", severity="FATAL"):
    """The server is going down."""


class CrashShutdown(MorphError, sqlstate="57P02"):
    """The private PostgreSQL died while it worked for this session."""


class CannotConnectNow(MorphError, sqlstate="57P03", severity="FATAL"):
    """The server is starting up or shutting down."""


class IdleSessionTimeout(MorphError, sqlstate="57P05", severity="FATAL"):
    """The session was idle longer than the limit."""


class StoreIOError(MorphError, sqlstate="58030"):
    """Reading or writing the data directory failed."""


class DataDirectoryError(MorphError, sqlstate="58000", severity="FATAL"):
    """The data directory cannot be used: wrong version, in use, or read-only."""


class ConfigError(MorphError, sqlstate="F0000", severity="FATAL"):
    """The configuration file has an unknown key or a bad value; the message names the line."""


class SyntaxErrorAt(MorphError, sqlstate="42601"):
    """Syntax error."""


class UndefinedColumn(MorphError, sqlstate="42703"):
    """No such column."""


class UndefinedParameter(MorphError, sqlstate="42P02"):
    """A parameter where none can be given."""


class InvalidColumnReference(MorphError, sqlstate="42P10"):
    """A column that cannot be used here."""


class GroupingError(MorphError, sqlstate="42803"):
    """An aggregate where none is allowed."""


class WindowingError(MorphError, sqlstate="42P20"):
    """A window function where none is allowed."""


class UndefinedTable(MorphError, sqlstate="42P01"):
    """No such table."""


class UndefinedObject(MorphError, sqlstate="42704"):
    """No such object: version, change, index, setting."""


class UndefinedFunction(MorphError, sqlstate="42883"):
    """No such function or generator."""


class DuplicateColumn(MorphError, sqlstate="42701"):
    """The column exists already."""


class DuplicateTable(MorphError, sqlstate="42P07"):
    """The relation exists already."""


class DuplicateObject(MorphError, sqlstate="42710"):
    """An object of this name, or an option, is there already."""


class InvalidOptionName(MorphError, sqlstate="HV00D"):
    """A foreign table or an import has no option of this name."""


class DependentObjectsStillExist(MorphError, sqlstate="2BP01"):
    """Other objects depend on what is to be dropped."""


class DuplicatePreparedStatement(MorphError, sqlstate="42P05"):
    """The prepared statement exists already."""


class InvalidTableDefinition(MorphError, sqlstate="42P16"):
    """The definition of a table is invalid."""


class InvalidObjectDefinition(MorphError, sqlstate="42P17"):
    """The definition of an object is invalid: impure generator, cycle."""


class DatatypeMismatch(MorphError, sqlstate="42804"):
    """The types do not fit."""


class InsufficientPrivilege(MorphError, sqlstate="42501"):
    """The login at a store may not do this."""


class ReservedName(MorphError, sqlstate="42939"):
    """The name is reserved for Morphgres."""


class WrongObjectType(MorphError, sqlstate="42809"):
    """The object is of another kind than the command needs."""


class UndefinedSchema(MorphError, sqlstate="3F000"):
    """The schema, database or keyspace does not exist."""


class SerializationFailure(MorphError, sqlstate="40001"):
    """Another writer was faster; the transaction can be tried again."""


class StatementCompletionUnknown(MorphError, sqlstate="40003"):
    """A statement wrote to a store, and whether all of it arrived is not known."""


class UniqueViolation(MorphError, sqlstate="23505"):
    """A row with this key exists."""


class NotNullViolation(MorphError, sqlstate="23502"):
    """A column that must have a value has none."""


class CheckViolation(MorphError, sqlstate="23514"):
    """A row that a check constraint does not allow."""


class ForeignKeyViolation(MorphError, sqlstate="23503"):
    """A row that references one which is not there."""


class StoreError(MorphError, sqlstate="58000"):
    """A store answered with an error that has no SQLSTATE of its own; the message is its."""


class StringDataRightTruncation(MorphError, sqlstate="22001"):
    """A value that is longer than its type allows."""


class NumericValueOutOfRange(MorphError, sqlstate="22003"):
    """A number that its type cannot hold."""


class DatetimeFieldOverflow(MorphError, sqlstate="22008"):
    """A date or time that its type cannot hold."""


class ValueNotKept(MorphError, sqlstate="22000"):
    """A store cannot keep the value in the form that it has."""


class InvalidParameterValue(MorphError, sqlstate="22023"):
    """A parameter has a value that is not allowed."""


class BadCopyFormat(MorphError, sqlstate="22P04"):
    """The file or COPY data does not have the announced format."""


class InvalidText(MorphError, sqlstate="22021"):
    """Bytes that are not valid in the encoding."""


class ObjectNotInPrerequisiteState(MorphError, sqlstate="55000"):
    """The object is not in the state that the command needs."""


class InvalidTransactionState(MorphError, sqlstate="25000"):
    """The command cannot run in this transaction state."""


class ActiveTransaction(InvalidTransactionState, sqlstate="25001"):
    """The command cannot run inside a transaction block."""


class ReadOnlyTransaction(InvalidTransactionState, sqlstate="25006"):
    """The command writes and the transaction is read-only."""
