"""A server that somebody else runs, named by an environment variable: a genuine mongod, say.

None of the registries in use here has a genuine mongod. Who has one runs the tests on it too:
MORPHGRES_TEST_MONGODB_URI='mongodb://127.0.0.1:27017/?replicaSet=rs0' make test-services
The tests make and drop databases of their own there.
"""

from __future__ import annotations

import os
from pathlib import Path

from pymongo.uri_parser import parse_uri

from tests.services.servers.mongodb_probe import build_info
from tests.services.servers.process import RunningServer, ServerFailed

VARIABLE = "MORPHGRES_TEST_MONGODB_URI"


def mongodb_uri() -> str:
    """The address of the server, empty without one."""
    return os.environ.get(VARIABLE, "")


def reach_mongodb(directory: Path) -> RunningServer:
    """The server of the environment variable; ServerFailed when it does not answer."""
    uri = mongodb_uri()
    info = build_info(uri)
    if info is None:
        raise ServerFailed(f"no MongoDB server answers at {VARIABLE}")
    host, port = parse_uri(uri)["nodelist"][0]
    return RunningServer("mongodb", "MongoDB", str(info["version"]), host, port or 27017, uri)
