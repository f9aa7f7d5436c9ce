"""What is left of a statement, run in the session's own backend: its text, parameters and answer.

The row description is that of the client's own statement over the version views, so that a client
cannot tell from where rows came; the rows are those of the residual text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.encoding.parameters import parameter_text
from core.types import find_type
from engine.plans import Plan
from proxy.prepared import Portal
from proxy.protocol import requests
from proxy.protocol.bind import Bind
from proxy.protocol.body import encode_string, write_int16s, write_values
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.relay import BIND, DESCRIBE, EXECUTE, PARSE, Entry, Sink
from rewrite.analysis import StatementPlan
from rewrite.tree import Tokens

if TYPE_CHECKING:
    from proxy.scripts import Scripts
    from proxy.session import Session

NO_TYPES = b"\0\0"
_UNKNOWN = b"\0\0\0\0"
_UNREAD = ((25).to_bytes(4), (17).to_bytes(4))
"""Types that take any value in text (text) and in binary (bytea)."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a portal brings: raw parameter types, values, formats, and those of the result."""

    types: bytes = NO_TYPES
    values: tuple[bytes | None, ...] = ()
    formats: tuple[int, ...] = ()
    results: tuple[int, ...] = ()

    def with_arrays(self, arrays: Sequence[bytes]) -> Bound:
        """The same with binary values behind."""
        if not arrays:
            return self
        formats = self.formats + (1,) * len(arrays)
        return replace(self, values=(*self.values, *arrays), formats=formats)

    def for_part(self, text: str) -> Bound:
        """The same for a text that does not name all parameters: PostgreSQL wants a type for each
        of the others, too.
        """
        named = {
            text[token.start : token.end] for token in Tokens(text).items if token.name == "PARAM"
        }
        types = [self.types[n : n + 4] for n in range(2, len(self.types), 4)]
        types += [_UNKNOWN] * (len(self.values) - len(types))
        for n, form in enumerate(self.formats):
            if types[n] == _UNKNOWN and f"${n + 1}" not in named:
                types[n] = _UNREAD[form]
        return replace(self, types=len(types).to_bytes(2) + b"".join(types))


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a statement as PostgreSQL resolved them; `names` of the known types."""

    oids: tuple[int, ...]
    names: Mapping[int, str]

    def name(self, number: int) -> str:
        """The type of a parameter, "" for one that the type table does not have."""
        return self.names.get(number, "")

    @property
    def raw(self) -> bytes:
        """The end of a Parse message with these types."""
        return len(self.oids).to_bytes(2) + b"".join(oid.to_bytes(4) for oid in self.oids)


def read_bound(portal: Portal | None) -> Bound:
    """The parameters of a portal, one format each."""
    if portal is None:
        return Bound()
    bind = Bind.decode(portal.bind)
    formats = bind.parameter_formats or (0,)
    if len(formats) == 1:
        formats *= len(bind.parameters)
    return Bound(portal.prepared.types, bind.parameters, formats, bind.result_formats)


class Residual:
    """Statements of a script in the extended protocol, answered to the client or to a sink."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def describe(
        self, session: Session, plan: Plan, statement: StatementPlan, bound: Bound
    ) -> None:
        """The client's own row description and errors; goes out with what is sent next."""
        assert plan.analysis is not None
        text = encode_string(plan.analysis.part(statement).text, session.client.codec)
        self._scripts.forget_unnamed(session)
        session.send(
            message(ClientType.PARSE, b"\0" + text + bound.types), Entry(PARSE, plan, swallow=True)
        )
        session.send(_bind(bound, ""), Entry(BIND, plan, swallow=True))
        entry = Entry(DESCRIBE, plan)
        entry.quiet_no_data = True
        session.send(requests.DESCRIBE_PORTAL, entry)

    async def types(self, session: Session, text: str, raw: bytes) -> Parameters:
        """The types of $n in a text; `raw` are those that the client gave."""
        sink = Sink()
        self.parse(session, text, raw, sink)
        describe = Entry(DESCRIBE, None, True, sink)
        describe.last = True
        session.send(requests.DESCRIBE_STATEMENT, describe)
        await self._scripts.complete(session, sink)
        found = {n: find_type(oid) for n, oid in enumerate(sink.parameter_oids, 1)}
        names = {n: each.name for n, each in found.items() if each is not None}
        return Parameters(sink.parameter_oids, names)

    async def values(
        self, session: Session, parameters: Parameters, bound: Bound
    ) -> Mapping[int, str | None]:
        """The values of the parameters in text form."""
        values: dict[int, str | None] = {}
        for number, (raw, form) in enumerate(zip(bound.values, bound.formats, strict=True), 1):
            text = None if raw is None else parameter_text(parameters.name(number), form, raw)
            if raw is not None and text is None:
                return await self._printed(session, parameters, bound)
            values[number] = text
        return values

    async def _printed(
        self, session: Session, parameters: Parameters, bound: Bound
    ) -> Mapping[int, str | None]:
        listed = ", ".join(f"${n}::pg_catalog.text" for n in range(1, len(parameters.oids) + 1))
        raw = replace(bound, types=parameters.raw, results=())
        [row] = (await self.collect(session, f"SELECT {listed}", raw)).rows()
        codec = session.client.codec
        return {n: None if v is None else v.decode(codec) for n, v in enumerate(row, 1)}

    def parse(self, session: Session, text: str, types: bytes, sink: Sink | None) -> None:
        """Parse into the unnamed statement."""
        self._scripts.forget_unnamed(session)
        body = b"\0" + encode_string(text, session.client.codec) + types
        session.send(message(ClientType.PARSE, body), Entry(PARSE, None, True, sink))

    def bind(self, session: Session, bound: Bound, portal: str, sink: Sink | None) -> None:
        """Bind the unnamed statement."""
        session.send(_bind(bound, portal), Entry(BIND, None, True, sink))

    def execute(self, session: Session, portal: str, limit: int, entry: Entry) -> None:
        """Execute a portal."""
        body = encode_string(portal) + limit.to_bytes(4)
        session.send(message(ClientType.EXECUTE, body), entry)

    async def collect(self, session: Session, text: str, bound: Bound) -> Sink:
        """Run a text and keep its answer; raises BackendError."""
        sink = Sink()
        self.parse(session, text, bound.types, sink)
        self.bind(session, bound, "", sink)
        entry = Entry(EXECUTE, None, True, sink)
        entry.last = True
        self.execute(session, "", 0, entry)
        return await self._scripts.complete(session, sink)


def _bind(bound: Bound, portal: str) -> bytes:
    """A Bind message of the unnamed statement."""
    body = (
        encode_string(portal),
        b"\0",
        write_int16s(bound.formats),
        write_values(bound.values),
        write_int16s(bound.results),
    )
    return message(ClientType.BIND, b"".join(body))
