"""Ctrl-C at the command line ends a command with status 130 and no traceback (R6.4)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 120.0
AT_AN_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from proxy.main import main
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize("module", ["proxy.commands.parser", "asyncpg", "proxy.commands.serve"])
@pytest.mark.parametrize("verb", ["change watch 7", "load -"])
def test_while_the_command_is_still_being_loaded(tmp_path: Path, module: str, verb: str) -> None:
    code = AT_AN_IMPORT.format(module=module, arguments=[*verb.split(), "--data", str(tmp_path)])
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "\n")
