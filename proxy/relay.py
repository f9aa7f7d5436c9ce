"""The backend's side of a session: what was asked, in order, and what goes to the client.

Every message sent to the backend that is answered has an Entry. Answers are matched with the head
of the queue; rows pass through as raw slices. An Entry may swallow its answer (our own messages),
collect it (a Sink), replace an error, or carry bytes that Morphgres answers itself (LOCAL) at its
place in the order. After an error in the extended protocol the backend skips to the next Sync, and
so do the entries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from core.errors import MorphError
from proxy.backend import BackendConnection, Piece
from proxy.protocol.descriptions import (
    FieldDescription,
    decode_parameter_description,
    decode_row_description,
)
from proxy.protocol.framing import HEADER_BYTES, walk_answer
from proxy.protocol.message_types import ServerType
from proxy.protocol.reports import decode_report
from proxy.protocol.server import decode_command_complete, decode_parameter_status

if TYPE_CHECKING:
    from engine.plans import Plan
    from proxy.inline_reads import Tap

LOCAL, QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, BATCH = range(9)
# A longer buffer is walked in pieces: its rows are runs, and its end is rarely an answer's end.
_WHOLE_BYTES_MAX = 16_384

_FATAL = b"SFATAL\0"
_ROW = ServerType.DATA_ROW
_COPY_DATA = ServerType.COPY_DATA


class BackendError(MorphError):
    """An error of the private PostgreSQL, with its own fields."""

    def __init__(self, report: dict[str, str], *, answered: bool = False) -> None:
        super().__init__(report.get("M", ""), fields=report)
        self.answered = answered  # the client has it already, from an earlier message

    @property
    def code(self) -> str:
        """Its SQLSTATE."""
        return self.fields.get("C", "XX000")


class Sink:
    """Collects one internal exchange; `done` resolves with the sink or fails with BackendError."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Sink] = asyncio.get_running_loop().create_future()
        self.fields: list[FieldDescription] = []
        self.parameter_oids: tuple[int, ...] = ()
        self.tag = ""
        self._raw: list[bytes] = []

    def add(self, kind: int, raw: bytes) -> None:
        """Take a piece of the answer."""
        if kind in (_ROW, _COPY_DATA):
            self._raw.append(raw)
        elif kind == ServerType.ROW_DESCRIPTION:
            self.fields = decode_row_description(raw[HEADER_BYTES:])
        elif kind == ServerType.PARAMETER_DESCRIPTION:
            self.parameter_oids = decode_parameter_description(raw[HEADER_BYTES:])
        elif kind == ServerType.COMMAND_COMPLETE:
            self.tag = decode_command_complete(raw[HEADER_BYTES:])

    def finish(self) -> None:
        """The exchange is complete."""
        if not self.done.done():
            self.done.set_result(self)

    def fail(self, report: dict[str, str], *, answered: bool = False) -> None:
        """The exchange failed."""
        if not self.done.done():
            self.done.set_exception(BackendError(report, answered=answered))

    @property
    def raw(self) -> bytes:
        """The messages of the rows, as they came."""
        return b"".join(self._raw)

    def rows(self) -> list[list[bytes | None]]:
        """The rows, values as the backend sent them."""
        data = self.raw
        rows: list[list[bytes | None]] = []
        pos = 0
        while pos < len(data):
            length = int.from_bytes(data[pos + 1 : pos + 5])
            rows.append(_values(data, pos + HEADER_BYTES))
            pos += length + 1
        return rows


def _values(data: bytes, pos: int) -> list[bytes | None]:
    count = int.from_bytes(data[pos : pos + 2])
    pos += 2
    values: list[bytes | None] = []
    for _ in range(count):
        length = int.from_bytes(data[pos : pos + 4], signed=True)
        pos += 4
        values.append(None if length < 0 else data[pos : pos + length])
        pos += max(length, 0)
    return values


class Entry:
    """One message that the backend will answer. A BATCH stands for Bind, Describe (or not),
    Execute and Sync that came together, and becomes theirs unless the answer comes in one part.
    """

    __slots__ = (
        "describes",
        "hide_copy",
        "kind",
        "last",
        "plain",
        "plan",
        "quiet_no_data",
        "replace_error",
        "reply",
        "rewrite_rows",
        "sink",
        "swallow",
        "undo",
    )

    def __init__(  # one of these a message: plain positional slots are the cheapest
        self,
        kind: int,
        plan: Plan | None = None,
        swallow: bool = False,
        sink: Sink | None = None,
        reply: bytes = b"",
    ) -> None:
        self.kind = kind
        self.plan = plan
        self.swallow = swallow
        self.sink = sink
        self.reply = reply
        self.describes = False  # a BATCH with a Describe
        self.plain = False  # a complete answer can pass as it is, but for table oids
        self.quiet_no_data = False  # as the simple protocol: no NoData
        self.hide_copy = False  # a COPY FROM whose data are not the client's
        self.last = False  # the sink is complete when this entry is answered
        self.replace_error: bytes | None = None
        self.undo: Callable[[], None] | None = None  # when it fails or is skipped
        self.rewrite_rows: Callable[[list[list[bytes | None]]], bytes] | None = None


