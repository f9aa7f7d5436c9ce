"""`python -m bench.stores`: statements over other stores against their drivers.

Exit status: 0, or 1 when a must-target was missed (`--strict` only).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path

from bench.bed import Options
from bench.deadlines import BUDGET_S, Budget
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
from bench.stores.bed import DEADLINE_S, SERVERS, running
from bench.stores.cases import CASES, DEFAULTS, QUICK
from bench.targets import STORE


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and shorter runs")
    parser.add_argument("--store", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument(
        "--deadline", type=float, default=DEADLINE_S, metavar="S", help="seconds for one figure"
    )
    parser.add_argument(
        "--budget", type=float, default=BUDGET_S, metavar="S", help="seconds for all cases together"
    )
    parser.add_argument("--trino", action="store_true", help="start a Trino and compare with it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="compare with a report")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a must-target is missed")
    return parser.parse_args()


async def measure(
    directory: Path, options: Options, chosen: argparse.Namespace
) -> tuple[list[Figure], dict[str, str]]:
    """All figures; a case that fails, or does not end, is reported as not available. Each store
    gets its share of the time, each case of its store's.
    """
    found: list[Figure] = []
    budget = Budget(chosen.budget)
    kinds = list(dict.fromkeys([*chosen.store, "postgres"]))  # it has the join's other side
    started = running(
        directory,
        options,
        options.documents,
        kinds,
        deadline_s=chosen.deadline,
        with_trino=chosen.trino,
    )
    async with started as bed:
        for place, store in enumerate(chosen.store):
            share = Budget(budget.left_s / (len(chosen.store) - place))
            print(f"{bed.labels[store]}, {options.documents} rows")
            for name in chosen.case:
                figures = Figures(STORE.format(store))
                try:
                    async with asyncio.timeout(share.of_case()):
                        await CASES[name](bed, store, bed.directs[store], figures)
                except TimeoutError as error:
                    figures.missing(f"{name} did not end", "", str(error) or "in its time")
                except Exception as error:  # noqa: BLE001 (one case must not hide the others)
                    traceback.print_exc()
                    figures.missing(f"{name} failed", "", f"{type(error).__name__}: {error}"[:200])
                print(table(figures.found), flush=True)
                found += figures.found
        return found, bed.labels


def main() -> int:
    """Run."""
    chosen = arguments()
    options = QUICK if chosen.quick else DEFAULTS
    machine = facts()
    print(" · ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    directory = Path(tempfile.mkdtemp(prefix="morphgres-bench-", dir="/var/tmp"))
    directory.chmod(0o755)
    try:
        found, labels = asyncio.run(measure(directory, options, chosen))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if chosen.json:
        report = to_json(found, {**machine, "stores": labels}, asdict(options))
        chosen.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if chosen.compare:
        old = from_json(json.loads(chosen.compare.read_text()))
        cases = {figure.case for figure in found}
        print(changes_table(compare([f for f in old if f.case in cases], found)))
    missed = [figure.key for figure in found if figure.verdict == MISSED]
    print(f"must-targets missed: {len(missed)}" + "".join(f"\n  {key}" for key in missed))
    return 1 if missed and chosen.strict else 0


if __name__ == "__main__":
    raise SystemExit(main())
