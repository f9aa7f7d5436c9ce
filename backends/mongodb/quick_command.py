"""A command on one of the driver's own connections, without the frames around it.

`AsyncDatabase.command` spends a third of its time on sessions and retries, which a read by key has
none of. Choosing the server, its pool, the login, TLS, and what an error means for them stay the
driver's. The two methods that this calls are not of its public interface, so it does only with the
versions whose source was read; with any other the command goes the public way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pymongo
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient

READ_VERSIONS: Final = ((4, 20),)
KNOWN: Final = tuple(pymongo.version_tuple[:2]) in READ_VERSIONS


async def find_once(
    client: AsyncMongoClient[Any], database: str, command: dict[str, Any], codec: CodecOptions[Any]
) -> Any:
    """The reply of a find without session, decoded. Raises what the driver raises."""
    preference = client.read_preference
    if not KNOWN:
        return await client[database].command(
            command, codec_options=codec, read_preference=preference
        )
    choose: Callable[..., Any] = client._conn_for_reads
    async with await choose(preference, None, "find") as (connection, effective):
        return await connection.command(database, command, effective, codec, client=client)
