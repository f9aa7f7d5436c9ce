"""The reading process as the loader sees it: an asynchronous stream of frames."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from core.errors import InternalError
from engine.loading.jobs import Finished, Frame, Job
from engine.loading.reader import LENGTH, encode_jobs

BUFFER_BYTES: Final = 16 * 1024 * 1024
_ROOT: Final = Path(__file__).parents[2]
STOP_TIMEOUT_S: Final = 10.0


class ReadingProcess:
    """Reads jobs one after the other; a context manager that leaves no process behind."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        search = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the working directory is the user's: nothing is imported from there
            "-m",
            "engine.loading.reader",
            encode_jobs(self._jobs),
            stdout=asyncio.subprocess.PIPE,
            limit=BUFFER_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)

    async def frames(self) -> AsyncIterator[Frame]:
        """The frames of the next job; InternalError if the process died."""
        assert self._process is not None
        stream = self._process.stdout
        assert stream is not None
        while True:
            try:
                (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
                frame: Frame = pickle.loads(await stream.readexactly(length))
            except asyncio.IncompleteReadError:
                raise InternalError("the process that reads the files ended early") from None
            yield frame
            if isinstance(frame, Finished):
                return
