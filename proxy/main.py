"""The command line: `morphgres serve | load | change | check`. One verb, one module under
proxy/commands.
"""

from __future__ import annotations

import sys

from proxy.commands import INTERRUPTED


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status is 0 for success, 1 for a fault, 2 for wrong usage, 130 after
    Ctrl-C.
    """
    try:
        from proxy.commands.parser import build_parser  # takes a while, in which Ctrl-C may come

        parser = build_parser()
        options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
        if not hasattr(options, "run"):
            parser.print_help()
            return 2
        status: int = options.run(options)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
