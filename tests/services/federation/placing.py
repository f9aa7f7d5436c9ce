"""Where the tables lie: in one store, or spread over several; and their foreign tables by SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess
from tests.services.federation.data import TABLES, TableData
from tests.services.federation.loading import LOADERS, fill_table, run
from tests.services.servers import cassandra, mongojava, postgres, secantus
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

EMBEDDED = "embedded"
SECANTUS = f"{secantus.PRODUCT}-{secantus.VERSION}"
MONGOJAVA = f"{mongojava.PRODUCT}-{mongojava.VERSION}"
CASSANDRA = f"{cassandra.PRODUCT}-{cassandra.VERSION}"
POSTGRES = f"{postgres.PRODUCT}-{postgres.MAJOR}"
SINGLE = (SECANTUS, MONGOJAVA, CASSANDRA, POSTGRES)
NAMESPACE = "federation"


@dataclass(frozen=True, slots=True)
class Placement:
    """The server of each table, by its name in the registry, or EMBEDDED."""

    name: str
    servers: Mapping[str, str]

    @property
    def stores(self) -> list[str]:
        """The servers it needs."""
        return list(dict.fromkeys(name for name in self.servers.values() if name != EMBEDDED))


def _all_in(server: str) -> Placement:
    return Placement(server, dict.fromkeys(TABLES, server))


def _spread(name: str, customers: str, orders: str, products: str) -> Placement:
    return Placement(name, {"customers": customers, "orders": orders, "products": products})


PLACEMENTS: Mapping[str, Placement] = {
    placement.name: placement
    for placement in (
        _all_in(SECANTUS),
        _all_in(MONGOJAVA),
        _all_in(CASSANDRA),
        _all_in(POSTGRES),
        _spread("three-stores", POSTGRES, SECANTUS, CASSANDRA),
        _spread("two-stores-and-embedded", EMBEDDED, MONGOJAVA, POSTGRES),
    )
}


def create_server_text(name: str, server: RunningServer, **options: str) -> str:
    """CREATE SERVER for a running server; `options` come on top."""
    merged = {"host": server.host, "port": str(server.port), **_OPTIONS[server.kind], **options}
    listed = ", ".join(f"\"{key}\" '{value}'" for key, value in merged.items())
    return f"CREATE SERVER {name} FOREIGN DATA WRAPPER {server.kind} OPTIONS ({listed})"


_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "mongodb": {"database": NAMESPACE, "directConnection": "true"},
    "cassandra": {},
    "postgres": {"database": "postgres", "user": "postgres"},
}


def create_table_text(table: TableData, server: str, kind: str, name: str = "") -> str:
    """CREATE FOREIGN TABLE with the types of the data."""
    paths = {table.key: "_id", "city": "address.city"} if kind == "mongodb" else {}
    columns = ", ".join(
        f"{column} {sql_type}"
        + (f" OPTIONS (path '{paths[column]}')" if column in paths else "")
        + (" NOT NULL" if column == table.key else "")
        for column, sql_type in table.columns.items()
    )
    where = {
        "mongodb": f"collection '{table.name}'",
        "cassandra": f"keyspace '{NAMESPACE}', table_name '{table.name}'",
        "postgres": f"schema_name '{NAMESPACE}', table_name '{table.name}'",
    }[kind]
    return (
        f"CREATE FOREIGN TABLE {name or table.name} ({columns}) SERVER {server} "
        f"OPTIONS ({where}, key '{table.key}')"
    )


def place(process: ServerProcess, fleet: Fleet, placement: Placement) -> list[RunningServer]:
    """An empty catalog, then the tables, loaded afresh; the servers that hold them."""
    empty_catalog(process)
    with process.connect() as client:
        used = []
        for number, name in enumerate(placement.stores):
            server = fleet.get(name)
            used.append(server)
            tables = [TABLES[each] for each, at in placement.servers.items() if at == name]
            LOADERS[server.kind](server, NAMESPACE, tables)
            run(client, create_server_text(f"s{number}", server))
            for table in tables:
                run(client, create_table_text(table, f"s{number}", server.kind))
        for table_name, at in placement.servers.items():
            if at == EMBEDDED:
                fill_table(client, TABLES[table_name], table_name)
    return used
