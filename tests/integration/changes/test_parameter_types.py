"""A prepared statement keeps the types of its parameters over a promotion (R0.3, EVOLUTION 6):
clients encode binary values by what they were told once.
"""

from __future__ import annotations

import asyncpg

from tests.integration.changes.prices import change_type, make_prices
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess


async def test_binary_parameters_after_a_type_change(server: ServerProcess) -> None:
    empty_catalog(server)
    with server.connect() as other:
        make_prices(other, rows=3)
        session = await asyncpg.connect(
            host=server.host, port=server.port, user="morph", database="morph", timeout=20
        )
        try:
            write = await session.prepare("UPDATE price SET x = $1 WHERE id = $2")
            read = await session.prepare("SELECT id FROM price WHERE x = $1")
            assert write.get_parameters()[0].name == "int4"
            await write.fetch(70, 1)
            other.execute("SET morph.ddl_mode = virtual")
            change_type(other)
            other.execute("CALL morph.promote(2)")
            await write.fetch(7, 2)
            assert await session.fetchval("SELECT x::text FROM price WHERE id = 2") == "7.000"
            assert await read.fetch(7) == [(2,)]
            assert other.execute("SELECT x FROM v1.price WHERE id = 2").fetchone() == (700,)
        finally:
            await session.close(timeout=20)
    empty_catalog(server)
