"""The native query of a scan: a find, or a pipeline where a find does not do (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bson import json_util
from bson.datetime_ms import DatetimeMS

from backends.mongodb.decode import ColumnSpec
from backends.mongodb.documents import milliseconds
from backends.mongodb.filters import INTEGRAL
from backends.mongodb.grouping import GroupedQuery
from backends.mongodb.partners import ADDED

ORDINALITY: Final = "morph~n"
"""The field that $unwind puts an element's position in; no dotted name of a path has it."""
COUNT: Final = "n"

# What servers that read BSON with Python's datetime can be asked about.
_NARROW_MS: Final = (-62_135_596_800_000, 253_402_300_799_999)


@dataclass(frozen=True, slots=True)
class Segment:
    """One find of a scan; several follow one another, each for a part of the rows."""

    filter: Mapping[str, Any] = field(hash=False)
    sort: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MongoQuery:
    """A query and how its documents become rows. `limit` 0 is none.

    `answers`: documents that are rows, or groups (`grouped`), or one with the count of rows without
    columns.
    `pipeline` replaces the finds where it is set.
    """

    database: str
    collection: str
    specs: tuple[ColumnSpec, ...]
    segments: tuple[Segment, ...] = ()
    projection: Mapping[str, Any] | None = field(default=None, hash=False)
    limit: int = 0
    pipeline: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)
    answers: Literal["rows", "count", "groups"] = "rows"
    grouped: GroupedQuery | None = None
    quick: tuple[Mapping[str, Any], ...] | None = field(default=None, hash=False)
    """A pipeline to try before the one of groups (grouping.py)."""
    required: tuple[int, ...] = ()
    """Columns in which a row has a value, or is left out: the filter said so but for misfits."""
    by_key: bool = False
    """The filter names keys: one reply has all rows, mostly."""
    partners: tuple[Mapping[str, Any], ...] = ()
    """Stages that leave the rows that count for the limit (partners.py)."""
    merged_by: tuple[int, bool] | None = None
    """The column (and whether descending) by which the segments' rows are put together."""
    width: int | None = None
    """How many of the specs are shown; None for all."""

    @property
    def limit_in_store(self) -> bool:
        """Whether the store stops at the limit: not where rows may be left out behind it."""
        return bool(self.limit) and not self.required

    def __str__(self) -> str:
        name = f"{self.database}.{self.collection}"
        if self.pipeline is not None:
            text = f"{name}.aggregate({shown(list(self.pipeline))})"
            if self.quick is None:
                return text
            return f"{name}.aggregate({shown(list(self.quick))}) or, if unsettled, {text}"
        between = " then " if self.merged_by is None else " merged with "
        return between.join(self._find_text(name, segment) for segment in self.segments)

    def _find_text(self, name: str, segment: Segment) -> str:
        if self.partners:
            return f"{name}.aggregate({shown(self._stages(segment))})"
        text = f"{name}.find({shown(segment.filter)}, {shown(self.projection or {})})"
        if segment.sort:
            text += f".sort({shown(dict(segment.sort))})"
        if self.limit_in_store:
            return f"{text}.limit({self.limit})"
        return text + (f".batchSize({self.limit})" if self.limit else "")

    def _stages(self, segment: Segment) -> list[Mapping[str, Any]]:
        """A segment as a pipeline whose limit counts rows that have a partner."""
        return [
            {"$match": segment.filter},
            *([{"$sort": dict(segment.sort)}] if segment.sort else []),
            *self.partners,
            {"$limit": self.limit},
            {"$project": _shown_fields(self.projection)},
        ]

    def commands(self, *, wide_dates: bool, bits: bool) -> Iterable[dict[str, Any]]:
        """The commands, without batch size and what the connection adds; without what the server
        lacks (Features).
        """

        def adapt(value: Any) -> Any:
            return adapted(value, wide_dates=wide_dates, bits=bits)

        if self.pipeline is not None:
            command: dict[str, Any] = {
                "aggregate": self.collection,
                "pipeline": adapt(list(self.pipeline)),
            }
            yield {**command, "allowDiskUse": True} if self.grouped else command
            return
        for segment in self.segments:
            if self.partners:
                pipeline = adapt(self._stages(segment))
                yield {"aggregate": self.collection, "pipeline": pipeline, "allowDiskUse": True}
                continue
            command = {"find": self.collection, "filter": adapt(segment.filter)}
            if segment.sort:
                command["sort"] = dict(segment.sort)
            if self.projection is not None:
                command["projection"] = self.projection
            if self.limit_in_store:
                command["limit"] = self.limit
            yield command


def _shown_fields(projection: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return dict.fromkeys(ADDED, 0) if projection is None else projection


def shown(value: object) -> str:
    """A part of a query as Extended JSON, for EXPLAIN and golden tests."""
    return str(json_util.dumps(value, json_options=_SHOWN))


_SHOWN: Final = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED,
    datetime_representation=json_util.DatetimeRepresentation.ISO8601,
)


def adapted(value: Any, *, wide_dates: bool, bits: bool) -> Any:
    """The query for a server that lacks something.

    One that reads instants with a calendar of the years 1 to 9999 refuses others, and holds none.
    One without $bitsAllClear is asked by $mod of an expression what is an integer.
    """
    if wide_dates and bits:
        return value
    if isinstance(value, DatetimeMS) and not wide_dates:
        low, high = _NARROW_MS
        return DatetimeMS(min(max(milliseconds(value), low), high))
    if isinstance(value, Mapping):
        if not bits and list(value.values()) == [INTEGRAL]:
            name = next(iter(value))
            whole = {"$expr": {"$eq": [{"$mod": [f"${name}", 1]}, 0]}}
            return {"$and": [{name: {"$type": "double"}}, whole]}
        return {k: adapted(v, wide_dates=wide_dates, bits=bits) for k, v in value.items()}
    if isinstance(value, list):
        return [adapted(each, wide_dates=wide_dates, bits=bits) for each in value]
    return value
