"""The private PostgreSQL's directory and supervision (R6.1, issue point 7)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import pytest

from core.errors import ConfigError, DataDirectoryError
from private_pg.binaries import find_binaries
from private_pg.cluster import Cluster, ClusterLimits, prepare_cluster
from private_pg.identity import choose_identity
from private_pg.supervisor import Supervisor


def _prepare(directory: Path) -> Cluster:
    return prepare_cluster(
        directory, find_binaries(), choose_identity(), ClusterLimits(durable=False)
    )


async def test_server_answers_with_code_point_order(pg18_dsn: str) -> None:
    connection = await asyncpg.connect(pg18_dsn)
    assert await connection.fetchval("select 'a' < 'B'") is False
    assert await connection.fetchval("show server_encoding") == "UTF8"
    await connection.close()


def test_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(DataDirectoryError, match="not a Morphgres data directory"):
        _prepare(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("morphgres 0 postgresql 12\n")
    with pytest.raises(DataDirectoryError, match="another version"):
        _prepare(tmp_path)


def test_directory_in_use_is_refused(pg18_cluster: Cluster) -> None:
    with pytest.raises(DataDirectoryError, match="in use"):
        _prepare(pg18_cluster.directory)


def test_unusable_binaries_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no PostgreSQL program"):
        find_binaries(str(tmp_path))


async def test_server_is_restarted_after_kill(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("restart")
    for parent in (base, base.parent, base.parent.parent):
        if parent.stat().st_uid == os.getuid():
            parent.chmod(0o755)
    supervisor = Supervisor(_prepare(base / "data"))
    came_back = asyncio.Event()
    supervisor.on_up = came_back.set
    await supervisor.start()
    try:
        os.kill(supervisor.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            await came_back.wait()
        assert supervisor.restarts == 1
        connection = await asyncpg.connect(
            host=str(supervisor.cluster.socket_directory), user="morph_root", database="postgres"
        )
        assert await connection.fetchval("select 1") == 1
        await connection.close()
    finally:
        await supervisor.stop()
    assert not (supervisor.cluster.pg / "postmaster.pid").exists()


@pytest.mark.parametrize("program", ["sleep", "true"])
async def test_the_postmasters_number_is_another_process_by_now(
    tmp_path_factory: pytest.TempPathFactory, program: str
) -> None:
    """After a reboot, in a container; or it is dead, and the first process reaps no orphans."""
    base = tmp_path_factory.mktemp("number")
    for parent in (base, base.parent, base.parent.parent):
        if parent.stat().st_uid == os.getuid():
            parent.chmod(0o755)
    cluster = _prepare(base / "data")
    supervisor = Supervisor(cluster)
    await supervisor.start()
    os.kill(supervisor.pid, signal.SIGKILL)
    left = (cluster.pg / "postmaster.pid").read_text()
    await supervisor.stop()
    other = subprocess.Popen([program, "60"], user=cluster.identity.uid)
    (cluster.pg / "postmaster.pid").write_text(f"{other.pid}\n{left.partition(chr(10))[2]}")
    again = Supervisor(_prepare(base / "data"))
    try:
        await again.start()
        assert again.pid
        await again.stop()
    finally:
        other.kill()
        other.wait()


def test_cluster_for_a_directory_that_its_user_cannot_reach(tmp_path: Path) -> None:
    # R6.1: a clone under a 0700 home, run by root; for others the directory is simply their own
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    cluster = _prepare(closed / "data")
    home = cluster.pg.parent
    cluster.release()
    try:
        assert (cluster.pg / "PG_VERSION").exists()
        again = _prepare(closed / "data")
        again.release()
        assert again.pg == cluster.pg
    finally:
        if home != closed / "data":
            shutil.rmtree(home)


def test_a_cluster_that_its_user_cannot_reach_any_more() -> None:
    """It is not passed over for an empty one (DESIGN 7.1)."""
    with tempfile.TemporaryDirectory(prefix="morph-home-", dir="/tmp") as name:
        home = Path(name)
        home.chmod(0o755)
        cluster = _prepare(home / "data")
        cluster.release()
        home.chmod(0o700)
        if cluster.identity.changes_user:
            with pytest.raises(DataDirectoryError, match="cannot reach"):
                _prepare(home / "data")
            home.chmod(0o755)
        again = _prepare(home / "data")
        again.release()
        assert again.pg == cluster.pg


def test_a_cluster_that_its_user_can_reach_now() -> None:
    """The one that was made elsewhere stays the one."""
    with tempfile.TemporaryDirectory(prefix="morph-home-", dir="/tmp") as name:
        home = Path(name)
        home.chmod(0o700)
        cluster = _prepare(home / "data")
        cluster.release()
        try:
            home.chmod(0o755)
            again = _prepare(home / "data")
            again.release()
            assert again.pg == cluster.pg
        finally:
            if cluster.pg.parent != home / "data":
                shutil.rmtree(cluster.pg.parent)
