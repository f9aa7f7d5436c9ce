"""Trino over the same stores, when it is wanted (`--trino`): a server from its package, and a
client of its HTTP interface.

It is 800 MB to fetch once and needs a Java from 24 on, so it is no part of a plain run. Figures:
the wall of the store's queries, and Morphgres' ÷ Trino's.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.services.servers.packages import cached
from tests.services.servers.process import HOST, RunningServer, free_port

VERSION: Final = "476"
ARTIFACT: Final = f"io.trino:trino-server:{VERSION}:tar.gz"
COPY_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
JAVA_MIN: Final = 24
INSTALL_TIMEOUT_S: Final = 900
START_TIMEOUT_S: Final = 300.0
ANSWER_TIMEOUT_S: Final = 120.0
PLUGINS: Final = ("mongodb", "cassandra", "postgresql", "geospatial")
_JVM: Final = (
    "-Xmx1500M",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.attach.allowAttachSelf=true",
    "--add-modules=jdk.incubator.vector",
    "--sun-misc-unsafe-memory-access=allow",
)


class NotPresent(Exception):
    """Why there is no Trino here."""


def find_java() -> Path:
    """A Java that runs Trino. Raises NotPresent."""
    homes = [os.environ.get("TRINO_JAVA_HOME"), os.environ.get("JAVA_HOME")]
    homes += [str(each) for each in sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)]
    for home in filter(None, homes):
        java = Path(home) / "bin" / "java"
        if java.is_file() and _version(java) >= JAVA_MIN:
            return java
    raise NotPresent(f"no Java from {JAVA_MIN} on: set TRINO_JAVA_HOME to one")


def _version(java: Path) -> int:
    text = subprocess.run(
        [java, "-version"], capture_output=True, text=True, timeout=60, check=False
    )
    found = re.search(r'version "(\d+)', text.stderr)
    return int(found[1]) if found else 0


def installed() -> Path:
    """The unpacked server. Raises NotPresent when it cannot be fetched."""
    maven = shutil.which("mvn")
    if maven is None:
        raise NotPresent("no Maven to fetch it with")
    try:
        return cached("trino", ARTIFACT, lambda home: _install(maven, home)) / "server"
    except (subprocess.SubprocessError, OSError) as error:
        raise NotPresent(f"{ARTIFACT} cannot be fetched: {error}") from error


def _install(maven: str, home: Path) -> None:
    command = [
        maven,
        "-q",
        "-B",
        COPY_PLUGIN,
        f"-Dartifact={ARTIFACT}",
        f"-DoutputDirectory={home}",
    ]
    subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_S, stdout=subprocess.DEVNULL)
    [archive] = home.glob("*.tar.gz")
    with tarfile.open(archive) as packed:  # jars are hard links between plugins: all of it
        packed.extractall(home, filter="fully_trusted")
    archive.unlink()
    (home / f"trino-server-{VERSION}").rename(home / "server")
    for plugin in (home / "server" / "plugin").iterdir():
        if plugin.name not in PLUGINS:
            shutil.rmtree(plugin)


class Trino:
    """A running server with a catalog for each store."""

    def __init__(self, directory: Path, stores: Mapping[str, RunningServer]) -> None:
        self._directory = directory
        self._stores = stores
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Ready when it returns. Raises NotPresent."""
        java, home = find_java(), installed()
        etc = self._configure(home)
        with (self._directory / "trino.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    java,
                    *_JVM,
                    *(f"-Dconfig={etc / 'config.properties'}", "-Dnode.environment=bench"),
                    *(f"-Dlog.levels-file={etc / 'log.properties'}", "-Dnode.id=bench"),
                    f"-Dnode.data-dir={self._directory / 'data'}",
                    *("-cp", f"{home / 'lib'}/*", "io.trino.server.TrinoServer"),
                ],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _configure(self, home: Path) -> Path:
        etc = self._directory / "etc"
        catalogs = etc / "catalog"
        catalogs.mkdir(parents=True)
        (etc / "config.properties").write_text(
            f"coordinator=true\nnode-scheduler.include-coordinator=true\n"
            f"http-server.http.port={self._port}\ndiscovery.uri=http://{HOST}:{self._port}\n"
            f"plugin.dir={home / 'plugin'}\ncatalog.config-dir={catalogs}\n"
            f"node.bind-ip={HOST}\nnode.internal-address={HOST}\n"
        )
        (etc / "log.properties").write_text("io.trino=WARN\n")
        for name, store in self._stores.items():
            lines = _CATALOGS[store.kind].format(host=store.host, port=store.port)
            (catalogs / f"{name}.properties").write_text(lines)
        return etc

    def _wait(self) -> None:
        assert self._process is not None
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise NotPresent(f"it ended with {self._process.returncode} (trino.log)")
            try:
                if self._rows("SELECT 1") == [[1]]:
                    return
            except (OSError, http.client.HTTPException, TrinoError):
                time.sleep(1)
        raise NotPresent(f"it was not ready in {START_TIMEOUT_S:.0f} s")

    async def query(self, text: str) -> int:
        """How many rows came."""
        return len(await asyncio.to_thread(self._rows, text))

    def _rows(self, text: str) -> list[list[Any]]:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=ANSWER_TIMEOUT_S)
        try:
            answer = _ask(connection, "POST", "/v1/statement", text)
            rows: list[list[Any]] = list(answer.get("data", ()))
            while "nextUri" in answer:
                path = answer["nextUri"].split(str(self._port), 1)[1]
                answer = _ask(connection, "GET", path)
                rows += answer.get("data", ())
            if "error" in answer:
                raise TrinoError(answer["error"]["message"])
            return rows
        finally:
            connection.close()

    def stop(self) -> None:
        """End it and what it started."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


class TrinoError(Exception):
    """A statement failed."""


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: str = "") -> Any:
    connection.request(method, path, body.encode() or None, {"X-Trino-User": "bench"})
    response = connection.getresponse()
    data = response.read()
    if response.status != 200:
        raise TrinoError(f"HTTP {response.status}")
    return json.loads(data)


_CATALOGS: Final[Mapping[str, str]] = {
    "mongodb": "connector.name=mongodb\n"
    "mongodb.connection-url=mongodb://{host}:{port}/?directConnection=true\n"
    "mongodb.cursor-batch-size=1000\n",
    "cassandra": "connector.name=cassandra\ncassandra.contact-points={host}\n"
    "cassandra.native-protocol-port={port}\ncassandra.load-policy.dc-aware.local-dc=datacenter1\n",
    "postgres": "connector.name=postgresql\nconnection-url=jdbc:postgresql://{host}:{port}/postgres\n"
    "connection-user=postgres\n",
}
