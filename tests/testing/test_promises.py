"""The witness: each promise can be seen broken, and a good session breaks none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kernl_rt.channels.memory import MemoryChannel, memory_channel_pair
from kernl_rt.config import PCM16_24K, ConnectOptions, ResponseConfig, SessionConfig
from kernl_rt.events import (
    AudioDelta,
    AudioPlayed,
    CustomEvent,
    Interrupted,
    ItemTruncate,
    Response,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SessionError,
    StatusChanged,
    ToolResult,
)
from kernl_rt.testing import BrokenPromise, PromiseChecker, ScriptedModel
from kernl_rt.testing._ledgers import Playout, Wire
from tests.scenarios.calls import make_session

pytestmark = pytest.mark.anyio

Ledger = Callable[[str, object, str], None]


class Book:
    """What was reported."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.playout = Playout(self)
        self.playout.opened(PCM16_24K)
        self.playout.has_channel = True
        self.wire = Wire(self.playout, self)

    def __call__(self, promise: str, event: object, why: str) -> None:
        self.told.append((promise, why))

    @property
    def promises(self) -> list[str]:
        return [promise for promise, _ in self.told]

    def send(self, event: Any) -> None:
        self.wire.begins(event)
        self.wire.done(event)

    def arrives(self, response_id: str, audio: bytes, item_id: str = "i1") -> None:
        self.wire.received(AudioDelta(audio, response_id=response_id, item_id=item_id))


def running(response_id: str) -> ResponseCreated:
    return ResponseCreated(Response(id=response_id, status="in_progress"))


def over(response_id: str) -> ResponseDone:
    return ResponseDone(Response(id=response_id, status="completed"))


#: 100 ms each.
A, B, C = (bytes([letter]) * 4_800 for letter in b"ABC")


# -- the wire ---------------------------------------------------------------------------------------------------------


async def test_one_reply_after_the_other_is_right() -> None:
    book = Book()
    for reply in ("r1", "r2"):
        book.send(ResponseCreate())
        book.wire.received(running(reply))
        book.wire.received(over(reply))
    assert book.told == []


async def test_two_requests_at_once() -> None:
    book = Book()
    book.send(ResponseCreate())
    book.send(ResponseCreate())
    assert book.promises == ["one reply at a time"]


async def test_a_request_while_a_reply_runs() -> None:
    book = Book()
    book.wire.received(running("r1"))
    book.send(ResponseCreate())
    assert book.told == [("one reply at a time", "r1 runs")]


async def test_a_request_after_a_refusal_or_a_long_silence_is_right() -> None:
    book = Book()
    book.send(ResponseCreate())
    book.wire.received(SessionError("no"))
    book.send(ResponseCreate())
    await anyio.sleep(11)
    book.send(ResponseCreate())
    assert book.told == []


async def test_replies_beside_the_conversation_are_free() -> None:
    book = Book()
    book.send(ResponseCreate(ResponseConfig(conversation="none")))
    book.wire.received(running("beside"))
    book.send(ResponseCreate())
    assert book.told == []


async def test_the_model_is_told_an_outcome_once() -> None:
    book = Book()
    book.send(ToolResult("c1", "yes"))
    book.wire.received(SessionError("no such call"))
    book.send(ToolResult("c1", "yes"))
    assert book.told == []
    book.send(ToolResult("c1", "yes"))
    assert book.promises == ["one outcome per tool call"]


async def test_one_event_is_sent_at_a_time() -> None:
    book = Book()
    book.wire.begins(ToolResult("c1", "yes"))
    book.wire.begins(ToolResult("c2", "yes"))
    assert book.told == [("whole frames in order", "it was sent while tool.result was still being sent")]


async def test_nothing_follows_an_event_that_was_cut() -> None:
    book = Book()
    book.wire.begins(ToolResult("c1", "yes"))
    book.wire.cut(ToolResult("c1", "yes"))
    assert book.told == []
    book.send(ToolResult("c2", "yes"))
    assert book.told == [("whole frames in order", "tool.result before it was cut half way")]


# -- the sound --------------------------------------------------------------------------------------------------------


async def test_sound_in_order_in_any_pieces_is_right() -> None:
    book = Book()
    book.arrives("r1", A + B)
    book.arrives("r2", C, "i2")
    for piece in (A[:1_000], A[1_000:] + B[:7], B[7:], C):
        book.playout.played(piece)
    assert book.told == []


async def test_sound_out_of_order() -> None:
    book = Book()
    book.arrives("r1", A + B)
    book.playout.played(B)
    assert book.promises == ["played in order"]


async def test_sound_that_is_played_twice() -> None:
    book = Book()
    book.arrives("r1", A + B)
    book.playout.played(A)
    book.playout.played(A)
    assert book.promises == ["played in order"]


async def test_a_reply_that_is_left_out() -> None:
    book = Book()
    book.arrives("r1", A + B)
    book.arrives("r2", C, "i2")
    book.playout.played(A)
    book.playout.played(C)
    assert book.told == [("played without gaps", "4800 bytes of 'r1' were never played")]


async def test_what_was_cleared_may_be_left_out_or_said_again() -> None:
    book = Book()
    book.arrives("r1", A + B)
    book.arrives("r2", C, "i2")
    book.playout.played(A)
    book.playout.cleared(40)
    book.playout.played(A[1_920:])  # from what was heard
    book.playout.cleared(60)
    book.playout.played(C)
    assert book.told == []


async def test_sound_of_an_interrupted_reply() -> None:
    book = Book()
    book.arrives("r1", A + B)
    book.playout.played(A)
    book.playout.interrupted("r1")
    book.playout.played(B)
    assert book.promises == ["silent after interrupted"]


