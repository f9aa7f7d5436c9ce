"""Planning processes as a worker sees them: started when a long text comes, ended when idle."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections import deque
from pathlib import Path
from typing import Final, Self

from core.errors import InternalError, MorphError, ProgramLimitExceeded
from engine.apart.answers import Answer, Question
from engine.apart.planner import LENGTH
from engine.plans import Plan
from rewrite.context import NeedsWidth

IDLE_S: Final = 30.0
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
# A process that planned a longer text has taken much memory, and does not give it back.
KEPT_TEXT_MAX: Final = 1 << 20
_ROOT: Final = Path(__file__).parents[2]
_BROKEN = (asyncio.IncompleteReadError, ConnectionError)


class _Planner:
    """One process; it works on one question at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.idle_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls) -> Self:
        search = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
        async with asyncio.timeout(START_TIMEOUT_S):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the working directory is the user's: nothing is imported from there
                "-m",
                "engine.apart.planner",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))},
            )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, question: Question) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        data = pickle.dumps(question, protocol=pickle.HIGHEST_PROTOCOL)
        stdin.write(LENGTH.pack(len(data)))
        stdin.write(data)
        await stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        answer: Answer = pickle.loads(await stdout.readexactly(length))
        return answer

    def kill(self) -> None:
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> None:
        await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)


class Planners:
    """At most `processes_max` of them; who comes later waits. `timeout_s` bounds one text."""

    def __init__(self, processes_max: int, timeout_s: float) -> None:
        self._places = asyncio.Semaphore(processes_max)
        self._timeout_s = timeout_s
        self._idle: deque[_Planner] = deque()
        self._all: set[_Planner] = set()

    @property
    def processes(self) -> int:
        """Processes that run now."""
        return sum(planner.alive for planner in self._all)

    async def plan(self, question: Question) -> Plan:
        """The plan of a text. Raises what `make_plan` raises, ProgramLimitExceeded (54000) when it
        takes too long, and InternalError when the process ends before its answer.
        """
        async with self._places:
            planner = await self._take()
            kept = False
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await planner.ask(question)
                kept = len(question.text) <= KEPT_TEXT_MAX
            except TimeoutError:
                raise ProgramLimitExceeded(
                    "the statement is too long to be planned in time",
                    hint="Send it in parts, or raise plan.apart_timeout.",
                ) from None
            except _BROKEN as error:
                raise InternalError("the process that plans long statements ended early") from error
            finally:
                self._put_back(planner, kept=kept)
        if isinstance(answer, MorphError | NeedsWidth):
            raise answer
        return answer

    async def _take(self) -> _Planner:
        while self._idle:
            planner = self._idle.pop()
            if planner.idle_timer is not None:
                planner.idle_timer.cancel()
            if planner.alive:
                return planner
            self._all.discard(planner)
        try:
            planner = await _Planner.start()
        except OSError as error:  # TimeoutError is one
            raise InternalError("no process could be started to plan a long statement") from error
        self._all.add(planner)
        return planner

    def _put_back(self, planner: _Planner, *, kept: bool) -> None:
        if not kept:
            self._retire(planner)
            return
        self._idle.append(planner)
        planner.idle_timer = asyncio.get_running_loop().call_later(IDLE_S, self._retire, planner)

    def _retire(self, planner: _Planner) -> None:
        if planner in self._idle:
            self._idle.remove(planner)
        planner.kill()
        self._all = {known for known in self._all if known.alive}

    async def close(self) -> None:
        """End them all."""
        planners = list(self._all)
        for planner in planners:
            planner.kill()
        for planner in planners:
            await planner.ended()
