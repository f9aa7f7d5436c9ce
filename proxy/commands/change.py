"""`morphgres change …`: the changes of a data directory, and what one asks of them.

The command goes through the private PostgreSQL of the server that runs there (by its socket: only
the same user or root can). What needs the controller needs that server; looking does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg

from catalog.store import read_secret
from config.settings import Settings
from core.errors import (
    CannotConnect,
    DataDirectoryError,
    InvalidParameterValue,
    MorphError,
    ObjectNotInPrerequisiteState,
    UndefinedObject,
)
from core.telemetry import log
from evolution.changes import events, requests
from evolution.changes.controller import ConnectionCatalog
from evolution.changes.driver import read_snapshot
from evolution.changes.needs import Verdict
from evolution.changes.records import Note, Record, load_record, load_records, move
from evolution.changes.requests import Wish
from evolution.changes.states import Phase, refusal
from evolution.ddl import LOCK_CATALOG
from evolution.lifecycle import line, promote, roll_back
from private_pg.cluster import DATABASE, PORT, SUPERUSER
from proxy.both_layouts import BothLayouts
from proxy.change_control import worker_numbers
from proxy.change_wishes import fulfil, locked
from proxy.commands.change_shown import Shown, as_json, as_table
from proxy.commands.faults import report
from proxy.commands.own_layouts import OwnLayouts
from proxy.commands.serve import settings_from
from proxy.commands.store_access import running_socket, socket_directory
from proxy.inline_asking import ask_workers
from proxy.replays import replay

CONNECT_TIMEOUT_S: Final = 30.0
WATCH_S: Final = 0.2
_ACTOR: Final = "operator"
_LIST: Final = (
    "SELECT DISTINCT ON (change_id) change_id, state, kind, relation, held, wanted, reason, "
    "created_at::text FROM morph.changes WHERE state <> 'published' ORDER BY change_id, seq"
)
_CHANGE: Final = (
    "SELECT change_id, state, kind, relation, ddl, origin, actor, created_at::text, "
    "state_at::text, revision, held, wanted, reason, window_until::text FROM morph.changes "
    "WHERE change_id = $1 ORDER BY seq"
)
_STEPS: Final = (
    "SELECT at::text, event, from_state, to_state, epoch, actor, detail FROM morph.change_steps "
    "WHERE change_id = $1 ORDER BY step_id"
)
_PROGRESS: Final = (
    "SELECT state, rows, total, percent::float8, rows_per_s, left_seconds::float8, pending, lag_s, "
    "held, reason FROM morph.progress WHERE change_id = $1"
)
_COMPARING: Final = (
    "SELECT table_name, rows_compared, rows_per_s, discrepancies FROM morph.validation_reports "
    "WHERE change_id = $1 AND method = $2 AND state = 'running' ORDER BY report_id DESC LIMIT 1"
)
_ROLE: Final = (
    "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper "
    "AND pg_has_role(oid, 'morph_client', 'member') ORDER BY rolname LIMIT 1"
)
_FUNCTIONS: Final = (
    "SELECT DISTINCT unnest(CASE n.nspname WHEN 'morph' THEN ARRAY['morph.' || proname] "
    "ELSE ARRAY[proname::text, 'pg_catalog.' || proname] END) FROM pg_proc p "
    "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE nspname IN ('pg_catalog', 'morph')"
)
EPILOG = """\
examples:
  morphgres change list                 every change and its state
  morphgres change show 7 --json        one of them with all that happened to it
  morphgres change watch 7              a bar until it is ready, promoted or over
  morphgres change promote 7            waits until its version is current
  morphgres change rollback 7 --accept  even when rows cannot be shown as they are
  morphgres change validate 7 --query 'SELECT sum(x) FROM t'   on both layouts

exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 validation found differences
"""
_VERBS: Final = {
    "list": "list the changes",
    "show": "show one change with its steps",
    "watch": "follow a change",
    "promote": "make the version of a change current",
    "rollback": "return to the version before a change",
    "validate": "compare the two layouts of a change",
    "hold": "stop the copying",
    "resume": "let it go on, or try a failed one again",
    "discard": "give a change up",
    "contract": "remove the old layout of a promoted change",
}
_LOOKING: Final = ("list", "show")
METHODS: Final = ("full", "checksum", "sample", "query", "inline")
DIFFERENT: Final = 3
Connect = Callable[[], Awaitable[asyncpg.Connection]]


def add_command(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "change",
        help="look at schema changes and operate them",
        description="Look at the schema changes of a data directory, and operate them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for verb, text in _VERBS.items():
        each = verbs.add_parser(verb, help=text, description=text.capitalize() + ".")
        if verb != "list":
            each.add_argument("number", type=int, metavar="N", help="the number of the change")
        if verb == "rollback":
            each.add_argument(
                "--accept",
                action="store_true",
                help="roll back although rows cannot be shown as they are",
            )
        if verb == "validate":
            each.add_argument("--method", default="", choices=METHODS)
            each.add_argument(
                "--query",
                action="append",
                default=[],
                metavar="SELECT",
                help="a query to run on both layouts; without one, those of morph.statements",
            )
        each.add_argument("--json", action="store_true", help="print JSON")
        each.add_argument("--config", type=Path, metavar="FILE", help="configuration file (TOML)")
        each.add_argument("--data", type=Path, metavar="DIR", help="data directory")
        each.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run one verb; the exit status."""
    try:
        settings = settings_from(options)
        log.configure("error", settings.log.format)
        return asyncio.run(_run(settings, options))
    except MorphError as error:
        return report(error)


