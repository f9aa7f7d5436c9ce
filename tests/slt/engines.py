"""A statement on one connection in one of the protocol's ways, and what came of it, byte for byte.

libpq itself (psycopg.pq) is the client: simple protocol, unnamed Parse/Bind/Execute with text
results, and Parse, Describe, Bind, Execute with binary results.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import pq

SIMPLE, EXTENDED, BINARY = "simple", "extended", "binary"
MODES = (SIMPLE, EXTENDED, BINARY)
FIRST_USER_OID = 16384
# record, record[], and the types whose binary form is an oid: regproc, regclass, regtype …
OPAQUE_OIDS = frozenset({24, 26, 2202, 2203, 2204, 2205, 2206, 2210, 2211, 2249, 2287, 4089, 4096})
STATEMENT_TIMEOUT_MS = 20_000
ANSWER_TIMEOUT_S = 30.0

_ERROR_FIELDS = {
    "severity": pq.DiagnosticField.SEVERITY_NONLOCALIZED,
    "sqlstate": pq.DiagnosticField.SQLSTATE,
    "message": pq.DiagnosticField.MESSAGE_PRIMARY,
    "detail": pq.DiagnosticField.MESSAGE_DETAIL,
    "hint": pq.DiagnosticField.MESSAGE_HINT,
    "position": pq.DiagnosticField.STATEMENT_POSITION,
    "internal position": pq.DiagnosticField.INTERNAL_POSITION,
    "internal query": pq.DiagnosticField.INTERNAL_QUERY,
    "context": pq.DiagnosticField.CONTEXT,
    "schema": pq.DiagnosticField.SCHEMA_NAME,
    "table": pq.DiagnosticField.TABLE_NAME,
    "column": pq.DiagnosticField.COLUMN_NAME,
    "type": pq.DiagnosticField.DATATYPE_NAME,
    "constraint": pq.DiagnosticField.CONSTRAINT_NAME,
}

Row = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A column as RowDescription tells it; user types and tables by name, as oids differ."""

    name: str
    type: str
    size: int
    modifier: int
    format: int
    table: str
    attribute: int


@dataclass(slots=True)
class Outcome:
    """What one execution gave: rows, a command tag or an error, and the notices before."""

    fields: tuple[Field, ...] = ()
    rows: list[Row] = field(default_factory=list)
    tag: str = ""
    error: dict[str, str] = field(default_factory=dict)
    notices: list[dict[str, str]] = field(default_factory=list)
    parameters: tuple[str, ...] = ()
    copied: bytes = b""
    opaque: bool = False  # binary values hold oids that differ between databases

    @property
    def text_rows(self) -> list[tuple[str | None, ...]]:
        """The rows as text; COPY's lines are rows of one column."""
        if self.copied:
            return [(line,) for line in self.copied.decode().removesuffix("\n").split("\n")]
        return [tuple(None if v is None else v.decode() for v in row) for row in self.rows]


def _report(result: Any) -> dict[str, str]:
    report = {}
    for name, code in _ERROR_FIELDS.items():
        value = result.error_field(code)
        if value is not None:
            report[name] = value.decode()
    return report


