"""One performance of the demo: everything that runs is opened here, and closed when :func:`perform` returns."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio

from kernl_rt import RealtimeSession
from kernl_rt.abc import RealtimeModel
from kernl_rt.channels import memory_channel_pair
from kernl_rt.cli.demo._caller import Caller
from kernl_rt.cli.demo._cast import FORMAT, Tools, the_agent
from kernl_rt.cli.demo._journal import Journal, described
from kernl_rt.cli.demo._notes import Notes
from kernl_rt.cli.demo._script import play
from kernl_rt.cli.demo._stereo import StereoWav

__all__ = ["Recorder", "perform"]


class Recorder:
    """Writes a conversation down while it goes on: sound, events, notes. Opened with ``with``."""

    def __init__(self, folder: Path, notes: Notes) -> None:
        self._notes = notes
        self._stack = ExitStack()
        self._wav = self._stack.enter_context(StereoWav(folder / "conversation.wav", FORMAT.rate, notes.start))
        try:
            self._journal = self._stack.enter_context(Journal(folder / "events.jsonl", notes.start))
        except BaseException:
            self._stack.close()
            raise
        #: What was heard while only the first question had been asked.
        self.first_reply = bytearray()

    def event(self, event: Any) -> None:
        self._journal.write(anyio.current_time(), "session", event.kind, described(event))
        self._notes.take(event)

    def said(self, pcm: bytes, at: float) -> None:
        self._wav.put("human", pcm, at)
        self._notes.human_sound(pcm, at)

    def heard(self, pcm: bytes, at: float) -> None:
        self._wav.put("model", pcm, at)
        self._journal.write(anyio.current_time(), "channel", "heard", {"audio": {"bytes": len(pcm)}})
        self._notes.model_sound(pcm, at)
        if len(self._notes.utterances) == 1:
            self.first_reply += pcm

    def speech(self, line: str, *, started: bool) -> None:
        kind = "speech.started" if started else "speech.ended"
        self._journal.write(anyio.current_time(), "human", kind, {"text": line})

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


async def perform(
    model: RealtimeModel,
    lines: Mapping[str, bytes],
    recorder: Recorder,
    notes: Notes,
    tools: Tools,
    show: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Play the script against ``model``, with ``show`` running beside it; nothing is left running afterwards."""
    channel, human = memory_channel_pair()
    caller = Caller(human, lines, notes, said=recorder.said, heard=recorder.heard, speech=recorder.speech)
    session = RealtimeSession(the_agent(model, tools), channel=channel)
    session.on("event", recorder.event)
    async with anyio.create_task_group() as beside:
        beside.start_soon(show, name="demo view")
        async with session:
            async with anyio.create_task_group() as line:
                line.start_soon(caller.microphone, name="caller microphone")
                line.start_soon(caller.ear, name="caller ear")
                await play(caller, notes)
                line.cancel_scope.cancel()
            # The caller has hung up: that ends the session, with whatever runs in it.
            await session.wait_closed()
        beside.cancel_scope.cancel()
