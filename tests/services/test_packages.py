"""The cache of installed servers, and the start of a run's servers (for the tests of R0.4)."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.services.servers import fleet, packages
from tests.services.servers.process import HOST, PORTS, RunningServer, ServerFailed, free_port
from tests.services.servers.registry import Entry


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_installed_once_for_a_key() -> None:
    installed: list[Path] = []

    def install(home: Path) -> None:
        (home / "program").write_text("p")
        installed.append(home)

    homes = [packages.cached("server", key, install) for key in ("1.0", "1.0", "2.0")]
    assert homes[0] == homes[1] != homes[2]
    assert installed == [homes[0], homes[2]]
    assert (homes[0] / "program").read_text() == "p"


def test_an_install_that_was_cut_short_is_made_anew() -> None:
    def fails(home: Path) -> None:
        (home / "half").write_text("")
        raise ServerFailed("the registry does not answer")

    def works(home: Path) -> None:
        assert list(home.iterdir()) == []

    with pytest.raises(ServerFailed):
        packages.cached("server", "1.0", fails)
    assert (packages.cached("server", "1.0", works) / "complete").exists()


def test_two_runs_at_once_install_once() -> None:
    both = threading.Barrier(2, timeout=10)
    installed: list[Path] = []

    def run() -> Path:
        both.wait()
        return packages.cached("server", "1.0", installed.append)

    with ThreadPoolExecutor(2) as threads:
        homes = {run.result() for run in [threads.submit(run), threads.submit(run)]}
    assert homes == set(installed)
    assert len(installed) == 1


def test_without_the_right_to_install_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1_000)
    with pytest.raises(ServerFailed, match=r"install it: apt-get .* install no-such-package"):
        packages.debian_package("no-such-package")


@pytest.mark.parametrize("program", ["exit 3", "echo the reason >&2; exit 3"])
def test_a_failing_installer_shows_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    maven = tmp_path / "mvn"
    maven.write_text(f"#!/bin/sh\n{program}\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ServerFailed, match=r"(?s)status 3 of: .*copy-dependencies.*") as caught:
        packages.maven_jars("server", ["group:artifact:1"])
    assert ("the reason" in str(caught.value)) == ("reason" in program)


def test_ports_are_below_those_of_outgoing_connections() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1
    assert ports <= set(PORTS)
    assert max(PORTS) < 32_768


def test_all_wanted_servers_start_at_once_and_one_failure_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2, timeout=10)

    def works(directory: Path) -> RunningServer:
        together.wait()
        return RunningServer("a", directory.name, "1", HOST, 1, "")

    def fails(directory: Path) -> RunningServer:
        together.wait()
        raise ServerFailed("the log's end")

    entries = {"good": Entry("a", works), "bad": Entry("b", fails), "idle": Entry("c", fails)}
    monkeypatch.setattr(fleet, "SERVERS", entries)
    run = fleet.Fleet(tmp_path, {"good", "bad"})
    try:
        assert run.get("good").product == "good"
        for _ in range(2):
            with pytest.raises(ServerFailed, match="the log's end"):
                run.get("bad")
        assert [server.product for server in run.started()] == ["good"]
    finally:
        run.stop()
