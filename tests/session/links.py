"""Links that are lost and come back, in a live session with scripted providers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kernl_rt.config import Capabilities
from kernl_rt.events import (
    AudioInputAppend,
    AudioInputCommit,
    AudioInputCommitted,
    ClientEvent,
    ItemCreate,
    ResponseCreate,
    SessionUpdate,
    SpeechStarted,
    SpeechStopped,
    StatusChanged,
    ToolResult,
)
from kernl_rt.exceptions import ConnectRefusedError
from kernl_rt.items import FunctionCall, FunctionCallOutput, Message
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.testing import ModelPeer, ScriptedModel
from tests.scenarios.calls import Call, calling, quiet

#: Nothing is left to chance: the first attempt comes at once.
AT_ONCE = ReconnectPolicy(first_delay=0, base=0)
PCM = Capabilities()


def model_of(call: Call) -> ScriptedModel:
    model = call.session.model
    assert isinstance(model, ScriptedModel)
    return model


@asynccontextmanager
async def redialling(*tools: Any, **options: Any) -> AsyncIterator[Call]:
    async with calling(*tools, **{"reconnect": AT_ONCE, **options}) as call:
        yield call


async def gap(call: Call, code: int = 1006, *, seconds: float | None = None) -> None:
    """The link is lost, and the provider cannot be reached: the gap lasts until :func:`back`, or for ``seconds``."""
    model_of(call).hang()
    call.peer.hang_up(code)
    await quiet()
    assert call.session.status == "reconnecting"
    if seconds is not None:
        await anyio.sleep(seconds)


async def back(call: Call) -> ModelPeer:
    """Wait until the session is connected on a new link, and all that follows has been said. Returns its other end."""
    with anyio.fail_after(200):
        while call.peer is model_of(call).peer or call.session.status != "connected":
            await anyio.sleep(0.01)
    call.peer = model_of(call).peer
    await quiet()
    return call.peer


async def lose(call: Call, code: int = 1006) -> ModelPeer:
    """The link is lost, and there is another at once."""
    call.peer.hang_up(code)
    await quiet()
    return await back(call)


def statuses(call: Call) -> list[str]:
    return [event.status for event in call.seen(StatusChanged)]


def words(event: ClientEvent) -> str:
    """What an event says, in short."""
    match event:
        case SessionUpdate():
            return "configuration"
        case ItemCreate(item=Message() as item):
            return f"{item.role}: {item.text}"
        case ItemCreate(item=FunctionCall(call_id=call_id)):
            return f"call {call_id}"
        case ItemCreate(item=FunctionCallOutput(call_id=call_id, output=output)):
            return f"output of {call_id}: {output}"
        case ToolResult(call_id=call_id, output=output):
            return f"result of {call_id}: {output}"
        case AudioInputAppend(audio=audio):
            return f"sound {audio[:1].hex()}"
        case AudioInputCommit():
            return "commit"
        case ResponseCreate():
            return "reply?"
        case _:
            return type(event).__name__


def told(peer: ModelPeer) -> list[str]:
    """What a provider was told, in order; pieces of the same sound count once."""
    said: list[str] = []
    for event in peer.sent:
        said += [words(event)] if not (words(event).startswith("sound") and said[-1:] == [words(event)]) else []
    return said


def sound(byte: int, ms: int = 100) -> bytes:
    return bytes([byte]) * (48 * ms)


def heard_sound(peer: ModelPeer) -> bytes:
    return b"".join(event.audio for event in peer.heard(AudioInputAppend))


def speech_started(item_id: str = "u1") -> SpeechStarted:
    return SpeechStarted(item_id, 0)


def turn_over(item_id: str = "u1") -> tuple[Any, ...]:
    return SpeechStopped(item_id, 0), AudioInputCommitted(item_id)


def refused() -> ConnectRefusedError:
    return ConnectRefusedError("nobody listens")