class RelayOwner(Protocol):
    """What the relay asks of its session."""

    def shown(self, raw: bytes, plan: Plan) -> bytes:
        """A RowDescription of a plan with the table oids of the shapes."""

    def translate_error(self, raw: bytes, plan: Plan | None) -> bytes:
        """The error as the client should see it."""

    def parameter_changed(self, name: str, value: str) -> None:
        """A reported setting changed."""

    def ready(self, status: int) -> None:
        """The backend waits for more; status is I, T or E."""

    def command_done(self, tag: bytes) -> None:
        """A statement ended well."""

    def answered(self, data: bytes, done: int) -> None:
        """A plain answer with its CommandComplete at `done`: command_done and ready at once."""

    def error_seen(self) -> None:
        """A statement failed."""

    def backend_ends(self, raw: bytes, *, asked: bool) -> None:
        """A FATAL error: as the answer to a message (and relayed as such), or out of the blue."""

    def copy_in_begun(self) -> None:
        """The backend waits for COPY data of the client."""

    def copy_in_ended(self) -> None:
        """It does not wait for COPY data any more."""

    def send_to_client(self, data: bytes) -> None:
        """Write to the client."""


class Relay:
    """See the module's text. `skip` is true between an extended error and the next Sync."""

    __slots__ = (
        "_handlers", "_out", "_owner", "_synced", "backend", "copying", "expect", "skip", "tap",
    )  # fmt: skip

    def __init__(self, owner: RelayOwner) -> None:
        self._owner = owner
        self.backend: BackendConnection | None = None
        self.expect: deque[Entry] = deque()
        self.skip = False
        self.copying = False
        self.tap: Tap | None = None  # keeps the answer of the statement that runs
        self._synced = True
        self._out: list[bytes] = []
        self._handlers: dict[int, Callable[[bytes], None]] = {
            ServerType.PARSE_COMPLETE: self._answered,
            ServerType.BIND_COMPLETE: self._answered,
            ServerType.CLOSE_COMPLETE: self._answered,
            ServerType.NO_DATA: self._no_data,
            ServerType.ROW_DESCRIPTION: self._row_description,
            ServerType.PARAMETER_DESCRIPTION: self._parameter_description,
            ServerType.COMMAND_COMPLETE: self._command_complete,
            ServerType.EMPTY_QUERY_RESPONSE: self._executed,
            ServerType.PORTAL_SUSPENDED: self._executed,
            ServerType.ERROR_RESPONSE: self._error,
            ServerType.READY_FOR_QUERY: self._ready,
            ServerType.NOTICE_RESPONSE: self._notice,
            ServerType.PARAMETER_STATUS: self._parameter_status,
            ServerType.NOTIFICATION_RESPONSE: self._forward,
            ServerType.COPY_IN_RESPONSE: self._copy_in,
            ServerType.COPY_OUT_RESPONSE: self._copy_out,
            ServerType.COPY_DONE: self._copy_out,
            ServerType.FUNCTION_CALL_RESPONSE: self._forward,
        }

    @property
    def idle(self) -> bool:
        """True when nothing is asked that was not answered."""
        return not self.expect

    @property
    def in_step(self) -> bool:
        """True when idle and no batch is open: without its Sync the backend may be skipping, or
        have work that is not committed.
        """
        return self._synced and not self.skip and not self.expect

    def push(self, entry: Entry) -> None:
        """A message was sent that will be answered."""
        self.expect.append(entry)
        kind = entry.kind
        self._synced = kind == SYNC or kind == QUERY or kind == BATCH  # noqa: PLR1714 (hot)

    def answer_locally(self, data: bytes) -> None:
        """Answer the client ourselves, after everything asked before."""
        if self.expect:
            self.expect.append(Entry(LOCAL, reply=data))
        else:
            self.send_kept(data)

    def send_kept(self, data: bytes) -> None:
        """Send to the client what no backend sent; a tap has it, too."""
        if self.tap is not None:
            self.tap.take(data)
        self._owner.send_to_client(data)

    def whole(self, data: bytes) -> bool:
        """Pass on what the backend sent when it is the complete and plain answer of the head;
        False when it must be worked off in pieces.
        """
        expect = self.expect
        if not expect or not expect[0].plain or len(data) > _WHOLE_BYTES_MAX or self.copying:
            return False
        found = walk_answer(data)
        if found is None:
            return False
        described, rows, done = found
        if self.tap is not None:
            self.tap.take(data)
        owner = self._owner
        plan = expect[0].plan
        passed = data
        if rows and plan is not None and plan.touches_store:
            shown = owner.shown(data[described:rows], plan)
            passed = b"".join((data[:described], shown, data[rows:]))
        owner.answered(data, done)
        if len(expect) > 1:
            self._out.append(passed)
            self._pop()
            self.flush()
        else:
            expect.popleft()
            send = owner.send_to_client
            send(passed)
        return True

    def _open_batch(self) -> None:
        """The head is a BATCH whose answer comes in parts: expect its messages one by one."""
        batch = self.expect.popleft()
        plan = batch.plan
        kinds = (BIND, DESCRIBE, EXECUTE) if batch.describes else (BIND, EXECUTE)
        self.expect.appendleft(Entry(SYNC))
        self.expect.extendleft(Entry(kind, plan) for kind in reversed(kinds))

    def pieces(self, pieces: list[Piece]) -> None:
        """Work off what the backend sent."""
        out = self._out
        expect = self.expect
        if expect and expect[0].kind == BATCH:
            self._open_batch()
        for kind, raw, _ in pieces:
            if kind == _ROW or kind == _COPY_DATA:  # noqa: PLR1714, SIM109 (hot)
                head = expect[0]
                if head.sink is not None:
                    head.sink.add(kind, raw)
                elif not head.swallow:
                    out.append(raw)
                    if self.tap is not None:
                        self.tap.take(raw)
                continue
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(raw)
        self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._owner.send_to_client(data)

    def _pop(self) -> None:
        expect = self.expect
        entry = expect.popleft()
        if entry.last and entry.sink is not None:
            entry.sink.finish()
        while expect and expect[0].kind == LOCAL:
            reply = expect.popleft().reply
            self._out.append(reply)
            if self.tap is not None:
                self.tap.take(reply)

    def _forward(self, raw: bytes) -> None:
        self._out.append(raw)

    def _answered(self, raw: bytes) -> None:
        if not self.expect[0].swallow:
            self._out.append(raw)
        self._pop()

    def _no_data(self, raw: bytes) -> None:
        head = self.expect[0]
        if not (head.swallow or head.quiet_no_data):
            self._out.append(raw)
        self._pop()

    def _row_description(self, raw: bytes) -> None:
        head = self.expect[0]
        if head.sink is not None:
            head.sink.add(ServerType.ROW_DESCRIPTION, raw)
        if not head.swallow:
            plan = head.plan
            if plan is not None and plan.touches_store:
                raw = self._owner.shown(raw, plan)
            self._out.append(raw)
        if head.kind == DESCRIBE:
            self._pop()

    def _parameter_description(self, raw: bytes) -> None:
        head = self.expect[0]
        if head.sink is not None:
            head.sink.add(ServerType.PARAMETER_DESCRIPTION, raw)
        if not head.swallow:
            self._out.append(raw)

    def _command_complete(self, raw: bytes) -> None:
        head = self.expect[0]
        if self.copying:
            self.copying = False
            self._owner.copy_in_ended()
        if head.sink is not None:
            head.sink.add(ServerType.COMMAND_COMPLETE, raw)
            if head.rewrite_rows is not None:
                self._out.append(head.rewrite_rows(head.sink.rows()))
        if not head.swallow:
            self._out.append(raw)
            self._owner.command_done(raw)
        if head.kind == EXECUTE:
            self._pop()

    def _executed(self, raw: bytes) -> None:
        head = self.expect[0]
        if not head.swallow:
            self._out.append(raw)
        if head.kind == EXECUTE:
            self._pop()

    def _error(self, raw: bytes) -> None:
        owner = self._owner
        if self.copying:
            self.copying = False
            owner.copy_in_ended()
        if not self.expect:
            owner.backend_ends(raw, asked=False)
            return
        if raw.startswith(_FATAL, HEADER_BYTES):
            owner.backend_ends(raw, asked=True)
        head = self.expect[0]
        owner.error_seen()
        if head.sink is not None and head.rewrite_rows is None:
            head.sink.fail(decode_report(raw[HEADER_BYTES:]))
        elif head.replace_error is not None:
            self._out.append(head.replace_error)
        else:
            self._out.append(owner.translate_error(raw, head.plan))
        if head.kind == QUERY:
            return
        expect = self.expect
        while expect and expect[0].kind != SYNC:
            dropped = expect.popleft()
            if dropped.undo is not None:
                dropped.undo()
            if dropped.sink is not None and dropped.sink is not head.sink:
                report = decode_report(raw[HEADER_BYTES:])
                dropped.sink.fail(report, answered=head.sink is None)
        if not expect:
            self.skip = True

    def _ready(self, raw: bytes) -> None:
        expect = self.expect
        while expect and expect[0].kind not in (SYNC, QUERY):
            expect.popleft()
        head = expect[0]
        if not head.swallow:
            self._out.append(raw)
        self._owner.ready(raw[HEADER_BYTES])
        self._pop()

    def _notice(self, raw: bytes) -> None:
        if not (self.expect and self.expect[0].swallow):
            self._out.append(raw)

    def _parameter_status(self, raw: bytes) -> None:
        name, value = decode_parameter_status(raw[HEADER_BYTES:])
        self._owner.parameter_changed(name, value)
        self._out.append(raw)

    def _copy_in(self, raw: bytes) -> None:
        self.copying = True
        expect = self.expect
        # PostgreSQL ignores a Sync that it reads during COPY IN, so it will not be answered.
        while len(expect) > 1 and expect[-1].kind in (SYNC, LOCAL):
            expect.pop()
        if not expect[0].hide_copy:
            self._out.append(raw)
        self._owner.copy_in_begun()

    def _copy_out(self, raw: bytes) -> None:
        if not self.expect[0].swallow:
            self._out.append(raw)