async def test_a_truncation_within_what_was_heard_is_right() -> None:
    book = Book()
    book.arrives("r1", A)
    book.arrives("r2", B, "i2")
    book.playout.played(A)
    book.playout.played(B)
    book.playout.happened(AudioPlayed(130))
    book.playout.cleared(150.6)
    book.send(ItemTruncate("i2", 51))
    assert book.told == []


@pytest.mark.parametrize(
    ("ms", "why"),
    [
        (60, "only 50 ms of 'i2' were heard"),
        (-1, "-1 is no number of whole milliseconds"),
        (1.5, "1.5 is no number of whole milliseconds"),
    ],
)
async def test_a_truncation_beyond_what_was_heard(ms: Any, why: str) -> None:
    book = Book()
    book.arrives("r1", A)
    book.arrives("r2", B, "i2")
    book.playout.played(A)
    book.playout.played(B)
    book.playout.cleared(150)
    book.send(ItemTruncate("i2", ms))
    assert book.told == [("truncated at what was heard", why)]


async def test_a_truncation_beyond_what_was_received() -> None:
    book = Book()
    book.playout.has_channel = False
    book.arrives("r1", A)
    book.send(ItemTruncate("i1", 102))
    assert book.told == [("truncated at what was heard", "only 100 ms of 'i1' were received")]


# -- the session ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def watched(channel: MemoryChannel | None = None) -> AsyncIterator[tuple[PromiseChecker, ScriptedModel, Any]]:
    checker = PromiseChecker()
    model = ScriptedModel()
    options = {} if channel is None else {"channel": checker.channel(channel)}
    session = make_session(model=checker.model(model), **options)
    checker.watch(session)
    with anyio.fail_after(100):
        yield checker, model, session


async def test_a_good_session_breaks_nothing() -> None:
    channel, _ = memory_channel_pair()
    async with watched(channel) as (checker, model, session):
        async with session:
            session.send_message("Hello")
            peer = await model.accept()
            await peer.hear(ResponseCreate)
            peer.say(running("r1"), AudioDelta(A, response_id="r1", item_id="i1"), over("r1"))
            await anyio.sleep(0.2)
        checker.check()
    assert [event.status for event in checker.trace if isinstance(event, StatusChanged)][-1] == "closed"


async def test_a_session_that_never_began_breaks_nothing() -> None:
    async with watched() as (checker, _, _):
        checker.check()


async def test_a_session_that_is_still_open() -> None:
    channel, _ = memory_channel_pair()
    async with watched(channel) as (checker, _, session), session:
        with pytest.raises(BrokenPromise) as caught:
            checker.check()
        told = [str(caught.value), *caught.value.__notes__]
        for word in ("'kernl_rt link' still runs", "never left", "the channel", "ends in the status 'connected'"):
            assert any(word in text for text in told), (word, told)


async def test_a_task_that_outlives() -> None:
    async with anyio.create_task_group() as group, watched() as (checker, _, session):
        async with session:
            group.start_soon(anyio.sleep, 1, name="a straggler")
        with pytest.raises(BrokenPromise, match="no task outlives: 'a straggler' still runs"):
            checker.check()
        checker.broken.clear()
        checker.check(running=["a straggler"])


async def test_something_after_closed() -> None:
    async with watched() as (checker, _, session):
        async with session:
            pass
        session._emitter.emit(("event",), CustomEvent("late"), lambda listener, exc: None)
        with pytest.raises(BrokenPromise, match="closed last and once"):
            checker.check()


async def test_a_close_that_takes_too_long() -> None:
    async with watched() as (checker, _, _):
        checker._hear(StatusChanged("closing", "connected"))
        await anyio.sleep(6)
        checker._hear(StatusChanged("closed", "closing"))
        with pytest.raises(BrokenPromise, match="closed in time: it took 6 s to close; 5 s are allowed"):
            checker.check()


async def test_a_call_that_runs_twice() -> None:
    async with watched() as (checker, _, _):
        checker.ran("c1")
        checker.ran("c2")
        checker.check()
        checker.ran("c1")
        with pytest.raises(BrokenPromise, match="a call runs once"):
            checker.check()


async def test_interruptions_are_heard_of() -> None:
    async with watched() as (checker, _, _):
        checker._hear(running("r1"))
        checker._playout.opened(PCM16_24K)
        checker._playout.arrived(AudioDelta(A, response_id="r1", item_id="i1"))
        checker._hear(Interrupted(response_id="r1"))
        checker._playout.played(A)
        assert [broken.promise for broken in checker.broken] == ["silent after interrupted"]


async def test_a_watched_model_and_channel_are_what_they_were() -> None:
    checker = PromiseChecker()
    model, (channel, human) = ScriptedModel(), memory_channel_pair(playback="manual", live=False)
    watched_model, watched_channel = checker.model(model), checker.channel(channel)
    assert (watched_model.provider, watched_model.name) == ("scripted", "scripted")
    assert watched_model.capabilities is model.capabilities
    assert watched_model.peers == []  # type: ignore[attr-defined]
    assert watched_channel.human is human  # type: ignore[attr-defined]
    assert not watched_channel.live
    watched_model.check(SessionConfig())
    async with watched_model.connect(SessionConfig(), ConnectOptions()), watched_channel.open(PCM16_24K, PCM16_24K):
        await watched_channel.send(A)
        await watched_channel.flush()
        human.played(40)
        assert (await watched_channel.receive()).kind == AudioPlayed.kind
        assert watched_channel.clear() == 40
    await anyio.lowlevel.checkpoint()
    assert "played in order" in [broken.promise for broken in checker.broken], "nobody had received that sound"
