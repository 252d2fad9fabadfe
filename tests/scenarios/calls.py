"""A call with a scripted provider, and short words for what a provider says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from attrs import define, field

from kernl_rt import RealtimeAgent, RealtimeChannel, RealtimeSession, SessionConfig, Toolkit
from kernl_rt._transport._backend import running_backend
from kernl_rt.config import PCM16_24K, Capabilities
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    OutputItemAdded,
    OutputTranscript,
    OutputTranscriptDelta,
    Response,
    ResponseCreated,
    ResponseDone,
    ResponseError,
    SessionError,
    StatusDetails,
    ToolCalled,
    Usage,
)
from kernl_rt.items import ContentPart, Message
from kernl_rt.testing import ModelPeer, ScriptedModel

#: 100 ms of PCM16 at 24 kHz.
TENTH = b"\1\0" * 2_400


@define
class Call:
    session: RealtimeSession[Any]
    peer: ModelPeer
    log: list[Any] = field(factory=list)

    async def says(self, *events: Any) -> None:
        """The provider says something, and everything that follows from it has happened."""
        self.peer.say(*events)
        await quiet()

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.log if isinstance(event, kind)]

    def sent(self, kind: type[Any]) -> list[Any]:
        return self.peer.heard(kind)


async def quiet() -> None:
    """Until nothing more happens by itself. Takes no time, unlike ``anyio.wait_all_tasks_blocked`` on asyncio."""
    if running_backend() == "trio":
        await anyio.wait_all_tasks_blocked()
    else:
        for _ in range(500):
            await anyio.lowlevel.checkpoint()


def make_session(
    *tools: Any,
    channel: RealtimeChannel | None = None,
    config: SessionConfig | None = None,
    capabilities: Capabilities | None = None,
    acknowledge: bool = True,
    context: Any = None,
    **options: Any,
) -> RealtimeSession[Any]:
    model = ScriptedModel(capabilities=capabilities, acknowledge=acknowledge)
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="test",
        name="Test",
        instructions="Be brief.",
        model=model,
        toolkits=[Toolkit(id="tools", tools=tools)],
        config=config,
    )
    return RealtimeSession(agent, channel=channel, context=context, **options)


def peer_of(session: RealtimeSession[Any]) -> ModelPeer:
    """The provider's end of a session that :func:`make_session` made."""
    assert isinstance(session.model, ScriptedModel)
    return session.model.peer


@asynccontextmanager
async def calling(*tools: Any, **options: Any) -> AsyncIterator[Call]:
    """A connected session whose whole stream is logged."""
    session = make_session(*tools, **options)
    log: list[Any] = []
    session.on("event", log.append)
    # Under a virtual clock a deadlock would hang for real: a timer somewhere turns it into a failure.
    with anyio.fail_after(10_000):
        async with session:
            yield Call(session, peer_of(session), log)


# -- what a provider says ---------------------------------------------------------------------------------------------


def created(response_id: str = "r1") -> ResponseCreated:
    return ResponseCreated(Response(id=response_id, status="in_progress"))


def audio(response_id: str = "r1", item_id: str = "i1", ms: int = 100, content_index: int = 0) -> AudioDelta:
    return AudioDelta(
        b"\1\0" * (24 * ms), response_id=response_id, item_id=item_id, content_index=content_index, output_index=0
    )


def audio_done(response_id: str = "r1", item_id: str = "i1") -> AudioDone:
    return AudioDone(response_id=response_id, item_id=item_id, content_index=0)


def word(text: str, response_id: str = "r1", item_id: str = "i1") -> OutputTranscriptDelta:
    return OutputTranscriptDelta(text, response_id=response_id, item_id=item_id, content_index=0)


def transcript(text: str, response_id: str = "r1", item_id: str = "i1") -> OutputTranscript:
    return OutputTranscript(text, response_id=response_id, item_id=item_id, content_index=0)


def item_added(item_id: str = "i1", response_id: str = "r1") -> OutputItemAdded:
    return OutputItemAdded(Message("assistant", id=item_id, status="in_progress"), response_id=response_id)


def done(
    response_id: str = "r1",
    status: Any = "completed",
    *,
    text: str | None = None,
    reason: str | None = None,
    error: str | None = None,
    tokens: int | None = None,
) -> ResponseDone:
    details = None
    if reason is not None or error is not None:
        details = StatusDetails(
            type=status, reason=reason, error=ResponseError(message=error, code="server_error") if error else None
        )
    output = () if text is None else (Message("assistant", [ContentPart("output_audio", transcript=text)], id="i1"),)
    usage = None if tokens is None else Usage(total_tokens=tokens)
    return ResponseDone(Response(id=response_id, status=status, status_details=details, output=output, usage=usage))


def tool_call(
    name: str, call_id: str = "c1", arguments: str = "{}", response_id: str = "r1", item_id: str = "f1"
) -> ToolCalled:
    return ToolCalled(call_id, name, arguments, item_id, response_id=response_id)


def refusal(code: str | None = None, *, event_id: str | None = None, message: str = "refused") -> SessionError:
    return SessionError(message, code, "invalid_request_error", client_event_id=event_id)


FORMAT = PCM16_24K
