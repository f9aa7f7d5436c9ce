"""Section `stores`: how the stores behind the instances are reached, and what SQL may register."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from config.fields import HOUR, MINUTE, boolean, choice, duration, integer, path, text

StoreWrites = Literal["refuse", "at_commit"]
MultiStoreCommit = Literal["refuse", "sequential"]


@dataclass(frozen=True, slots=True)
class StoresSettings:
    """How the stores behind the instances are reached, and what SQL may register."""

    connect_timeout: Annotated[
        float, duration("A server that does not answer for so long is unreachable.", 0.1, MINUTE)
    ] = 5.0
    describe_timeout: Annotated[
        float,
        duration("Longest look at a store's tables: IMPORT FOREIGN SCHEMA.", 0.1, HOUR),
    ] = MINUTE
    timeout: Annotated[
        float,
        duration("Longest work of one statement in a store (57014 after it).", 0.1, 24 * HOUR),
    ] = HOUR
    batch_rows: Annotated[
        int, integer("Rows of one batch from a store.", 1, 1_000_000, unit="rows")
    ] = 10_000
    max_connections: Annotated[
        int, integer("Connections of one worker to one instance.", 1, 10_000)
    ] = 8
    health_interval: Annotated[
        float, duration("Time between two looks at whether an instance answers.", 0.1, HOUR)
    ] = 30.0
    drain: Annotated[
        float,
        duration("Scans get so long to end when their instance is altered or dropped.", 0.0, HOUR),
    ] = 30.0
    sql: Annotated[
        bool, boolean("Whether CREATE SERVER and morph.add_instance may register instances.")
    ] = True
    store_writes: Annotated[
        StoreWrites,
        choice(
            "Default of morph.store_writes: what a write to a store without transactions does in a"
            " transaction. refuse is an error; at_commit keeps it until COMMIT.",
            get_args(StoreWrites),
        ),
    ] = "refuse"
    multi_store_commit: Annotated[
        MultiStoreCommit,
        choice(
            "Default of morph.multi_store_commit: what a transaction that writes to several stores"
            " does. refuse is an error; sequential commits one store after the other.",
            get_args(MultiStoreCommit),
        ),
    ] = "refuse"
    secret_env_prefix: Annotated[
        str,
        text(
            "Environment variables that SQL may refer to as secrets begin with this; those of the"
            " file may have any name."
        ),
    ] = "MORPHGRES_SECRET_"
    secret_directory: Annotated[
        Path, path("Files that SQL may refer to as secrets lie in this directory.")
    ] = Path("/run/secrets")
