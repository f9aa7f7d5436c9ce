"""Morphgres as a contender: the serving process, its data, and the CPU time of its parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import psycopg

from engine.loading.jobs import Input, Job
from engine.loading.process import ReadingProcess
from evolution.loading import Loader
from private_pg.cluster import DATABASE, SUPERUSER
from tests.integration.server_process import ServerProcess


class _Silent:
    """A sink of the loader that shows nothing."""

    def read(self, rows: object) -> None:
        """A batch was read."""

    def reject(self, source: int, line: int, reason: str, excerpt: str) -> None:
        """A document was not taken: the data is wrong."""
        raise AssertionError(f"{source}:{line}: {reason}: {excerpt}")


class Morphgres:
    """A durable server with default settings."""

    user = "morph"
    database = "morph"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = ServerProcess(directory, durable=True)

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.server.host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def pid(self) -> int:
        """The serving process: with one worker it is the proxy."""
        return self.server.pid

    @property
    def pg_pids(self) -> tuple[int, ...]:
        """The postmasters to measure: the private PostgreSQL's."""
        return (self.server.postmaster_pid,)

    def start(self, workers: int = 1) -> None:
        """Start with a number of workers."""
        self.server.port = 0
        self.server.arguments = ("--workers", str(workers))
        self.server.start()

    def stop(self) -> None:
        """Stop cleanly."""
        self.server.stop()

    def connect(self) -> psycopg.Connection[Any]:
        """A connection with autocommit."""
        return self.server.connect()

    def load(self, file: Path, table: str) -> None:
        """Make a document table of a file, by the loader of `morphgres load`."""
        asyncio.run(self._load(file, table))

    async def _load(self, file: Path, table: str) -> None:
        socket = str(self.server.socket_directory)
        connection = await asyncpg.connect(host=socket, user=SUPERUSER, database=DATABASE)
        try:
            async with ReadingProcess([Job((Input(path=str(file)),))]) as process:
                await Loader(connection, table, _Silent()).load(process.frames())
        finally:
            await connection.close()