async def _run(settings: Settings, options: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        directory = running_socket(settings.data.directory)
        if directory is None or not os.access(directory, os.X_OK):
            if options.verb not in _LOOKING:
                raise ObjectNotInPrerequisiteState(
                    f"no server runs in data directory {settings.data.directory}",
                    hint="Start it with morphgres serve: it drives changes.",
                )
            _require_data(settings.data.directory)
            directory = await stack.enter_async_context(socket_directory(settings))
        connect = functools.partial(_connect, directory)
        connection = await connect()
        try:
            command = _Command(connection, connect, settings, options, directory)
            return await command.run()
        finally:
            connection.terminate()


def _require_data(data: Path) -> None:
    """Looking makes no data directory."""
    if not data.is_dir() or not any(data.iterdir()):
        raise DataDirectoryError(
            f"there is no Morphgres in data directory {data}", hint="Name another one with --data."
        )


async def _connect(directory: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(
            host=directory,
            user=SUPERUSER,
            database=DATABASE,
            timeout=CONNECT_TIMEOUT_S,
            statement_cache_size=0,
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise CannotConnect("could not connect to the private PostgreSQL") from error


class _Command:
    """One run of the command on an open connection."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        connect: Connect,
        settings: Settings,
        options: argparse.Namespace,
        directory: str,
    ) -> None:
        self._directory = directory
        self._db = connection
        self._connect = connect
        self._settings = settings
        self._options = options
        self._catalog = ConnectionCatalog(connection)
        self._number: int = getattr(options, "number", 0)

    async def run(self) -> int:
        """Run the verb that was asked for."""
        verbs: Mapping[str, Callable[[], Awaitable[int]]] = {
            "list": self._list,
            "show": self._show,
            "watch": self._watch,
            "promote": self._promote,
            "rollback": self._roll_back,
            "validate": self._validate,
            "hold": self._hold,
            "resume": self._resume,
            "discard": self._wish,
            "contract": self._wish,
        }
        return await verbs[self._options.verb]()

    def _print(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")

    # ---------------------------------------------------------------- looking

    async def _list(self) -> int:
        found = [dict(row) for row in await self._db.fetch(_LIST)]
        self._print(as_json(found) if self._options.json else as_table(found))
        return 0

    async def _show(self) -> int:
        found = await self._found()
        steps = [dict(row) for row in await self._db.fetch(_STEPS, self._number)]
        if self._options.json:
            self._print(as_json({**found[0], "operations": found, "steps": steps}))
            return 0
        first = found[0]
        heading = f"change {self._number}: {first['state']}"
        self._print(heading + (f" ({first['reason']})" if first["reason"] else ""))
        for operation in found:
            self._print(f"  {operation['kind']} {operation['relation']}: {operation['ddl']}")
        if steps:
            self._print(as_table(steps))
        return 0

    async def _found(self) -> list[dict[str, Any]]:
        found = [dict(row) for row in await self._db.fetch(_CHANGE, self._number)]
        if not found:
            raise UndefinedObject(
                f"change {self._number} does not exist", hint="See morphgres change list."
            )
        return found

    async def _watch(self) -> int:
        await self._found()
        shown = Shown(f"change {self._number}", as_lines=self._options.json)
        while True:
            row = await self._db.fetchrow(_PROGRESS, self._number)
            if row is None:
                state = (await self._found())[0]["state"]
                shown.end({"state": state})
                return 0 if state not in ("failed review", "discarded") else 1
            shown.show(dict(row))
            if row["state"] in ("ready", "promoted", "rolled back") or row["held"]:
                shown.end(dict(row))
                return 0
            await asyncio.sleep(WATCH_S)

    # ---------------------------------------------------------------- operating

    async def _promote(self) -> int:
        await self._found()
        async with self._catalog.transaction() as tx:
            snapshot, records = await read_snapshot(tx), await load_records(tx)
        todo = []
        if self._number in snapshot.versions:
            todo = requests.to_promote(snapshot, records, self._number)
        await self._fulfil([Wish(r.change_id, requests.PROMOTE) for r in todo])
        async with self._catalog.transaction() as tx:
            await tx.apply([LOCK_CATALOG])
            await promote(tx, await read_snapshot(tx), self._number)
        return self._done("promoted")

    async def _roll_back(self) -> int:
        await self._found()
        async with self._catalog.transaction() as tx:
            snapshot, records = await read_snapshot(tx), await load_records(tx)
        undone = requests.to_roll_back(snapshot, records, self._number)
        kept = (Phase.FENCED, Phase.PROMOTED, Phase.RB_FENCED, Phase.CONTRACTING, Phase.COMPLETED)
        wanted = requests.ROLL_BACK_ACCEPTING if self._options.accept else requests.ROLL_BACK
        await self._fulfil([Wish(r.change_id, wanted) for r in undone if r.phase in kept])
        async with self._catalog.transaction() as tx:
            await tx.apply([LOCK_CATALOG])
            snapshot = await read_snapshot(tx)
            if not undone or self._number in line(snapshot, snapshot.current):
                for record in undone:
                    if record.state.lazy:
                        event = events.PromoteLazily(follows=True, on=False)
                        await move(tx, await locked(tx, record.change_id), event, Note(_ACTOR))
                await roll_back(tx, snapshot, self._number, accept=self._options.accept)
        return self._done("rolled back")

    async def _wish(self) -> int:
        record = await self._record()
        await self._fulfil([Wish(record.change_id, self._options.verb)])
        return self._done("contracted" if self._options.verb == "contract" else "discarded")

    async def _fulfil(self, wishes: list[Wish]) -> None:
        """Wait for wishes; people see how far it is, programs only the end."""
        if self._options.json:
            for wish in wishes:
                await fulfil(self._connect, wish, _ACTOR, lambda _: None)
            return
        shown = Shown(f"change {self._number}")
        watching = asyncio.create_task(self._show_progress(shown), name="progress")
        try:
            for wish in wishes:
                await fulfil(self._connect, wish, _ACTOR, lambda record: shown.told(record.phase))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            shown.clear()

    async def _show_progress(self, shown: Shown) -> None:
        connection = await self._connect()
        try:
            while True:
                row = await connection.fetchrow(_PROGRESS, self._number)
                if row is not None:
                    shown.show(dict(row))
                await asyncio.sleep(WATCH_S)
        finally:
            connection.terminate()

    async def _hold(self) -> int:
        return await self._flag(events.Hold(f"held by {_ACTOR}"), f"held by {_ACTOR}", "held")

    async def _resume(self) -> int:
        record = await self._record()
        if record.phase is Phase.FAILED_REVIEW:
            return await self._flag(events.Retry(_ACTOR), "", "tried again")
        return await self._flag(events.Resume(), "", "resumed")

    async def _flag(self, event: events.Event, reason: str, what: str) -> int:
        await self._record()
        async with self._catalog.transaction() as tx:
            record = await locked(tx, self._number)
            if refusal(record.state, event):
                raise requests.refused(record, what)
            await move(tx, record, event, Note(_ACTOR, reason, attempts=record.attempts))
        return self._done(what)

    async def _validate(self) -> int:
        record = await self._record()
        if record.phase not in (Phase.READY, Phase.PROMOTED, Phase.ROLLED_BACK):
            raise requests.refused(record, "validated", "What has two layouts can be compared.")
        method = self._options.method or ("query" if self._options.query else "")
        method = method or self._settings.changes.validation
        if self._options.query and method != "query":
            raise InvalidParameterValue(f"validation by {method} takes no queries")
        own = OwnLayouts(self._connect, self._settings)
        shown = Shown(f"change {self._number}", quiet=self._options.json)
        watching = asyncio.create_task(self._show_comparing(shown, method), name="progress")
        try:
            if method == "query":
                verdict = await self._replayed(own, record)
            elif method == "inline":
                numbers = worker_numbers(self._settings.server.workers)
                verdict = await ask_workers(self._connect, numbers, self._number)
            else:
                verdict = await own.validator.validate(record.work(), method)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            shown.clear()
            await own.close()
        found = {
            "change_id": self._number,
            "report_id": verdict.report_id,
            "critical": verdict.critical,
            "found": verdict.reason or "no differences",
        }
        text = f"change {self._number}: {found['found']} (report {verdict.report_id})"
        self._print(json.dumps(found) if self._options.json else text)
        return DIFFERENT if verdict.critical else 0

    async def _replayed(self, own: OwnLayouts, record: Record) -> Verdict:
        """As one of the clients' roles: the texts are theirs."""
        role = await self._db.fetchval(_ROLE)
        if role is None:
            raise ObjectNotInPrerequisiteState(
                "no client has logged in yet, in whose name queries could run"
            )
        socket = f"{self._directory}/.s.PGSQL.{PORT}"
        secret = await read_secret(self._db)
        parameters = {"user": str(role), "database": DATABASE}
        stateless = frozenset(row[0] for row in await self._db.fetch(_FUNCTIONS))
        return await replay(
            own.reader(record, BothLayouts(self._connect, socket, secret, parameters)),
            own.validator,
            record.work(),
            self._options.query,
            stateless,
            self._settings.validation.query_timeout,
        )

    async def _show_comparing(self, shown: Shown, method: str) -> None:
        connection = await self._connect()
        try:
            while True:
                await asyncio.sleep(WATCH_S)
                row = await connection.fetchrow(_COMPARING, self._number, method)
                if row is not None:
                    shown.comparing(dict(row))
        finally:
            connection.terminate()

    async def _record(self) -> Record:
        await self._found()
        async with self._catalog.transaction() as tx:
            return await load_record(tx, self._number)

    def _done(self, what: str) -> int:
        found = {"change_id": self._number, "done": what}
        self._print(json.dumps(found) if self._options.json else f"change {self._number} is {what}")
        return 0
