"""Section `server`: the listening socket and the limits of one client connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.fields import DAY, GB, HOUR, KB, MB, MINUTE, duration, integer, size, text

OFF = "off"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The listening socket and the limits of one client connection."""

    host: Annotated[
        str, text("Address or host name to listen on; the default is reachable from here only.")
    ] = "127.0.0.1"
    port: Annotated[int, integer("TCP port to listen on; 0 takes a free one.", 0, 65535)] = 6432
    workers: Annotated[int, integer("Processes that share the port; one uses one core.", 1, 64)] = 1
    worker_start_timeout: Annotated[
        float,
        duration(
            "A worker that does not accept clients after so long is killed; at the start of the"
            " server that ends it, later it is started again.",
            1,
            10 * MINUTE,
        ),
    ] = 60.0
    max_connections: Annotated[
        int,
        integer("Client connections at once in one worker; one more gets 53300.", 1, 100_000),
    ] = 600
    backlog: Annotated[
        int, integer("Connections that may wait in the kernel to be accepted.", 1, 65535)
    ] = 1024
    authentication_timeout: Annotated[
        float, duration("Time from connect to the end of authentication.", 1, 10 * MINUTE)
    ] = 60.0
    idle_timeout: Annotated[
        float,
        duration(
            "A session idle for so long outside a transaction ends (57P05).", 1, 30 * DAY, zero=OFF
        ),
    ] = 0.0
    statement_timeout: Annotated[
        float,
        duration(
            "Default of statement_timeout of a session: a longer statement is cancelled (57014).",
            0.001,
            30 * DAY,
            zero=OFF,
        ),
    ] = 0.0
    lock_timeout: Annotated[
        float,
        duration(
            "Default of lock_timeout of a session: a longer wait for a lock fails (55P03).",
            0.001,
            30 * DAY,
            zero=OFF,
        ),
    ] = 0.0
    idle_in_transaction_timeout: Annotated[
        float,
        duration(
            "Default of idle_in_transaction_session_timeout of a session (25P03).",
            0.001,
            30 * DAY,
            zero=OFF,
        ),
    ] = 0.0
    shutdown_drain: Annotated[
        float,
        duration(
            "At SIGTERM open transactions get so long to end before their sessions are closed.",
            0,
            HOUR,
        ),
    ] = 30.0
    max_message_bytes: Annotated[
        int, size("Longest message of a client; a longer one ends the session.", 64 * KB, GB)
    ] = 64 * MB
    max_statement_bytes: Annotated[
        int, size("Longest statement text; a longer one gets 54000.", KB, GB)
    ] = 16 * MB
    max_prepared_statements: Annotated[
        int, integer("Prepared statements that one session may keep (54000).", 1, 1_000_000)
    ] = 10_000
    max_portals: Annotated[
        int, integer("Open portals and cursors that one session may keep (54000).", 1, 100_000)
    ] = 1000
    read_ahead_max_bytes: Annotated[
        int,
        size(
            "Pipelined input kept while a statement runs; reading pauses above it.",
            64 * KB,
            GB,
        ),
    ] = MB
    write_buffer_high: Annotated[
        int,
        size(
            "Output not yet taken by the client: at so much, reading from the stores pauses.",
            16 * KB,
            GB,
        ),
    ] = MB
    write_buffer_low: Annotated[
        int, size("Reading from the stores goes on when the output falls to this.", 0, GB)
    ] = 256 * KB
