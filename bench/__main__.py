"""`python -m bench`: run the cases, print figures against targets, write and compare reports.

Exit status: 0, or 1 when a must-target was missed (`--strict` only).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench.bed import Bed, Options
from bench.cases import CASES
from bench.deadlines import BUDGET_S, Budget, within
from bench.machine import facts
from bench.results import (
    MISSED,
    Figure,
    Figures,
    changes_table,
    compare,
    from_json,
    table,
    to_json,
)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter and fewer runs")
    parser.add_argument("--case", nargs="+", choices=list(CASES), metavar="NAME", default=None,
                        help=f"only these: {', '.join(CASES)}")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="compare with a report")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep data there for the next run")
    parser.add_argument("--budget", type=float, default=BUDGET_S, metavar="S",
                        help="seconds for all cases together")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit 1 when a must-target is missed")
    return parser.parse_args()


@contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    """Where data lies; PostgreSQL's user must be able to walk there."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    path = Path(tempfile.mkdtemp(prefix="morphgres-bench-", dir="/var/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def run_cases(bed: Bed, names: list[str], budget: Budget) -> list[Figure]:
    """Run cases; one that fails, or does not end, is reported as not available with its error."""
    found: list[Figure] = []
    for name in names:
        figures = Figures(name)
        begun = time.monotonic()
        try:
            with within(budget.of_case()):
                CASES[name](bed, figures)
        except Exception as error:  # noqa: BLE001 (one case must not hide the others)
            traceback.print_exc()
            figures.missing("the case failed", "", f"{type(error).__name__}: {error}"[:200])
        print(table(figures.found), f"\n  [{time.monotonic() - begun:.0f} s]\n", flush=True)
        found += figures.found
    return found


def main() -> int:
    """Run."""
    chosen = arguments()
    old = from_json(json.loads(chosen.compare.read_text())) if chosen.compare else None
    options = Options.quick() if chosen.quick else Options()
    machine = facts()
    print(" · ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    budget = Budget(chosen.budget)
    with _directory(chosen.work) as directory, Bed(directory, options).running() as bed:
        found = run_cases(bed, chosen.case or list(CASES), budget)
    if chosen.json:
        report = to_json(found, machine, asdict(options))
        chosen.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if old is not None:
        wanted = {figure.case for figure in found}
        print(changes_table(compare([f for f in old if f.case in wanted], found)))
    missed = [figure.key for figure in found if figure.verdict == MISSED]
    print(f"must-targets missed: {len(missed)}" + "".join(f"\n  {key}" for key in missed))
    return 1 if missed and chosen.strict else 0


if __name__ == "__main__":
    raise SystemExit(main())
