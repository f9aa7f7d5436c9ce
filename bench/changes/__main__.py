"""`python -m bench.changes`: schema changes under load, on the embedded store.

Exit status: 0, or 1 when a must-target was missed (`--strict` only).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import traceback
from dataclasses import asdict, replace
from pathlib import Path

from bench.changes.bed import Options, running
from bench.changes.cases import CASES
from bench.deadlines import BUDGET_S, Budget
from bench.machine import facts
from bench.results import MISSED, Figure, Figures, table, to_json
from bench.targets import CHANGE


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.changes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and shorter runs")
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_S, metavar="S", help="seconds for all cases together"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 when a must-target is missed")
    return parser.parse_args()


async def measure(
    directory: Path, options: Options, names: list[str], budget: Budget
) -> list[Figure]:
    """All figures; a case that fails, or does not end, is reported as not available."""
    found: list[Figure] = []
    for name in names:
        figures = Figures(CHANGE.format(name))
        try:
            seconds = budget.of_case()
            with running(directory / name) as server:
                async with asyncio.timeout(seconds):
                    await CASES[name](server, replace(options, deadline_s=seconds), figures)
        except TimeoutError as error:
            figures.missing(f"{name} did not end", "", str(error) or f"within {seconds:.0f} s")
        except Exception as error:  # noqa: BLE001 (one case must not hide the others)
            traceback.print_exc()
            figures.missing(f"{name} failed", "", f"{type(error).__name__}: {error}"[:200])
        print(table(figures.found), flush=True)
        found += figures.found
    return found


def main() -> int:
    """Run."""
    chosen = arguments()
    options = Options.quick() if chosen.quick else Options()
    machine = facts()
    print(" · ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    directory = Path(tempfile.mkdtemp(prefix="morphgres-bench-", dir="/var/tmp"))
    directory.chmod(0o755)
    try:
        found = asyncio.run(measure(directory, options, chosen.case, Budget(chosen.budget)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if chosen.json:
        report = to_json(found, machine, asdict(options))
        chosen.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    missed = [figure.key for figure in found if figure.verdict == MISSED]
    print(f"must-targets missed: {len(missed)}" + "".join(f"\n  {key}" for key in missed))
    return 1 if missed and chosen.strict else 0


if __name__ == "__main__":
    raise SystemExit(main())
