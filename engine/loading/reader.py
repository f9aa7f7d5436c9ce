"""The reading process: `python -m engine.loading.reader`, jobs in the argument, frames on a pipe.

Parsing and counting is the slowest part of loading, so it has a process of its own, beside the one
that talks to PostgreSQL. A frame is 4 bytes of length and a pickle; the pipe bounds what waits.
It ends when its jobs are done or the pipe is closed.
"""

from __future__ import annotations

import base64
import gc
import os
import pickle
import signal
import struct
import sys
from collections.abc import Sequence

from engine.loading.jobs import Job
from engine.loading.parsers import die_with_parent, parser_count
from engine.loading.prepare import frames

GC_THRESHOLD = 1_000_000
LENGTH = struct.Struct(">I")


def encode_jobs(jobs: Sequence[Job]) -> str:
    """Jobs as an argument of the process."""
    return base64.b64encode(pickle.dumps(tuple(jobs))).decode()


def main(argument: str) -> None:
    """Read all jobs and write their frames to the pipe on file descriptor 1."""
    die_with_parent()
    # The terminal sends SIGINT to the whole group: the parent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Documents have no cycles; looking for some among many of them costs an eighth of the time.
    gc.set_threshold(GC_THRESHOLD)
    jobs: tuple[Job, ...] = pickle.loads(base64.b64decode(argument))
    # Nothing that a library prints may get between the frames.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        for job in jobs:
            for frame in frames(job, parsers=parser_count()):
                data = pickle.dumps(frame, protocol=pickle.HIGHEST_PROTOCOL)
                pipe.write(LENGTH.pack(len(data)))
                pipe.write(data)
                pipe.flush()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone; closing the pipe would raise once more
    pipe.close()


if __name__ == "__main__":
    main(sys.argv[1])
