"""What a server of MongoDB's protocol says about itself."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

PROBE_TIMEOUT_MS = 2_000


def build_info(uri: str) -> dict[str, Any] | None:
    """The answer to `buildInfo`; None while the server does not answer."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, serverSelectionTimeoutMS=PROBE_TIMEOUT_MS) as client:
        try:
            return client.admin.command("buildInfo")
        except PyMongoError:
            return None
