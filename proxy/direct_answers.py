"""Rows that go from a store to the client as they are (engine/direct.py): encoded by columns, one
write a batch, no faster than the client takes them.

A value's text form may depend on the session's settings (DateStyle, TimeZone …); where it does and
they are not those of the encoders, the statement takes the way through the private PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from backends.base import Scope
from core.encoding.few_rows import encode_few_rows
from core.types import PgType, type_by_name
from engine.direct import Direct
from engine.merge import ask_of
from proxy.protocol.server import command_complete
from proxy.residual import Bound
from proxy.session_store import CARRIER_FORMS
from proxy.staging import PlannedScan, Staging, rows_of

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.federate import FederatedPlan
    from proxy.operations import Operations
    from proxy.session import Session

SMALL_BYTES: Final = 64 * 1024
"""An answer up to this size waits its turn behind what the private PostgreSQL still has to say;
a longer one waits for that first, and is streamed.
"""
_FREE: Final = frozenset(
    {
        "boolean", "smallint", "integer", "bigint", "numeric", "text", "character varying",
        "character", "bpchar", "name", "uuid", "inet", "cidr", "time",
        "time without time zone", "oid",
    }
)  # fmt: skip
"""Types whose text form no setting changes."""
_FORMS: Final = {**CARRIER_FORMS, "TimeZone": "UTC"}
_UTC: Final = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT", "UCT"})


class DirectAnswers:
    """The direct answers of one worker's sessions."""

    def __init__(self, operations: Operations, staging: Staging) -> None:
        self._operations = operations
        self._worker = operations.worker
        self._staging = staging

    async def run(
        self,
        session: Session,
        federated: FederatedPlan,
        direct: Direct,
        bound: Bound,
        values: Mapping[int, str | None],
    ) -> bool:
        """Answers the statement; False when the store leaves something to do."""
        table = direct.scan.placed.table
        backend = await self._worker.instances.backend(table.instance)
        planned = self._staging.planned(
            direct.scan, backend, ask_of(direct.scan, values, push=True)
        )
        if not direct.answers(planned.plan):
            return False
        types = {column.id: column.type for column in table.columns}
        fields = [type_by_name(types[each]) for each in direct.columns]
        if not fields or any(_as_stored(field) for field in fields):
            return False
        formats = _formats(bound.results, len(fields))
        if not await self._in_forms(session, fields, formats):
            return False
        places = [planned.plan.columns.index(each) for each in direct.columns]
        answer = _Answer(self._operations, session, fields, formats, places)
        scope = await self._staging.reading(session, table, backend)
        await self._staging.bounded(session, answer.send(planned, scope, direct.skip))
        return True

    async def _in_forms(
        self, session: Session, fields: Sequence[PgType], formats: Sequence[int]
    ) -> bool:
        names = {
            (field.element or field).name
            for field, form in zip(fields, formats, strict=True)
            if form == 0
        }
        if names <= _FREE:
            return True
        listed = ", ".join(f"pg_catalog.current_setting('{name}')" for name in _FORMS)
        sink = await self._operations.scripts.fetch(session, f"SELECT {listed}")
        now = dict(zip(_FORMS, ((v or b"").decode() for v in sink.rows()[0]), strict=True))
        zone = now.pop("TimeZone")
        style = now.pop("DateStyle")
        if "timestamp with time zone" in names and zone not in _UTC:
            return False
        return style.startswith("ISO") and all(now[name] == _FORMS[name] for name in now)


def _as_stored(field: PgType) -> bool:
    """Whether stores write values of the type in other texts than PostgreSQL prints."""
    return (field.element or field).name in ("json", "jsonb", "xml")


def _formats(results: Sequence[int], count: int) -> list[int]:
    """One format a column (manual, 54.7, Bind)."""
    if not results:
        return [0] * count
    return list(results) * count if len(results) == 1 else list(results)


class _Answer:
    """One answer on its way to the client."""

    def __init__(
        self,
        operations: Operations,
        session: Session,
        fields: Sequence[PgType],
        formats: Sequence[int],
        places: Sequence[int],
    ) -> None:
        self._scripts = operations.scripts
        self._session = session
        self._fields = fields
        self._formats = formats
        self._places = places
        self._rows = 0
        self._waiting: list[bytes] = []
        self._size = 0
        self._streams = False

    async def send(self, planned: PlannedScan, scope: Scope, skip: int) -> None:
        """All rows and the command tag."""
        async with aclosing(rows_of(planned, scope)) as batches:
            async for batch in batches:
                if skip:
                    dropped = min(skip, batch.num_rows)
                    skip -= dropped
                    batch = batch.slice(dropped)
                if batch.num_rows:
                    await self._take(batch)
        tag = command_complete(f"SELECT {self._rows}")
        if self._streams:
            self._session.send_to_client(tag)
        else:
            self._session.relay.answer_locally(b"".join([*self._waiting, tag]))
        self._session.command_done(tag)

    async def _take(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        data = encode_few_rows(batch.select(self._places), self._fields, self._formats)
        if not self._streams and self._size + len(data) <= SMALL_BYTES:
            self._waiting.append(data)
            self._size += len(data)
            return
        if not self._streams:
            await self._in_turn()
        self._session.send_to_client(data)
        await self._session.client.drained()

    async def _in_turn(self) -> None:
        """Everything asked before is answered; from now on rows are streamed."""
        await self._scripts.settled(self._session)
        self._streams = True
        for data in self._waiting:
            self._session.send_to_client(data)
        self._waiting.clear()
