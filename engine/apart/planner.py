"""The planning process: `python -m engine.apart.planner`, questions and answers on pipes.

A tree of Python objects takes some microseconds a byte of text to make and to walk, without a pause
in which another thread could run: a text of 10 MB would hold up an event loop for half a minute,
and takes more than a gigabyte. Here it holds up nobody, and its memory goes with the process.

A frame is 8 bytes of length and a pickle. It ends when the pipe is closed or its parent is gone.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import struct
from typing import Final

from core.parent_death import follow_parent
from engine.apart.answers import Question, answer_to

LENGTH: Final = struct.Struct(">Q")


def main() -> None:
    """Answer questions on file descriptor 0 to file descriptor 1."""
    follow_parent(signal.SIGKILL)()
    # The terminal sends SIGINT to the whole group: the parent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # trees have no cycles; looking for some takes longer than making them
    source = os.fdopen(os.dup(0), "rb")
    # Nothing that a library prints may get between the frames.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while len(header := source.read(LENGTH.size)) == LENGTH.size:
        question: Question = pickle.loads(source.read(LENGTH.unpack(header)[0]))
        data = pickle.dumps(answer_to(question), protocol=pickle.HIGHEST_PROTOCOL)
        sink.write(LENGTH.pack(len(data)) + data)
        sink.flush()


if __name__ == "__main__":
    main()
