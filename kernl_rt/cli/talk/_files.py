"""A WAV file asks, a WAV file gets the answer."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.channels import WavChannel
from kernl_rt.cli._models import TRANSCRIBED, chosen
from kernl_rt.cli.talk._record import record, tell_recorded
from kernl_rt.config import Voice
from kernl_rt.events import AudioDelta, InputTranscript, Interrupted, OutputTranscript, SessionError
from kernl_rt.exceptions import RealtimeError

__all__ = ["talk_with_files"]


async def talk_with_files(arguments: Namespace) -> int:
    """Speak ``--in``, write what is heard to ``--out``, and print both sides."""
    channel = WavChannel(arguments.question, arguments.reply, realtime=not arguments.no_pace, gaps=False)
    agent = RealtimeAgent(
        id="talk",
        name="Talk",
        instructions=arguments.instructions,
        model=chosen(arguments),
        voice=Voice(arguments.voice) if arguments.voice else None,
        config=TRANSCRIBED,
    )
    conversation = Conversation()
    session = RealtimeSession(agent, channel=channel)
    session.on("event", conversation.take)
    record(session, arguments.record)
    try:
        async with session:
            # The channel hangs up when the reply has been heard; that ends the session.
            await session.wait_closed()
    finally:
        tell_recorded(session)
    if not conversation.received:
        raise RealtimeError(_no_reply(conversation))
    print(f"the reply is in {arguments.reply}")
    return 0


def _no_reply(conversation: Conversation) -> str:
    if conversation.errors:
        return f"no reply came: {conversation.errors[-1]}"
    if not conversation.heard:
        return "no reply came: the model heard no speech in the file; is it silent, or very soft?"
    return "no reply came within 30 seconds after the question"


class Conversation:
    """Prints what both sides say."""

    def __init__(self) -> None:
        #: Bytes of the reply's sound, and whether the model noticed the human.
        self.received: int = 0
        self.heard: bool = False
        self.errors: list[str] = []

    def take(self, event: Any) -> None:
        match event:
            case AudioDelta():
                self.received += len(event.audio)
            case InputTranscript():
                print(f"you:   {event.text}", flush=True)
            case OutputTranscript():
                print(f"agent: {event.text}", flush=True)
            case Interrupted(reason="speech"):
                print(f"       (interrupted after {event.heard_ms} ms)", flush=True)
            case SessionError():
                self.errors.append(event.message)
                print(f"kernl-rt: {event.message}", file=sys.stderr, flush=True)
            case _:
                self.heard = self.heard or event.topic == "speech"
