"""Runs sqllogictest files: every query on Morphgres, on its merge tier and on the oracle.

Each variant of a query (protocol and format) runs on both sides and is compared byte for byte; then
the recorded results are compared with the oracle's. Variants before the last are undone, so that
what a statement changes is changed once.

    python -m tests.slt.runner --complete tests/slt/files/joins.slt
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import OperationalError

from tests.slt.compare import differences, result_lines, type_letters
from tests.slt.engines import BINARY, EXTENDED, MODES, SIMPLE, Engine, Outcome
from tests.slt.records import Record, complete_text, pattern_matches, read_records

MERGE = "merge"
MERGED = {MERGE: "off", "scan": "scan"}  # variants of MERGE: the value of morph.pushdown
ONCE = "once"  # label: run once only, because it moves something that no ROLLBACK moves back
_ONCE_WORDS = frozenset(
    (
        *("BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK", "SAVEPOINT", "RELEASE"),
        *("FETCH", "MOVE", "DECLARE", "CLOSE", "COPY", "CALL", "PREPARE", "DEALLOCATE"),
        *("SET", "RESET", "DISCARD", "LISTEN", "UNLISTEN", "NOTIFY", "VACUUM", "LOCK"),
        *("CREATE", "DROP", "ALTER"),
    )
)
_READS = re.compile(r"\s*(?:SELECT|VALUES|TABLE|SHOW|\()", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:INTO|nextval|setval|set_config)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sides:
    """How to open a session: of Morphgres, of the oracle."""

    morphgres: Callable[[], Engine]
    oracle: Callable[[], Engine]
    merge: bool = False


@dataclass(slots=True)
class Report:
    """What came of a file. `failures` are texts for people."""

    records: int = 0
    executions: int = 0
    failures: list[str] = field(default_factory=list)


class FileRun:
    """One file: its sessions and what it finds."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._sessions: dict[str, tuple[Engine, Engine]] = {}
        self.report = Report()

    def close(self) -> None:
        """End all sessions."""
        for session in self._sessions.values():
            for engine in session:
                engine.close()

    def _session(self, name: str) -> tuple[Engine, Engine]:
        if name not in self._sessions:
            self._sessions[name] = (self._sides.morphgres(), self._sides.oracle())
        return self._sessions[name]

    def run(self, record: Record) -> Outcome:
        """Run one record; returns the outcome that a completed file shows."""
        self.report.records += 1
        ours, theirs = self._session(record.connection)
        problems: dict[str, list[str]] = {"morphgres": [], MERGE: [], "postgresql": []}
        variants = self._variants(record, ours)
        outcomes = []
        for place, variant in enumerate(variants):
            undone = place + 1 < len(variants) and not (_only_reads(record.sql) and ours.idle)
            outcomes.append(self._pair(record, variant, (ours, theirs), undone, problems))
        shown = outcomes[0][1] if record.runs_on("postgresql") else outcomes[0][0]
        if record.skipped_on("postgresql"):
            shown = outcomes[0][0]
        assert shown is not None
        side = "morphgres" if shown is outcomes[0][0] else "postgresql"
        problems[side] += _recorded(record, shown)
        self._judge(record, problems)
        return shown

    def _variants(self, record: Record, ours: Engine) -> list[str]:
        modes = [EXTENDED, BINARY] if record.params is not None else list(MODES)
        word = record.sql.split(maxsplit=1)[0].rstrip(";").upper()
        once = record.kind in ("ok", "count") or record.label == ONCE or word in _ONCE_WORDS
        if once or ours.failed:
            return modes[:1]
        if self._sides.merge and record.runs_on(MERGE):
            modes[1:1] = MERGED
        return modes

    def _pair(
        self,
        record: Record,
        variant: str,
        session: tuple[Engine, Engine],
        undone: bool,
        problems: dict[str, list[str]],
    ) -> tuple[Outcome | None, Outcome | None]:
        engine = MERGE if variant in MERGED else "morphgres"
        wanted = (record.runs_on(engine), record.runs_on("postgresql"))
        texts = (record.sql, record.oracle_sql)
        outcomes: list[Outcome | None] = [None, None]
        for place in (0, 1):
            if wanted[place]:
                self.report.executions += 1
                merge = variant in MERGED and place == 0
                outcomes[place] = _execute(
                    session[place], texts[place], variant, record, undone=undone, merge=merge
                )
        ours, theirs = outcomes
        if ours is not None and theirs is not None:
            problems[engine] += [f"{variant}: {d}" for d in differences(record, ours, theirs)]
        return ours, theirs

    def _judge(self, record: Record, problems: dict[str, list[str]]) -> None:
        failures = _unexpected(record, problems)
        for engine, found in problems.items():
            condition = record.skipped_on(engine)
            if condition is None:
                implied = engine == MERGE and record.skipped_on("morphgres") is not None
                failures += [] if implied else found
            elif not found and (engine != MERGE or self._sides.merge):
                failures.append(f"skipif {engine} would pass now ({condition.reason})")
        if failures:
            text = "\n  ".join(failures)
            self.report.failures.append(f"{record.where}: {record.sql}\n  {text}")


