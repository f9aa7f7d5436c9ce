"""All settings as one immutable value; components get their own section of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from config.auth import AuthSettings
from config.changes import ChangesSettings
from config.data import DataSettings
from config.evolution import EvolutionSettings
from config.fields import tables
from config.instance import (
    DEFAULT_INSTANCES,
    INSTANCE_EXAMPLE,
    INSTANCES_MAX,
    InstanceSettings,
)
from config.load import LoadSettings
from config.log import LogSettings
from config.merge import MergeSettings
from config.metrics import MetricsSettings
from config.plan import PlanSettings
from config.private_pg import PrivatePgSettings
from config.server import ServerSettings
from config.stores import StoresSettings
from config.tls import TlsSettings
from config.validation import ValidationSettings

ENV_PREFIX = "MORPHGRES"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of one process. `Settings()` holds the defaults."""

    server: ServerSettings = field(default_factory=ServerSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    data: DataSettings = field(default_factory=DataSettings)
    private_pg: PrivatePgSettings = field(default_factory=PrivatePgSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    merge: MergeSettings = field(default_factory=MergeSettings)
    stores: StoresSettings = field(default_factory=StoresSettings)
    load: LoadSettings = field(default_factory=LoadSettings)
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)
    changes: ChangesSettings = field(default_factory=ChangesSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    instances: Annotated[
        tuple[InstanceSettings, ...],
        tables(
            "The stores; without any in the file there is one embedded instance named local.",
            InstanceSettings,
            key="instance",
            high=INSTANCES_MAX,
            example=INSTANCE_EXAMPLE,
        ),
    ] = DEFAULT_INSTANCES


SECTIONS: dict[str, type] = {
    "server": ServerSettings,
    "tls": TlsSettings,
    "auth": AuthSettings,
    "data": DataSettings,
    "private_pg": PrivatePgSettings,
    "plan": PlanSettings,
    "merge": MergeSettings,
    "stores": StoresSettings,
    "load": LoadSettings,
    "evolution": EvolutionSettings,
    "changes": ChangesSettings,
    "validation": ValidationSettings,
    "log": LogSettings,
    "metrics": MetricsSettings,
}


def env_name(section: str, key: str) -> str:
    """The environment variable of a setting: server.port → MORPHGRES_SERVER_PORT."""
    return f"{ENV_PREFIX}_{section}_{key}".upper()
