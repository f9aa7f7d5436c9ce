"""CALL morph.validate(n, 'query'): logged statements and given checks on both layouts of a change.

Each runs in the version that the change made and in the one before it, wherever its names mean
tables that show rows of the change's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from catalog.model import CatalogSnapshot, Table
from catalog.store import load_snapshot
from core.errors import (
    InvalidParameterValue,
    MorphError,
    ObjectNotInPrerequisiteState,
)
from evolution.changes.needs import Verdict
from evolution.layouts.base import ShadowWork
from evolution.layouts.by_store import is_foreign
from evolution.layouts.embedded.stand_ins import shown_by
from evolution.validation.replay import Answer, Check, Layout
from evolution.validation.validator import Validator
from proxy.both_layouts import BothAnswers, LayoutReader, Read, version_path
from proxy.staged_layouts import comparable, require_comparable
from proxy.stats import TEXT_MAX
from rewrite.analysis import Action, StatementPlan
from rewrite.tree import Node, ast, walk

LOGGED: Final = (
    "SELECT DISTINCT ON (fingerprint) fingerprint, query FROM morph_catalog.statements "
    "WHERE kind = 'Select' AND calls > errors ORDER BY fingerprint, calls DESC"
)
_LIST_MAX: Final = 1_000
"""Statements that one validation replays at most."""


Uses = Mapping[int, Sequence[Table]]
"""Tables by the version in which they are named."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What is to be run: `uses` are the tables that each check reads, in its version."""

    checks: tuple[Check, ...]
    uses: Mapping[Check, Uses]
    left_out: int = 0


async def logged_statements(db: asyncpg.Connection) -> list[tuple[str, str]]:
    """(fingerprint, text) of the SELECTs in morph.statements."""
    return [(row[0], row[1]) for row in await db.fetch(LOGGED)]


async def checks_of(
    db: asyncpg.Connection,
    work: ShadowWork,
    queries: Sequence[str],
    stateless: frozenset[str] | None,
) -> Replayed:
    """The given queries, or the logged ones when none are given: those with parameters, and those
    that call functions other than `stateless` (None: any), are left out and counted.

    Raises InvalidParameterValue (22023) for a given query that is no SELECT on a table of the
    change.
    """
    snapshot = await load_snapshot(db)
    found: dict[Check, Uses] = {}
    if queries:
        for number, text in enumerate(queries, 1):
            mine = _checks(snapshot, work, f"query {number}", text, None)
            if not mine:
                raise InvalidParameterValue(
                    f"query {number} is no SELECT on a table of change {work.change_id}",
                    detail=text,
                )
            found.update(mine)
        return Replayed(tuple(found), found)
    left_out = 0
    for fingerprint, text in (await logged_statements(db))[:_LIST_MAX]:
        mine = _checks(snapshot, work, fingerprint, text, stateless)
        if mine is None:
            left_out += 1
        else:
            found.update(mine)
    return Replayed(tuple(found), found, left_out)


def _checks(
    snapshot: CatalogSnapshot,
    work: ShadowWork,
    name: str,
    text: str,
    stateless: frozenset[str] | None,
) -> dict[Check, Uses] | None:
    """A text in both versions, with the tables that it reads there; None when it reads some and
    cannot be run.
    """
    found: dict[Check, Uses] = {}
    for number in (work.parent, work.version):
        if number not in snapshot.versions or len(text) >= TEXT_MAX:
            continue
        try:
            plan = Read(text, version_path(number)).plan(snapshot)
        except MorphError:
            continue
        statement = plan.single
        if statement is None or not read_from(snapshot, work, statement):
            continue
        if stateless is not None and not _replayable(statement, stateless):
            return None
        if any(map(is_foreign, work.tables)):
            if stateless is None:
                require_comparable(statement, work)
            elif not comparable(statement, work):
                return None
        found[Check(name, text, ordered(statement), number)] = uses_of(statement)
    return found


def read_from(snapshot: CatalogSnapshot, work: ShadowWork, statement: StatementPlan) -> bool:
    """Whether a statement is a SELECT on a table that shows rows of the change's."""
    foreign = any(map(is_foreign, work.tables))
    wanted = Action.FEDERATE if foreign else Action.RELAY
    if statement.kind != "Select" or statement.action is not wanted:
        return False
    ids = {table.table_id for table in work.tables}
    return any(
        ref.resolved.table.id in shown_by(snapshot, ref.resolved.version, ids)
        for ref in statement.relations
    )


def uses_of(statement: StatementPlan) -> Uses:
    """The tables that a statement reads, by version."""
    found: dict[int, list[Table]] = {}
    for ref in statement.relations:
        found.setdefault(ref.resolved.version.number, []).append(ref.resolved.table)
    return found


def _replayable(statement: StatementPlan, stateless: frozenset[str]) -> bool:
    parameters = any(isinstance(node, ast.ParamRef) for node in walk(statement.node))
    return not parameters and statement.functions <= stateless and not _locks(statement.node)


def ordered(statement: StatementPlan) -> bool:
    """Whether a SELECT says in which order its rows come."""
    return bool(getattr(statement.node, "sortClause", None))


def _locks(node: Node) -> bool:
    return bool(getattr(node, "lockingClause", None))


class Variants:
    """The layouts of a change for `Replay`: each check has a moment of its own."""

    def __init__(
        self, layouts: LayoutReader, work: ShadowWork, replayed: Replayed, timeout_s: float
    ) -> None:
        self._layouts = layouts
        self._work = work
        self._replayed = replayed
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def ask(self, check: Check) -> AsyncIterator[OneCheck]:
        """See `Ask`."""
        uses = self._replayed.uses[check]
        async with self._layouts.reading(self._work, uses, self._timeout_s) as moment:
            yield OneCheck(moment, Read(check.sql, version_path(check.version)))


@dataclass(frozen=True, slots=True)
class OneCheck:
    """See `Asking`."""

    moment: BothAnswers
    read: Read

    async def ask(self, layout: Layout) -> Answer:
        """See Asking."""
        return await self.moment.ask(layout, self.read)


async def replay(
    layouts: LayoutReader,
    validator: Validator,
    work: ShadowWork,
    queries: Sequence[str],
    stateless: frozenset[str],
    timeout_s: float,
) -> Verdict:
    """Replay on a backend that is not open yet, and is closed at the end.

    Raises ObjectNotInPrerequisiteState (55000) when there is nothing to replay, and
    FeatureNotSupported (0A000) for a query that cannot be compared (staged_layouts.py).
    """
    control = await layouts.connect()
    try:
        replayed = await checks_of(control, work, queries, stateless)
    finally:
        control.terminate()
    if not replayed.checks:
        raise ObjectNotInPrerequisiteState(
            f"morph.statements has no query on a table of change {work.change_id} to replay",
            detail=f"{replayed.left_out} have parameters, call functions of clients, or show what "
            "is not compared."
            if replayed.left_out
            else "",
            hint="Give some: queries => ARRAY['SELECT …'].",
        )
    try:
        await layouts.open()
        variants = Variants(layouts, work, replayed, timeout_s)
        return await validator.replay(work, replayed.checks, variants.ask)
    finally:
        layouts.close()
