"""`morphgres load FILE… --table T`: documents of files become rows of a table.

The command opens the data directory itself, or goes through the private PostgreSQL of the server
that runs in it (by its socket: only the same user or root can). The server sees the table at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import asyncpg

from backends.files.detect import table_name_of
from backends.files.reader import parse_format
from backends.files.records import FORMATS, ReadOptions
from backends.files.source import STDIN
from catalog.inference.statistics import InferenceLimits
from catalog.store import load_snapshot
from config.settings import Settings
from core.errors import ConnectionFailure, DiskFull, InvalidParameterValue, MorphError, StoreIOError
from core.telemetry import log
from engine.loading.jobs import Input, Job, Rows
from engine.loading.process import ReadingProcess
from evolution.load_session import CONFLICTS, LoadReport
from evolution.loading import Loader, existing_table, field_types, loadable_name
from private_pg.cluster import DATABASE, SUPERUSER
from proxy.commands import INTERRUPTED
from proxy.commands.faults import report
from proxy.commands.progress import ShownProgress
from proxy.commands.serve import settings_from
from proxy.commands.store_access import socket_directory

SOME_REJECTED: Final = 3
REJECTS_SHOWN: Final = 5
EPILOG = """\
examples:
  morphgres load orders.ndjson                       into the table orders
  morphgres load a.json.gz b.json.zst --table orders
  mongoexport -c orders … | morphgres load - --table orders
  morphgres load people.csv --data /var/lib/morph --on-conflict replace

