"""Real clients, installed from the package registry by name (R0.2; pinned in clients.lock)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.server_process import ServerProcess, running
from tests.services.servers.packages import python_environment

HERE = Path(__file__).parent
LOCK = HERE / "clients.lock"
SCRIPTS = sorted((HERE / "scripts").glob("*_client.py"))
RUN_TIMEOUT_S = 120

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def client_python() -> Path:
    """A Python with the clients; made once for a lock file and kept."""
    return python_environment(LOCK) / "bin" / "python"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the sample."""
    base = Path(tmp_path_factory.mktemp("drivers"))
    for parent in (base, base.parent, base.parent.parent):
        if parent.stat().st_uid == os.getuid():
            parent.chmod(0o755)
    with running(base / "data", "", "--sample", "shop") as server:
        yield server


def test_there_are_clients() -> None:
    assert len(SCRIPTS) >= 4


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_client_works(client_python: Path, shop: ServerProcess, script: Path) -> None:
    result = subprocess.run(
        [client_python, script, shop.host, str(shop.port)],
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("good")
