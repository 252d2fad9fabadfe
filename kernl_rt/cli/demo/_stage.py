"""One performance of the demo: everything that runs is opened here, and closed when :func:`perform` returns."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import anyio

from kernl_rt import RealtimeSession
from kernl_rt.abc import RealtimeModel
from kernl_rt.channels import memory_channel_pair
from kernl_rt.cli.demo._caller import Caller
from kernl_rt.cli.demo._cast import Tools, the_agent
from kernl_rt.cli.demo._notes import Notes
from kernl_rt.cli.demo._script import play

__all__ = ["Witness", "perform"]


class Witness:
    """Notes what happens, for the screen. ``first_reply`` is what was heard while only one question had been asked."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.first_reply = bytearray()
        self._session: RealtimeSession[Any] | None = None

    def watch(self, session: RealtimeSession[Any]) -> None:
        self._session = session
        session.on("event", self.notes.take)

    def heard(self, pcm: bytes, at: float) -> None:
        self.notes.model_sound(pcm, at)
        if len(self.notes.utterances) == 1:
            self.first_reply += pcm

    def speech(self, line: str, *, started: bool) -> None:
        """The caller's own words stand among the events of the recording."""
        if self._session is not None and self._session.status == "connected":
            self._session.emit("caller.speech.started" if started else "caller.speech.ended", line)


async def perform(
    model: RealtimeModel,
    lines: Mapping[str, bytes],
    witness: Witness,
    tools: Tools,
    folder: Path,
    title: str,
    show: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Play the script against ``model``, recorded to ``folder``, with ``show`` running beside it; nothing is left
    running afterwards.
    """
    channel, human = memory_channel_pair()
    notes = witness.notes
    caller = Caller(human, lines, notes, said=notes.human_sound, heard=witness.heard, speech=witness.speech)
    session = RealtimeSession(the_agent(model, tools), channel=channel)
    witness.watch(session)
    session.record(folder, title=title, overwrite=True)
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