class Engine:
    """One session. `names` resolves oids ≥ 16384: (catalog, oid) → name."""

    def __init__(self, conninfo: str, names: Callable[[str, int], str]) -> None:
        self._names = names
        self._conn = pq.PGconn.connect(conninfo.encode())
        if self._conn.status != pq.ConnStatus.OK:
            raise ConnectionError(self._conn.get_error_message())
        self._notices: list[dict[str, str]] = []
        self._conn.notice_handler = lambda result: self._notices.append(_report(result))
        self.command(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}")

    def close(self) -> None:
        """End the session."""
        self._conn.finish()

    @property
    def idle(self) -> bool:
        """True outside of a transaction."""
        return self._conn.transaction_status == pq.TransactionStatus.IDLE

    @property
    def failed(self) -> bool:
        """True inside a failed transaction."""
        return self._conn.transaction_status == pq.TransactionStatus.INERROR

    def command(self, sql: str) -> None:
        """Run what must succeed; its notices are not looked at."""
        outcome = self.run(sql)
        if outcome.error:
            raise AssertionError(f"{sql}: {outcome.error}")

    def run(
        self,
        sql: str,
        mode: str = SIMPLE,
        params: Sequence[str | None] | None = None,
        data: Sequence[str] = (),
    ) -> Outcome:
        """Run a statement; `data` are the lines for COPY FROM STDIN."""
        self._notices = []
        outcome = Outcome()
        values = None if params is None else [p if p is None else p.encode() for p in params]
        text = sql.encode()
        if mode == SIMPLE:
            assert values is None
            self._conn.send_query(text)
        elif mode == EXTENDED:
            self._conn.send_query_params(text, values)
        elif self._described(text, outcome):
            self._conn.send_query_prepared(b"", values, result_format=1)
        if mode != BINARY or not outcome.error:
            self._collect(outcome, data)
        outcome.notices = self._notices
        return outcome

    def _described(self, text: bytes, outcome: Outcome) -> bool:
        self._conn.send_prepare(b"", text)
        result = self._only_result()
        if result.status == pq.ExecStatus.COMMAND_OK:
            self._conn.send_describe_prepared(b"")
            result = self._only_result()
        if result.status == pq.ExecStatus.FATAL_ERROR:
            outcome.error = _report(result)
            return False
        outcome.parameters = tuple(self._type(result.param_type(n)) for n in range(result.nparams))
        outcome.fields = self._fields(result)
        return True

    def _only_result(self) -> Any:
        result = self._next_result()
        assert self._next_result() is None
        return result

    def _next_result(self) -> Any:
        """The next result; TimeoutError when the server stays silent (libpq would wait on)."""
        while self._conn.is_busy():
            if not select.select([self._conn.socket], [], [], ANSWER_TIMEOUT_S)[0]:
                raise TimeoutError(f"no answer in {ANSWER_TIMEOUT_S} s")
            self._conn.consume_input()
        return self._conn.get_result()

    def _collect(self, outcome: Outcome, data: Sequence[str]) -> None:
        while True:
            result = self._next_result()
            if result is None:
                return
            status = result.status
            if status == pq.ExecStatus.FATAL_ERROR:
                outcome.error = _report(result)
            elif status == pq.ExecStatus.TUPLES_OK:
                self._tuples(outcome, result)
            elif status == pq.ExecStatus.COPY_IN:
                self._copy_in(data)
            elif status == pq.ExecStatus.COPY_OUT:
                self._copy_out(outcome)
            outcome.tag = (result.command_status or b"").decode()

    def _copy_in(self, data: Sequence[str]) -> None:
        for line in data:
            self._conn.put_copy_data(line.encode() + b"\n")
        self._conn.put_copy_end()

    def _copy_out(self, outcome: Outcome) -> None:
        while True:
            size, chunk = self._conn.get_copy_data(0)
            if size <= 0:
                return
            outcome.copied += bytes(chunk)

    def _tuples(self, outcome: Outcome, result: Any) -> None:
        outcome.fields = self._fields(result)
        width = range(result.nfields)
        opaque = [
            result.fformat(n) == 1
            and (result.ftype(n) in OPAQUE_OIDS or result.ftype(n) >= FIRST_USER_OID)
            for n in width
        ]
        outcome.opaque = any(opaque)
        outcome.rows = [
            tuple(b"?" if opaque[n] else result.get_value(row, n) for n in width)
            for row in range(result.ntuples)
        ]

    def _fields(self, result: Any) -> tuple[Field, ...]:
        return tuple(
            Field(
                name=result.fname(n).decode(),
                type=self._type(result.ftype(n)),
                size=result.fsize(n),
                modifier=result.fmod(n),
                format=result.fformat(n),
                table=self._table(result.ftable(n)),
                attribute=result.ftablecol(n),
            )
            for n in range(result.nfields)
        )

    def _type(self, oid: int) -> str:
        return str(oid) if oid < FIRST_USER_OID else self._names("pg_type", oid)

    def _table(self, oid: int) -> str:
        return str(oid) if oid < FIRST_USER_OID else self._names("pg_class", oid)
