"""Apache Cassandra, nodes of the genuine product, from its Maven artefact.

Small and quick to start rather than durable: C1 compiler only, 128 MB to begin with, no waiting for
other nodes, and by default schema changes without a flush of the system tables (a change takes
0.1 s rather than 0.5 s). So a killed node loses its schema and the last seconds of writes: tests
that kill one start it with `durable`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services.servers.packages import java, maven_jars
from tests.services.servers.process import HOST, RunningServer, free_port, spawn

PRODUCT = "Cassandra"
VERSION = "5.0.9"
COORDINATES = (f"org.apache.cassandra:cassandra-all:{VERSION}",)
MAIN = "org.apache.cassandra.service.CassandraDaemon"
HEAP = "512M"
PROBE_TIMEOUT_S = 2.0
OPTIONS_REQUEST = bytes.fromhex("040000000500000000")  # CQL native protocol v4, section 4.1.2
SUPPORTED_OPCODE = 0x06

OPTIONS = Path(__file__).with_name("cassandra.options")
FLAGS_WITHOUT_FLUSH = (
    "-Dcassandra.unsafesystem=true",
    "-Dcassandra.test.flush_local_schema_changes=false",
)
COMMITLOG_QUICK = {"commitlog_sync": "periodic", "commitlog_sync_period": "10000ms"}
COMMITLOG_DURABLE = {"commitlog_sync": "batch"}
LOGBACK = """<configuration>
<appender name="O" class="ch.qos.logback.core.ConsoleAppender"><encoder>
<pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="O"/></root></configuration>
"""


def start_cassandra(
    directory: Path,
    *,
    port: int = 0,
    host: str = HOST,
    storage_port: int = 0,
    heap: str = HEAP,
    durable: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> RunningServer:
    """Start a node with its data in `directory`; ready when it returns.

    A node at another `host` (127.0.0.2) joins the one at HOST that has the same two ports.

    `settings` come on top of those of `node_settings`: `{"authenticator": "PasswordAuthenticator",
    "authorizer": "CassandraAuthorizer"}` demands the login cassandra / cassandra.
    """
    jars = maven_jars("cassandra", COORDINATES)
    conf = directory / "conf"
    for needed in (conf, directory / "tmp"):
        needed.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    (conf / "logback.xml").write_text(LOGBACK)
    (conf / "cassandra-rackdc.properties").write_text("")
    # JSON is YAML
    log = COMMITLOG_DURABLE if durable else COMMITLOG_QUICK
    node = {
        **node_settings(directory, host, port, storage_port or free_port()),
        **log,
        **(settings or {}),
    }
    (conf / "cassandra.yaml").write_text(json.dumps(node, indent=1))
    process = spawn(
        PRODUCT,
        [
            *(java(), f"@{OPTIONS}", *(() if durable else FLAGS_WITHOUT_FLUSH), f"-Xmx{heap}"),
            *(f"-javaagent:{next(jars.glob('jamm-*.jar'))}",),
            *(f"-Djava.io.tmpdir={directory / 'tmp'}", f"-Djna.tmpdir={directory / 'tmp'}"),
            *(f"-Dcassandra.config=file://{conf / 'cassandra.yaml'}",),
            *(f"-Dcassandra.storagedir={directory}",),
            *(f"-Dlogback.configurationFile={conf / 'logback.xml'}",),
            *("-cp", f"{conf}:{jars}/*", MAIN),
        ],
        directory,
    )
    process.wait_ready(lambda: _speaks_cql(host, port))
    uri = f"cassandra://{host}:{port}"
    return RunningServer("cassandra", PRODUCT, VERSION, host, port, uri, process=process)


def node_settings(directory: Path, host: str, port: int, storage_port: int) -> dict[str, Any]:
    """The content of cassandra.yaml for one small node."""
    return {
        "cluster_name": "morphgres-tests",
        "num_tokens": 16,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "authenticator": "AllowAllAuthenticator",
        "authorizer": "AllowAllAuthorizer",
        "role_manager": "CassandraRoleManager",
        "endpoint_snitch": "SimpleSnitch",
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": f"{HOST}:{storage_port}"}],
            }
        ],
        "listen_address": host,
        "storage_port": storage_port,
        "start_native_transport": True,
        "rpc_address": host,
        "native_transport_port": port,
        "native_transport_max_threads": 32,
        "data_file_directories": [str(directory / "data")],
        "commitlog_directory": str(directory / "commitlog"),
        "saved_caches_directory": str(directory / "saved_caches"),
        "hints_directory": str(directory / "hints"),
        "cdc_raw_directory": str(directory / "cdc_raw"),
        "commitlog_segment_size": "8MiB",
        "commitlog_total_space": "128MiB",
        "memtable_heap_space": "96MiB",
        "memtable_offheap_space": "96MiB",
        "key_cache_size": "8MiB",
        "file_cache_size": "32MiB",
        "concurrent_reads": 16,
        "concurrent_writes": 16,
        "concurrent_counter_writes": 8,
        "concurrent_materialized_view_writes": 8,
        "concurrent_compactors": 1,
        "auto_snapshot": False,
        "hinted_handoff_enabled": False,
        "materialized_views_enabled": True,
        "sasi_indexes_enabled": True,
        "user_defined_functions_enabled": True,
    }


def _speaks_cql(host: str, port: int) -> bool | None:
    """True when the node answers an OPTIONS request with SUPPORTED."""
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_S) as connection:
            connection.settimeout(PROBE_TIMEOUT_S)
            connection.sendall(OPTIONS_REQUEST)
            answer = connection.recv(5)
    except OSError:
        return None
    return True if len(answer) == 5 and answer[4] == SUPPORTED_OPCODE else None
