"""SecantusDB: MongoDB's wire protocol over MongoDB's own storage engine (WiredTiger).

A package of PyPI under the GPL, hence a process of its own in an environment of its own, for tests
only. A replica set of one node: sessions, transactions and change streams work.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.services.servers.mongodb_probe import build_info
from tests.services.servers.packages import python_environment
from tests.services.servers.process import HOST, RunningServer, free_port, spawn

LOCK = Path(__file__).with_name("secantus.lock")
PRODUCT = "SecantusDB"
VERSION = re.findall(r"(?m)^secantusdb==(\S+)", LOCK.read_text())[0]


def start_secantus(
    directory: Path, *options: str | Path, port: int = 0, uri_options: str = ""
) -> RunningServer:
    """Start it with its data in `directory` and more command line `options`; ready when it returns.

    `--auth` demands a password, `--enable-test-commands` allows fail points, `--tls-cert-file` and
    `--tls-key-file` encrypt: then `uri_options` must say `&tls=true&tlsCAFile=…`.
    """
    program = python_environment(LOCK) / "bin" / "secantusd-py"
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "secantusd.toml"  # or it would look for one of the user's
    config.write_text("")
    port = port or free_port()
    process = spawn(
        PRODUCT,
        [
            program,
            *("--config", config, "--host", HOST, "--port", str(port)),
            *("--storage-path", directory / "data", "--cache-size", "128M"),
            *("--log-level", "WARNING", *options),
        ],
        directory,
    )
    uri = f"mongodb://{HOST}:{port}/?directConnection=true{uri_options}"
    info = process.wait_ready(lambda: build_info(uri))
    return RunningServer(
        kind="mongodb",
        product=PRODUCT,
        version=info.get("secantusVersion", VERSION),
        speaks=f"MongoDB {info['version']}",
        host=HOST,
        port=port,
        uri=uri,
        process=process,
    )
