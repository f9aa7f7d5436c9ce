"""Fixtures: real servers. Each test's report says on which product and version it ran."""

from __future__ import annotations

import collections
import itertools
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer
from tests.services.servers.registry import SERVERS, names

WANTED = pytest.StashKey[set[str]]()
PROPERTY = "server"
_numbers = itertools.count(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which servers the selected tests will ask for."""
    parameters = (
        value
        for item in session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        for value in item.callspec.params.values()
    )
    session.config.stash[WANTED] = {
        value
        for value in parameters
        if type(value) is str and value in SERVERS  # not bson's Code
    }


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator[Fleet]:
    """All servers of this run; they start when they are first asked for."""
    with tempfile.TemporaryDirectory(prefix="morph-servers-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)  # PostgreSQL runs as a user of its own
        wanted: set[str] = pytestconfig.stash.get(WANTED, set())
        fleet = Fleet(Path(home), wanted)
        try:
            yield fleet
        finally:
            fleet.stop()


@pytest.fixture(scope="session", params=names("mongodb"))
def mongodb(request: pytest.FixtureRequest, servers: Fleet) -> RunningServer:
    """Every server that speaks MongoDB's protocol, one after the other."""
    return servers.get(request.param)


@pytest.fixture(scope="session", params=names("cassandra"))
def cassandra(request: pytest.FixtureRequest, servers: Fleet) -> RunningServer:
    """Apache Cassandra."""
    return servers.get(request.param)


@pytest.fixture(scope="session", params=names("postgres"))
def postgres_store(request: pytest.FixtureRequest, servers: Fleet) -> RunningServer:
    """A PostgreSQL that is a store, not the private one."""
    return servers.get(request.param)


@pytest.fixture
def own_name() -> str:
    """A name for the test's own database, keyspace or schema: another one for each test."""
    return f"own_{next(_numbers)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the servers of a test into its report."""
    report = yield
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, RunningServer):
            report.user_properties.append((PROPERTY, value.label))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line a server: product, version, and how its tests ended."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            for name, label in getattr(report, "user_properties", ()):  # a collection has none
                if name == PROPERTY:
                    counts[str(label)][outcome] += 1
    if counts:
        terminalreporter.section("servers")
    for label, outcomes in sorted(counts.items()):
        said = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        terminalreporter.write_line(f"{label}: {said}")
