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
from core.encoding.plain_rows import split_rows
from core.types import PgType, type_by_name
from engine.direct import Direct
from engine.merge import ask_of
from proxy.protocol.framing import message
from proxy.protocol.message_types import ServerType
from proxy.protocol.server import command_complete
from proxy.residual import Bound
from proxy.session_store import CARRIER_FORMS
from proxy.staging import PlannedScan, Staging, rows_of
from proxy.store_waits import bounded

if TYPE_CHECKING:
    import pyarrow as pa

    from proxy.operations import Operations
    from proxy.prepared import Portal
    from proxy.session import Session

SMALL_BYTES: Final = 64 * 1024
"""An answer up to this size waits its turn behind what the private PostgreSQL still has to say;
a longer one waits for that first, and is streamed.
"""
PORTAL_SUSPENDED: Final = message(ServerType.PORTAL_SUSPENDED)
_FREE: Final = frozenset(
    {
        "boolean", "smallint", "integer", "bigint", "numeric", "text", "character varying",
        "character", "bpchar", "name", "uuid", "inet", "cidr", "time",
        "time without time zone", "oid", "jsonb",
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
        direct: Direct,
        bound: Bound,
        values: Mapping[int, str | None],
        portal: Portal | None = None,
        limit: int = 0,
    ) -> list[PgType] | None:
        """Answers the statement, and says the types of its columns; None when the store leaves
        something to do, or more rows than may wait behind `limit`.
        """
        table = direct.scan.placed.table
        backend = await self._worker.instances.backend(table.instance)
        planned = self._staging.planned(
            direct.scan, backend, ask_of(direct.scan, values, push=True)
        )
        if not direct.answers(planned.plan):
            return None
        types = {column.id: column.type for column in table.columns}
        fields = [type_by_name(types[each]) for each in direct.columns]
        printed = backend.capabilities.prints_jsonb
        if not fields or any(_as_stored(field, printed) for field in fields):
            return None
        formats = _formats(bound.results, len(fields))
        if not await self._in_forms(session, fields, formats):
            return None
        places = [planned.plan.columns.index(each) for each in direct.columns]
        answer = _Answer(self._operations, session, fields, formats, places)
        scope = await self._staging.reading(session, table, backend)
        if portal is not None and limit > 0:
            rows = await bounded(session, answer.few(planned, scope, direct.skip))
            if rows is None:
                return None
            portal.rest = rows
            session.relay.answer_locally(next_part(session, portal, limit))
        else:
            await bounded(session, answer.send(planned, scope, direct.skip))
        return fields

    async def _in_forms(
        self, session: Session, fields: Sequence[PgType], formats: Sequence[int]
    ) -> bool:
        if prints_alike(session) or free_of_settings(fields, formats):
            return True
        listed = ", ".join(f"pg_catalog.current_setting('{name}')" for name in _FORMS)
        sink = await self._operations.scripts.fetch(session, f"SELECT {listed}")
        now = dict(zip(_FORMS, ((v or b"").decode() for v in sink.rows()[0]), strict=True))
        zone = now.pop("TimeZone")
        style = now.pop("DateStyle")
        forms = style.startswith("ISO") and all(now[name] == _FORMS[name] for name in now)
        if session.relay.backend is not None and not session.pinned:
            session.relay.backend.forms = forms and zone in _UTC
        return forms and (zone in _UTC or "timestamp with time zone" not in _texts(fields, formats))


def next_part(session: Session, portal: Portal, limit: int) -> bytes:
    """The next rows of a portal whose rows wait here, and what follows them."""
    rows = portal.rest or []
    if 0 < limit <= len(rows):
        portal.rest = rows[limit:]
        return b"".join([*rows[:limit], PORTAL_SUSPENDED])
    portal.rest = []
    tag = command_complete(f"SELECT {len(rows)}")
    session.command_done(tag)
    return b"".join([*rows, tag])


def _texts(fields: Sequence[PgType], formats: Sequence[int]) -> set[str]:
    """The types of the columns, or of their elements, that are printed as text."""
    return {
        (field.element or field).name
        for field, form in zip(fields, formats, strict=True)
        if form == 0
    }


def prints_alike(session: Session) -> bool:
    """Whether it is known that the session's settings are those of the encoders: it changed none
    of its backend's defaults.
    """
    backend = session.relay.backend
    return backend is not None and backend.forms and not session.pinned


def free_of_settings(fields: Sequence[PgType], formats: Sequence[int]) -> bool:
    """Whether no setting changes what is sent of these columns."""
    return _texts(fields, formats) <= _FREE


def _as_stored(field: PgType, printed: bool) -> bool:
    """Whether the store writes values of the type in other texts than PostgreSQL prints; `printed`
    says that it prints jsonb.
    """
    if printed and field.name == "jsonb":
        return False
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

    async def few(self, planned: PlannedScan, scope: Scope, skip: int) -> list[bytes] | None:
        """All rows, apart; None when they are more than may wait."""
        found: list[bytes] = []
        async with aclosing(rows_of(planned, scope)) as batches:
            async for batch in batches:
                dropped = min(skip, batch.num_rows)
                skip -= dropped
                rows = batch.slice(dropped).select(self._places)
                data = encode_few_rows(rows, self._fields, self._formats)
                self._size += len(data)
                if self._size > SMALL_BYTES:
                    return None
                found += split_rows(data)
        return found

    async def _take(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        data = encode_few_rows(batch.select(self._places), self._fields, self._formats)
        if not self._streams and self._size + len(data) <= SMALL_BYTES:
            self._waiting.append(data)
            self._size += len(data)
            return
        if not self._streams:
            await self._in_turn()
        self._session.relay.send_kept(data)
        await self._session.client.drained()

    async def _in_turn(self) -> None:
        """Everything asked before is answered; from now on rows are streamed."""
        await self._scripts.settled(self._session)
        self._streams = True
        for data in self._waiting:
            self._session.relay.send_kept(data)
        self._waiting.clear()
