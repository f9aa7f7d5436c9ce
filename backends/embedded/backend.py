"""The embedded store behind the backend seam: scans run in the client's own session.

`Scope.session` is a SessionHandle: it runs a COPY TO STDOUT inside the client's transaction and
gives its bytes as they come, so a scan sees what the transaction wrote, and nothing of the store is
reached in another way. Writes go through the version views as SQL (DESIGN 5), not through here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from backends.base import (
    BackendDefaults,
    Capabilities,
    ObservedField,
    ObservedTable,
    SampleSpec,
    ScanAsk,
    ScanPlan,
    Scope,
)
from backends.embedded.pushdown import KIND, plan_scan
from catalog.model import Table
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.encoding.copy_csv import decode_copy_csv
from core.errors import FeatureNotSupported, InternalError
from core.types import PgType, type_by_name

if TYPE_CHECKING:
    import pyarrow as pa


class SessionHandle(Protocol):
    """What the store needs of a client's session."""

    def copy_out(self, sql: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a COPY TO STDOUT; closing the iterator cancels it."""
        ...

    async def fetch(self, sql: str) -> list[tuple[str | None, ...]]:
        """The rows of a query as text."""
        ...


@dataclass(frozen=True, slots=True)
class NativeScan:
    """The native query of a plan: its SQL and the types of its columns."""

    sql: str
    types: tuple[str, ...]

    def __str__(self) -> str:
        return self.sql

    @property
    def fields(self) -> tuple[PgType, ...]:
        """The types; UndefinedObject for one that the type table does not have."""
        return tuple(type_by_name(each) for each in self.types)


class EmbeddedBackend(BackendDefaults):
    """See the module's text; one for all sessions of a process."""

    kind = KIND
    capabilities = Capabilities(
        predicate=True,
        limit=True,
        order=True,
        transactions=True,
        session_transaction=True,
        relays_copy_binary=True,
    )

    def __init__(self, name: str, session: SessionHandle | None = None) -> None:
        self.name = name
        self._session = session

    def plan_scan(self, table: Table, ask: ScanAsk) -> ScanPlan:
        """See Backend; `native` is a NativeScan."""
        plan = plan_scan(table, ask)
        by_id = {column.id: column.type for column in table.columns}
        types = tuple(by_id[each] for each in plan.columns)
        return replace(plan, native=NativeScan(str(plan.native), types))

    async def scan(self, plan: ScanPlan, scope: Scope) -> AsyncIterator[pa.RecordBatch]:
        """See Backend."""
        native = plan.native
        assert isinstance(native, NativeScan)
        session = self._handle(scope)
        decoder = decode_copy_csv(native.fields)
        sql = f"COPY ({native.sql}) TO STDOUT (FORMAT csv, ENCODING 'UTF8')"
        async with aclosing(session.copy_out(sql)) as chunks:
            async for chunk in chunks:
                for batch in decoder.feed(chunk):
                    yield batch
        for batch in decoder.finish():
            yield batch

    async def observe(self, table: Table, sample: SampleSpec) -> ObservedTable:
        """See Backend: the top-level fields of the newest documents."""
        if not table.has_doc:
            raise FeatureNotSupported(f'table "{table.name}" holds no documents')
        session = self._handle(Scope())
        store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
        part = f"(SELECT _doc FROM {store} ORDER BY ctid DESC LIMIT {int(sample.rows_max)}) AS s"
        [(rows, total)] = await session.fetch(
            f"SELECT count(*), (SELECT count(*) FROM {store}) FROM {part}"
        )
        fields: dict[str, dict[str, int]] = {}
        for key, kind, count in await session.fetch(
            "SELECT f.key, pg_catalog.jsonb_typeof(f.value), count(*) "
            f"FROM {part}, pg_catalog.jsonb_each(s._doc) AS f GROUP BY 1, 2 ORDER BY 1, 2"
        ):
            fields.setdefault(str(key), {})[str(kind)] = int(count or 0)
        observed = (
            ObservedField((key,), sum(types.values()), types) for key, types in fields.items()
        )
        return ObservedTable(int(rows or 0), int(total or 0), tuple(observed))

    async def close(self) -> None:
        """Nothing is held: sessions own their connections."""

    def _handle(self, scope: Scope) -> SessionHandle:
        handle = scope.session or self._session
        if handle is None:
            raise InternalError("a scan of the embedded store needs a session")
        return handle  # type: ignore[return-value]
