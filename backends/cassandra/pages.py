"""Result pages: kept as raw bytes in the driver's thread, decoded into Arrow by the consumer.

`RawHandler` is the protocol handler of our sessions: a result message keeps its rows undecoded, so
the driver's one network thread stays free, and a fault of decoding is raised where it is seen. (The
driver's own handlers swallow such a fault and answer no rows.) Rows are read by the driver's Cython
parser, by the raw types of `shapes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cassandra import DriverException, cqltypes
from cassandra.bytesio import BytesIOReader
from cassandra.deserializers import make_deserializers
from cassandra.obj_parser import ListParser
from cassandra.parsing import ParseDesc
from cassandra.policies import ColDesc
from cassandra.protocol import ResultMessage, _ProtocolHandler

from backends.cassandra.shapes import Shape, shape_of
from core.errors import ConnectionFailure

_PARSER: Final = ListParser()
_COUNT_BYTES: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How rows of one result are read: names, shapes, and the parser's description.

    There is one for each names and types, so it is compared by identity.
    """

    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    description: Any


@lru_cache(maxsize=1024)
def _layout(names: tuple[str, ...], types: tuple[Any, ...], version: int) -> Layout:
    shapes = tuple(shape_of(each) for each in types)
    raw = [each.raw for each in shapes]
    fields = [ColDesc("", "", name) for name in names]
    description = ParseDesc(list(names), raw, None, fields, make_deserializers(raw), version)
    return Layout(names, shapes, description)


@lru_cache(maxsize=64)
def _bytes_layout(count: int, version: int) -> Any:
    kinds = [cqltypes.BytesType] * count
    names = [str(i) for i in range(count)]
    fields = [ColDesc("", "", name) for name in names]
    return ParseDesc(names, kinds, None, fields, make_deserializers(kinds), version)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a result; `state` is where the next one starts, None after the last."""

    body: bytes
    names: tuple[str, ...]
    types: tuple[Any, ...]
    version: int
    state: bytes | None
    warnings: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many rows it has, as the server says."""
        return int.from_bytes(self.body[:_COUNT_BYTES], "big")

    @property
    def layout(self) -> Layout:
        """How its rows are read."""
        return _layout(self.names, self.types, self.version)

    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of raw values; a page that is cut short is 08006."""
        if not self.names:
            return [()] * self.count
        return self._parsed(self.layout.description)

    def stored(self) -> list[tuple[bytes | None, ...]]:
        """The rows with the stored bytes of each value, which may be bound again as they are."""
        return self._parsed(_bytes_layout(len(self.names), self.version))

    def _parsed(self, description: Any) -> list[tuple[Any, ...]]:
        try:
            parsed: list[tuple[Any, ...]] = _PARSER.parse_rows(
                BytesIOReader(self.body), description
            )
        except (EOFError, DriverException) as fault:
            raise ConnectionFailure(
                "an answer of Cassandra cannot be read", detail=f"The driver says: {fault}."
            ) from fault
        return parsed


class RawResult(ResultMessage):  # type: ignore[misc]
    """A result message that keeps its rows as they came."""

    code_to_type = {v: k for k, v in ResultMessage.type_codes.items()}  # noqa: RUF012

    def recv_results_rows(
        self, f: Any, version: int, user_types: Any, metadata: Any, _encryption: Any
    ) -> None:
        """Reads the metadata and takes the rest as it is."""
        self.recv_results_metadata(f, user_types)
        columns: Sequence[Any] = self.column_metadata or metadata
        self.column_names = [each[2] for each in columns]
        self.column_types = [each[3] for each in columns]
        self.parsed_rows = Page(
            f.read(),
            tuple(self.column_names),
            tuple(self.column_types),
            version,
            self.paging_state,
        )


class RawHandler(_ProtocolHandler):  # type: ignore[misc]
    """The driver's protocol with RawResult for results."""

    message_types_by_opcode = {  # noqa: RUF012
        **_ProtocolHandler.message_types_by_opcode,
        ResultMessage.opcode: RawResult,
    }


def first_page(_names: Any, page: Page) -> Page:
    """The row factory of our sessions: the page itself."""
    return page
