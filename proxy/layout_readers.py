"""What reads both layouts of a change in a worker: by the store that has its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.errors import InternalError
from engine.federate import PARTITIONED
from engine.instances import Instances
from evolution.changes.records import Record
from evolution.layouts.by_store import is_foreign
from evolution.layouts.foreign.store import ForeignLayouts
from proxy.both_layouts import BothLayouts, LayoutReader
from proxy.staged_layouts import StagedLayouts

if TYPE_CHECKING:
    from proxy.worker import Worker


def layout_reader(worker: Worker, record: Record, parameters: Mapping[str, str]) -> LayoutReader:
    """Reads as the client whose start packet had these parameters; it is not open yet."""
    layouts = BothLayouts(
        worker.changes.connect, worker.pool.socket_path, worker.secret, parameters
    )
    foreign, memory_max = worker.changes.foreign, worker.settings.merge.memory_max
    return reader_of(record, layouts, foreign, worker.instances, memory_max)


def reader_of(
    record: Record,
    layouts: BothLayouts,
    foreign: ForeignLayouts,
    instances: Instances,
    memory_max: int,
) -> LayoutReader:
    """`layouts` itself, or what reads other stores with it."""
    if not any(map(is_foreign, record.tables)):
        return layouts

    def kind_of(instance: str) -> str:
        kind = instances.kind_of(instance) if instance else PARTITIONED
        if kind is None:
            raise InternalError(f'server "{instance}" of a foreign table is not known')
        return kind

    return StagedLayouts(layouts, foreign, instances.backend, kind_of, memory_max)
