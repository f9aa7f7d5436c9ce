"""Sessions of Morphgres with what lies behind them, as the tests of services use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from pymongo.database import Database

from tests.integration.server_process import ServerProcess


@dataclass(frozen=True, slots=True)
class Client:
    """A session of Morphgres."""

    client: psycopg.Connection[Any]

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """What a statement answers."""
        return self.client.execute(text.encode()).fetchall()

    def run(self, *texts: str) -> None:
        """Statements that answer no rows, or whose rows do not matter."""
        for text in texts:
            self.client.execute(text.encode())


@dataclass(frozen=True, slots=True)
class Shop(Client):
    """A client with the server `s`, and the database of MongoDB behind it by its own driver."""

    documents: Database[dict[str, Any]]
    morphgres: ServerProcess
