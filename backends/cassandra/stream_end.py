"""A connection that notices at once when a node ends the stream in the middle of an answer.

The driver's own (3.30) closes only when nothing unfinished is buffered. Else it takes the end of
the stream for readable data again and again: its thread uses a whole core, and the request waits
until the heartbeat gives up, a minute and a half later. A killed node ends its streams like that.
"""

from __future__ import annotations

import ssl
from typing import Any

from cassandra.connection import ConnectionShutdown
from cassandra.io.libevreactor import LibevConnection, libev


class PromptConnection(LibevConnection):  # type: ignore[misc]
    """The driver's libev connection with another reading of what arrives."""

    def handle_read(self, watcher: Any, revents: int, errno: int | None = None) -> None:
        """Called in the driver's thread when the socket is readable; fails the requests in flight
        with the driver's ConnectionShutdown at the end of the stream."""
        if revents & libev.EV_ERROR:
            super().handle_read(watcher, revents, errno)
            return
        ended = False
        try:
            while not ended:
                piece = self._socket.recv(self.in_buffer_size)
                ended = not piece
                self._iobuf.write(piece)
                if len(piece) < self.in_buffer_size:
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # all that is there has been read
        except OSError as fault:
            self.defunct(fault)
            return
        if self._iobuf.tell():
            self.process_io_buffer()
        if ended and not (self.is_closed or self.is_defunct):
            self.defunct(ConnectionShutdown(f"{self.endpoint} has closed the connection"))