def _unexpected(record: Record, problems: dict[str, list[str]]) -> list[str]:
    """Take out what `differs` names; a failure when Morphgres does not differ there any more."""
    failures = []
    for name in record.differs:
        known = re.compile(rf"\w+: (?:error )?{name}\b")
        for engine in ("morphgres", MERGE):
            kept = [text for text in problems[engine] if not known.match(text)]
            if engine == "morphgres" and len(kept) == len(problems[engine]):
                failures.append(f"{name} does not differ now")
            problems[engine] = kept
    return failures


def _execute(
    engine: Engine, sql: str, variant: str, record: Record, *, undone: bool, merge: bool
) -> Outcome:
    mode = variant
    if variant in MERGED:
        mode = SIMPLE if record.params is None else EXTENDED
    if merge:
        engine.command(f"SET morph.pushdown = '{MERGED[variant]}'")
    outside = engine.idle
    if undone:
        engine.command("BEGIN" if outside else "SAVEPOINT slt")
    data = record.results if record.kind != "query" else ()
    try:
        outcome = engine.run(sql, mode, record.params, data)
    except (TimeoutError, OperationalError) as error:
        raise AssertionError(f"{record.where}, {variant}: {error}: {sql}") from error
    if undone and not engine.idle:
        engine.command("ROLLBACK" if outside else "ROLLBACK TO slt; RELEASE slt")
    if merge and not engine.failed:
        engine.command("SET morph.pushdown = on")
    return outcome


def _only_reads(sql: str) -> bool:
    return _READS.match(sql) is not None and _WRITES.search(sql) is None


def _recorded(record: Record, outcome: Outcome) -> list[str]:
    """How an outcome differs from what the file says."""
    error = outcome.error
    if record.kind == "error":
        if not error:
            return ["no error"]
        if not pattern_matches(record.pattern, error["sqlstate"], error["message"]):
            return [f"{error['sqlstate']}: {error['message']} is not {record.pattern}"]
        return []
    if error:
        return [f"{error['sqlstate']}: {error['message']}"]
    if record.kind == "count":
        found = int(re.findall(r"\d+", outcome.tag)[-1])
        return [] if found == record.count else [f"{found} rows, not {record.count}"]
    if record.kind == "ok":
        return []
    found_lines = result_lines(record, outcome)
    if found_lines != record.results:
        return [f"the file says {record.results}, the oracle {found_lines}"]
    letters = type_letters(outcome)
    if len(letters) != len(record.types) or any(
        t not in ("?", letter) for t, letter in zip(record.types, letters, strict=True)
    ):
        return [f"types {record.types or 'none'} in the file, {letters} from the oracle"]
    return []


def run_file(path: Path, sides: Sides) -> Report:
    """Run all records of a file."""
    run = FileRun(sides)
    try:
        for record in read_records(path):
            run.run(record)
    finally:
        run.close()
    return run.report


def _fill(record: Record, outcome: Outcome) -> str:
    """Put the outcome into the record; a warning when that changes what it is."""
    error = outcome.error
    if record.kind == "error":
        if not error:
            record.kind = "query" if outcome.fields else "ok"
        elif not record.pattern:
            record.pattern = error["sqlstate"]
    elif error:
        was, record.kind = record.kind, "error"
        record.results = [] if was == "query" else record.results
        record.pattern = error["sqlstate"]
        return f"{record.where}: {was} is an error: {error['sqlstate']} {error['message']}"
    if record.kind == "query":
        record.results = result_lines(record, outcome)
        record.types = type_letters(outcome)
    return ""


def complete_file(path: Path, sides: Sides) -> list[str]:
    """Write the oracle's results into a file (not into included ones); warnings and failures."""
    run = FileRun(sides)
    told = []
    filled = []
    try:
        for record in read_records(path):
            told.append(_fill(record, run.run(record)))
            if record.path == path:
                filled.append(record)
    finally:
        run.close()
    path.write_text(complete_text(path.read_text(encoding="utf-8"), filled), encoding="utf-8")
    wrong = [f for f in run.report.failures if "instead of" in f or "would pass" in f]
    return [text for text in (*told, *wrong) if text]


def main(arguments: Iterable[str] | None = None) -> int:
    """Run or complete files with a server of their own."""
    from tests.slt.sides import serving

    parser = argparse.ArgumentParser(prog="python -m tests.slt.runner", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--complete", action="store_true", help="write the oracle's results")
    options = parser.parse_args(None if arguments is None else list(arguments))
    failed = False
    with (
        tempfile.TemporaryDirectory(prefix="morph-slt-", dir="/tmp") as name,
        serving(Path(name)) as sides,
    ):
        for path in options.files:
            if options.complete:
                told = complete_file(path, sides)
            else:
                told = run_file(path, sides).failures
            failed = failed or bool(told)
            print("\n".join([f"{path.name}: {len(told)} to look at", *told]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