A record that is no document goes to the rejects file with its line number and the rest is loaded.
A value that does not fit its column stays in the document and is recorded as an event.
exit status: 0 all loaded, 1 nothing loaded, 2 wrong usage, 3 loaded but for some rejects
"""


def add_command(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "load",
        help="load documents into a table",
        description="Load NDJSON, JSON arrays, Extended JSON, CSV or Parquet into a table, which "
        "is made if there is none; gzip and zstd are recognized. All of it is loaded, or nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    parser.add_argument("--table", metavar="T", help="the table (default: the name of the file)")
    parser.add_argument(
        "--format", metavar="F", help=f"{', '.join(FORMATS)} (default: by content and name)"
    )
    parser.add_argument(
        "--on-conflict",
        choices=CONFLICTS,
        default="reject",
        help="what becomes of a document whose key exists already (default: reject)",
    )
    parser.add_argument(
        "--rejects", type=Path, metavar="FILE", help="where rejects go (default: T_rejects.ndjson)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (TOML)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory")
    parser.set_defaults(run=run)


class LoadSink(ShownProgress):
    """Shows the progress, names the first rejects and writes all of them to the rejects file."""

    def __init__(self, label: str, names: Sequence[str], rejects: Path) -> None:
        super().__init__(label)
        self._names = names
        self._path = rejects
        self._file: TextIO | None = None
        self.rejected = 0

    def read(self, rows: Rows) -> None:
        """See Sink."""
        for reject in rows.rejects:
            self._write(rows.source, reject.line_number, reject.reason, reject.excerpt)
        super().read(rows)

    def reject(self, source: int, line: int, reason: str, excerpt: str) -> None:
        """See Sink."""
        super().reject(source, line, reason, excerpt)
        self._write(source, line, reason, excerpt)

    def open(self) -> None:
        """Make the rejects file."""
        try:
            self._file = self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._fault(error) from error

    def close(self) -> None:
        """Close the rejects file."""
        if self._file is not None:
            self._file.close()

    def _write(self, source: int, line: int, reason: str, excerpt: str) -> None:
        self.rejected += 1
        name = self._names[source]
        if self.rejected <= REJECTS_SHOWN:
            self.note(f"{name}:{line}: {reason}")
        elif self.rejected == REJECTS_SHOWN + 1:
            self.note(f"more rejects go to {self._path} only")
        if self._file is None:
            self.open()
        record = {"file": name, "line": line, "reason": reason, "record": excerpt}
        assert self._file is not None
        try:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> StoreIOError:
        reason = os.strerror(error.errno or 0)
        return StoreIOError(
            f'could not write rejects file "{self._path}": {reason}',
            hint="Name another file with --rejects.",
        )


def _inputs(options: argparse.Namespace) -> tuple[Input, ...]:
    """The inputs, checked before anything is started."""
    file_format = parse_format(options.format) if options.format else None
    if options.files.count(STDIN) > 1:
        raise InvalidParameterValue("standard input can be read once only")
    for path in options.files:
        if path != STDIN:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise StoreIOError(f'could not open file "{path}" for reading: {reason}') from error
    return tuple(Input(path, file_format) for path in options.files)


def _table(options: argparse.Namespace) -> str:
    if options.table is not None:
        return loadable_name(options.table)
    if len(options.files) > 1 or options.files[0] == STDIN:
        raise InvalidParameterValue(
            "which table to load into is not clear", hint="Name it with --table."
        )
    return loadable_name(table_name_of(options.files[0]))


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    async with socket_directory(settings) as directory:
        try:
            connection = await asyncpg.connect(
                host=directory, user=SUPERUSER, database=DATABASE, timeout=30
            )
        except (OSError, asyncpg.PostgresError) as error:
            raise ConnectionFailure(f"could not reach the private PostgreSQL: {error}") from error
        try:
            yield connection
        finally:
            await connection.close(timeout=10)


async def _load(
    settings: Settings, options: argparse.Namespace, table: str, sink: LoadSink, job: Job
) -> LoadReport:
    async with _connected(settings) as connection:
        expected = existing_table(await load_snapshot(connection), table)
        if expected is not None:
            job = Job(job.inputs, field_types(expected), job.options, job.limits)
        loader = Loader(connection, table, sink, expected=expected, conflict=options.on_conflict)
        async with ReadingProcess([job]) as process:
            try:
                return await loader.load(process.frames())
            except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError) as error:
                raise ConnectionFailure(
                    f"lost the private PostgreSQL while loading: {error}",
                    detail="Nothing of this load was kept.",
                ) from error
            except asyncpg.PostgresError as error:
                raise _postgres_fault(error) from error


def _postgres_fault(error: asyncpg.PostgresError) -> MorphError:
    kind = DiskFull if error.sqlstate == DiskFull.sqlstate else MorphError
    return kind(
        f"the private PostgreSQL refused the load: {error} ({error.sqlstate})",
        detail="Nothing of this load was kept.",
    )


def run(options: argparse.Namespace) -> int:
    """Load the files."""
    sink: LoadSink | None = None
    try:
        settings = settings_from(options)
        log.configure(settings.log.level, settings.log.format)
        table = _table(options)
        inputs = _inputs(options)
        rejects = options.rejects or Path(f"{table}{settings.load.rejects_suffix}.ndjson")
        names = ["standard input" if item.path == STDIN else item.path for item in inputs]
        sink = LoadSink(f"loading {table}", names, rejects)
        if options.rejects:
            sink.open()
        load = settings.load
        reading = ReadOptions(
            line_bytes_max=load.max_document_bytes,
            depth_max=load.max_depth,
            batch_rows_max=load.batch_docs,
        )
        job = Job(inputs, None, reading, InferenceLimits(columns_max=load.max_columns))
        result = asyncio.run(_load(settings, options, table, sink, job))
    except MorphError as error:
        if sink is not None:
            sink.clear()
        return report(error)
    except KeyboardInterrupt:
        sys.stderr.write("\nmorphgres: interrupted, nothing was loaded\n")
        return INTERRUPTED
    finally:
        if sink is not None:
            sink.close()
    sink.finish()
    _summarize(result, sink.progress.seconds, rejects)
    return SOME_REJECTED if result.rejects else 0


def _summarize(result: LoadReport, seconds: float, rejects: Path) -> None:
    rate = result.documents / seconds if seconds else 0
    made = "new table, " if result.created else ""
    plural = "" if result.documents == 1 else "s"
    lines = [
        f"{result.table}: {result.documents:,} document{plural} loaded, {made}"
        f"{seconds:.1f} s ({rate:,.0f}/s)"
    ]
    if result.version:
        lines.append(
            f"version {result.version} has the new fields: SET search_path = v{result.version}"
        )
    if result.skipped:
        lines.append(f"{result.skipped:,} skipped, their keys exist already")
    if result.rejects:
        lines.append(f"{result.rejects:,} rejected, see {rejects}")
    lines += [f"note: {note}" for note in result.notes]
    sys.stdout.write("\n".join(lines) + "\n")
