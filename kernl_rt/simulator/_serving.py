"""One client's session: the engine, a link, and the tasks between them.

The sending task owns the engine's time: it polls, sends, starts what there is to think and listen about, and sleeps
until the engine's deadline or a wake. The receiving task feeds and wakes. Both live in one task group; when either is
through, or the link is, everything of the session ends.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol, runtime_checkable

import anyio
from anyio.abc import TaskGroup
from attrs import evolve

from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge
from kernl_rt.simulator._brain import Brain
from kernl_rt.simulator._ears import Ears
from kernl_rt.simulator._engine import Engine
from kernl_rt.simulator._faults import Fault, Faults
from kernl_rt.simulator._protocols import Translation
from kernl_rt.simulator._reply import Listening, Reply, Thinking
from kernl_rt.simulator._voice import Voice

__all__ = ["ServedSession"]

_logger = logging.getLogger(__name__)
#: Frames and jobs that may wait; past that the client is not read from until some are done.
_MOST_PENDING = 256
_MOST_JOBS = 32


@runtime_checkable
class _Abortable(Protocol):
    """A stream in memory."""

    def abort(self) -> None: ...


@runtime_checkable
class _Releasable(Protocol):
    """A stream over a socket."""

    async def release(self) -> None: ...


class ServedSession:
    """Serves one client until it leaves or the session ends. The stream is closed with the engine's code, else by
    whoever opened it."""

    def __init__(
        self,
        stream: MessageStream,
        engine: Engine,
        translation: Translation,
        *,
        brain: Brain,
        voice: Voice,
        ears: Ears,
        faults: Faults,
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._translation = translation
        self._brain = brain
        self._voice = voice
        self._ears = ears
        self._faults = faults
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._thinking: dict[str, anyio.CancelScope] = {}
        self._jobs = 0
        self._stalled = False

    async def run(self) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(self._receive, task_group)
            try:
                await self._send(task_group)
            except ConnectionClosed:
                _logger.debug("the client has gone")
            task_group.cancel_scope.cancel()

    # -- from the client

    async def _receive(self, task_group: TaskGroup) -> None:
        try:
            while True:
                for message in await self._stream.receive():
                    if not self._stalled:
                        self._take(message)
                        await self._wait_for_room()
        except (ConnectionClosed, MessageTooLarge):
            task_group.cancel_scope.cancel()

    def _take(self, message: str | bytes) -> None:
        now = anyio.current_time()
        try:
            frames = self._translation.read(message, now)
        except ValueError as error:
            self._engine.refuse_message(str(error), now)
        else:
            for frame in frames:
                self._engine.receive(frame, now)
        self._wake.set()

    async def _wait_for_room(self) -> None:
        while self._engine.pending >= _MOST_PENDING or self._jobs >= _MOST_JOBS:
            self._room = anyio.Event()
            await self._room.wait()

    # -- to the client

    async def _send(self, task_group: TaskGroup) -> None:
        while True:
            self._wake = anyio.Event()
            now = anyio.current_time()
            translation = self._translation
            said = [*translation.answers(), *translation.poll(now)]
            frames = self._engine.poll(now)
            self._start_jobs(task_group)
            self._room.set()
            for message in said:
                await self._stream.send(message)
            for frame in frames:
                if not await self._deliver(frame):
                    return
            closing = translation.closing or (self._engine.closing and translation.close(*self._engine.closing))
            if closing is not None:
                await self._stream.aclose(*closing)
                return
            deadlines = [at for at in (self._engine.deadline, translation.deadline) if at is not None]
            with anyio.CancelScope(deadline=min(deadlines, default=0.0)):
                await self._wake.wait()

    async def _deliver(self, frame: dict[str, Any]) -> bool:
        """Send a frame, with whatever faults are planted there; false when the session is over."""
        messages = self._translation.write(frame, anyio.current_time())
        copies = 1
        for fault in self._faults.due(frame["type"]):
            if fault.kind == "duplicate":
                copies = 2
            elif fault.kind == "withhold":
                copies = 0
            elif fault.kind in ("malformed", "oversize"):
                await self._stream.send(_broken(fault))
            else:
                await self._break(fault)
                return False
        for _ in range(copies):
            for message in messages:
                await self._stream.send(message)
        return True

    async def _break(self, fault: Fault) -> None:
        if fault.kind == "close":
            await self._stream.aclose(fault.code, fault.reason)
        elif fault.kind == "drop" and isinstance(self._stream, _Abortable):
            self._stream.abort()
        elif fault.kind == "drop" and isinstance(self._stream, _Releasable):
            await self._stream.release()
        elif fault.kind == "drop":
            raise TypeError(f"a {type(self._stream).__name__} cannot be dropped without a goodbye")
        else:
            # Only the client's leaving ends a stalled session: the receiving task still sees that.
            self._stalled = True
            await anyio.sleep_forever()

    # -- thinking and listening

    def _start_jobs(self, task_group: TaskGroup) -> None:
        for response_id, scope in self._thinking.items():
            if not self._engine.awaits(response_id):
                scope.cancel()
        for job in self._engine.jobs():
            self._jobs += 1
            task_group.start_soon(self._work, job)

    async def _work(self, job: Thinking | Listening) -> None:
        try:
            if isinstance(job, Thinking):
                await self._think(job)
            else:
                await self._listen(job)
        finally:
            self._jobs -= 1
            self._wake.set()

    async def _think(self, job: Thinking) -> None:
        with anyio.CancelScope() as scope:
            self._thinking[job.response_id] = scope
            try:
                reply = await self._voiced(job, await self._brain.reply(job.turn))
            except Exception as error:
                _logger.exception("the simulator's brain or voice failed")
                self._engine.fail_reply(job.response_id, f"{type(error).__name__}: {error}", anyio.current_time())
            else:
                self._engine.reply(job.response_id, reply, anyio.current_time())
            finally:
                del self._thinking[job.response_id]

    async def _voiced(self, job: Thinking, reply: Reply) -> Reply:
        if not job.spoken or not reply.text or reply.audio is not None:
            return reply
        audio = await self._voice.synthesise(reply.text, job.format, voice=job.voice, speed=job.speed)
        return evolve(reply, audio=audio)

    async def _listen(self, job: Listening) -> None:
        try:
            words = await self._ears.transcribe(job.audio, job.format)
        except Exception as error:
            _logger.exception("the simulator's ears failed")
            self._engine.fail_words(job.item_id, f"{type(error).__name__}: {error}", anyio.current_time())
        else:
            self._engine.words(job.item_id, words, anyio.current_time())


def _broken(fault: Fault) -> str:
    if fault.kind == "malformed":
        return '{"type": "response.output_text.delta", "delta": "half a fra'
    frame = '{"type":"response.output_audio.delta","delta":"%s"}'
    return frame % ("A" * max(0, fault.size - len(frame) + 2))
