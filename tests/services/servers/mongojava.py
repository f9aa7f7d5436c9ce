"""mongo-java-server: MongoDB's wire protocol in memory, an implementation of its own.

Second server for everything that is said about MongoDB: its gaps are other ones than SecantusDB's.
All data is in its heap, and it ends when that is full.
"""

from __future__ import annotations

from pathlib import Path

from tests.services.servers.mongodb_probe import build_info
from tests.services.servers.packages import java, maven_jars
from tests.services.servers.process import HOST, RunningServer, free_port, spawn

PRODUCT = "mongo-java-server"
VERSION = "1.47.0"
COORDINATES = (f"de.bwaldvogel:mongo-java-server:{VERSION}", "org.slf4j:slf4j-simple:2.0.17")
LAUNCHER = Path(__file__).with_name("MongoJava.java")
HEAP = "1G"  # 50,000 small documents with their oplog take 300 MB


def start_mongojava(directory: Path, *, port: int = 0, heap: str = HEAP) -> RunningServer:
    """Start it, without any data; ready when it returns."""
    jars = maven_jars(PRODUCT, COORDINATES)
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    process = spawn(
        PRODUCT,
        [
            java(),
            *("-Xms64M", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *("-cp", f"{jars}/*", LAUNCHER, str(port)),
        ],
        directory,
    )
    uri = f"mongodb://{HOST}:{port}/?directConnection=true"
    info = process.wait_ready(lambda: build_info(uri))
    return RunningServer(
        kind="mongodb",
        product=PRODUCT,
        version=VERSION,
        speaks=f"MongoDB {info['version']}",
        host=HOST,
        port=port,
        uri=uri,
        process=process,
    )
