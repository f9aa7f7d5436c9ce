"""Names the tests that failed; exit code 1 when they are more than a run may repeat."""

from __future__ import annotations

import json
import sys
from pathlib import Path

REPEATED_MAX = 3


def main() -> int:
    """The file is what pytest keeps for --last-failed: an object whose keys are the tests."""
    failed = sorted(json.loads(Path(sys.argv[1]).read_text()))
    for name in failed:
        sys.stderr.write(f"failed: {name}\n")
    return int(len(failed) > REPEATED_MAX)


if __name__ == "__main__":
    sys.exit(main())
