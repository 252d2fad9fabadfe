"""A link is changed before its provider ends it, when nobody notices."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import PCM16_24K, Capabilities
from kernl_rt.events import (
    AudioInputAppend,
    Interrupted,
    ItemCreate,
    ItemCreated,
    ResponseCreate,
    SessionExpiring,
    StatusChanged,
)
from kernl_rt.exceptions import SessionExpired
from kernl_rt.items import ContentPart, Message
from kernl_rt.policy import ReconnectPolicy
from tests.scenarios.calls import (
    Call,
    audio,
    audio_done,
    created,
    done,
    item_added,
    make_session,
    quiet,
    refusal,
    tool_call,
    transcript,
)
from tests.session.links import back, model_of, redialling, sound, speech_started, statuses, told, turn_over

pytestmark = pytest.mark.anyio
HOUR = Capabilities(input_formats=(PCM16_24K,), output_formats=(PCM16_24K,), max_duration=3_600.0)
DUE = 3_300.0


async def links_after(call: Call, seconds: float) -> int:
    await anyio.sleep(seconds)
    await quiet()
    return len(model_of(call).peers)


async def test_in_a_quiet_moment_it_is_changed_five_minutes_before_its_end() -> None:
    async with redialling(capabilities=HOUR) as call:
        assert await links_after(call, DUE - 1) == 1
        assert await links_after(call, 2) == 2
        assert statuses(call)[2:] == ["reconnecting", "connected"]
        assert call.seen(StatusChanged)[2].reason == "the provider ends sessions of this age; the link is changed"
        assert await links_after(call, DUE) == 3
        await back(call)


@pytest.mark.parametrize("busy", ["speech", "reply", "tail", "tool", "unanswered"])
async def test_while_something_goes_on_it_is_not_changed(busy: str) -> None:
    go = anyio.Event()

    @tool
    async def lookup() -> str:
        await go.wait()
        return "found"

    async with redialling(lookup, capabilities=HOUR, channel=MemoryChannel(), dead_air=None) as call:
        await anyio.sleep(DUE - 1)
        match busy:
            case "speech":
                await call.says(speech_started())
            case "reply":
                await call.says(created())
            case "tail":
                await call.says(created(), audio(ms=20_000), audio_done(), done())
            case "tool":
                await call.says(created(), tool_call("lookup"), done())
            case "unanswered":
                call.peer._acknowledge = False
                call.session.send_message("hello", reply=False)
        assert await links_after(call, 15) == 1
        match busy:
            case "speech":
                await call.says(*turn_over(), created("r2"), done("r2"))
            case "reply":
                await call.says(done())
            case "tool":
                go.set()
                await quiet()
                await call.says(created("r2"), done("r2"))
            case "unanswered":
                await call.says(ItemCreated(call.sent(ItemCreate)[0].item))
            case _:
                await anyio.sleep(6)
        assert await links_after(call, 1) == 2
        assert call.seen(Interrupted) == []


async def test_it_is_changed_before_its_end_although_it_was_never_quiet() -> None:
    async with redialling(capabilities=HOUR, dead_air=None) as call:
        await anyio.sleep(DUE - 1)
        await call.says(speech_started())
        call.session.send_audio(sound(1, 2_000))
        assert await links_after(call, 285) == 1
        assert await links_after(call, 2) == 2
        peer = await back(call)
        assert b"".join(event.audio for event in peer.heard(AudioInputAppend)) == sound(1, 2_000)


async def test_the_provider_may_say_that_the_end_is_near() -> None:
    async with redialling() as call:
        await anyio.sleep(60)
        await call.says(SessionExpiring(20.0))
        assert await links_after(call, 9.5) == 1
        assert await links_after(call, 1) == 2
        assert [event.time_left for event in call.seen(SessionExpiring)] == [20.0]


async def test_a_provider_that_always_says_so_is_not_dialled_without_end() -> None:
    async with redialling() as call:
        for _ in range(20):
            await call.says(SessionExpiring(0.0))
            await anyio.sleep(0.5)
            call.peer = model_of(call).peer
        assert len(model_of(call).peers) == 6
        assert call.session.status == "connected"
        await anyio.sleep(40)
        await call.says(SessionExpiring(0.0))
        assert await links_after(call, 1) == 7


@pytest.mark.parametrize("code", [1000, 1001, 1006])
async def test_a_session_that_expired_costs_no_attempt(code: int) -> None:
    policy = ReconnectPolicy(attempts=1, rotate_before=None)
    async with redialling(capabilities=HOUR, reconnect=policy) as call:
        call.session.on("error", lambda event: None)
        for _ in range(2):
            await anyio.sleep(3_600)
            await call.says(refusal("session_expired", message="60 minutes are over"))
            call.peer.hang_up(code)
            await quiet()
            await back(call)
        assert call.session.status == "connected"


async def test_without_reconnecting_a_session_that_expired_is_told_as_that() -> None:
    with pytest.raises(SessionExpired):
        async with redialling(reconnect=None) as call:
            call.session.on("error", lambda event: None)
            await call.says(refusal("session_expired", message="60 minutes are over"))
            call.peer.hang_up(1001)
            await call.session.wait_closed()


async def test_it_may_be_left_to_the_provider() -> None:
    policy = ReconnectPolicy(rotate_before=None)
    async with redialling(capabilities=HOUR, reconnect=policy) as call:
        assert await links_after(call, 3_599) == 1
        call.peer.hang_up(1001)
        await quiet()
        await back(call)
        assert len(model_of(call).peers) == 2


# -- a day ------------------------------------------------------------------------------------------------------------

DAY = 86_400
EVERY = 290


class Day:
    """A turn every few minutes for a day; the provider ends every link at one hour, to the second."""

    def __init__(self, cap: float | None) -> None:
        able = HOUR if cap is not None else None
        self.session = make_session(channel=MemoryChannel(playback="instant"), capabilities=able)
        self.log: list[Any] = []
        self.session.on("event", self.log.append)
        self.heard: list[str] = []
        self.cap = cap
        self.model: Any = self.session.model

    async def end_links(self) -> None:
        """As OpenAI: 60 minutes after a link began it is closed with 1001."""
        while self.cap is not None:
            peer = await self.model.accept()
            with anyio.move_on_after(self.cap):
                await peer.closed.wait()
            peer.hang_up(1001)

    async def turn(self, number: int) -> None:
        self.session.send_audio(sound(number % 250 + 1, 40))
        await quiet()
        peer = self.model.peer
        user = Message("user", [ContentPart("input_audio", transcript=f"question {number}")], id=f"u{number}")
        reply_id, item_id = f"r{number}", f"i{number}"
        said = Message("assistant", [ContentPart("output_audio", transcript=f"answer {number}")], id=item_id)
        peer.say(speech_started(f"u{number}"), *turn_over(f"u{number}"), ItemCreated(user))
        peer.say(created(reply_id), item_added(item_id, reply_id), ItemCreated(said), audio(reply_id, item_id, 40))
        peer.say(transcript(f"answer {number}", reply_id, item_id), audio_done(reply_id, item_id), done(reply_id))
        await quiet()

    async def run(self) -> None:
        async with self.session, anyio.create_task_group() as group:
            group.start_soon(self.end_links)
            start = anyio.current_time()
            for number in range(DAY // EVERY):
                await anyio.sleep_until(start + number * EVERY)
                await self.turn(number)
            await anyio.sleep_until(start + DAY)
            self.history = self.session.history
            group.cancel_scope.cancel()


async def test_promise_21_a_call_of_a_day_is_that_of_one_link() -> None:
    with anyio.fail_after(5 * DAY):
        day, twin = Day(3_600.0), Day(None)
        await day.run()
        await twin.run()
    assert len(day.model.peers) == 27, "26 rotations"
    assert len(twin.model.peers) == 1
    assert day.history == twin.history
    assert len(day.history) == 2 * (DAY // EVERY)
    assert not [event for event in day.log if isinstance(event, Interrupted)]
    assert not any(peer.heard(ResponseCreate) for peer in day.model.peers)
    told_last = [entry for entry in told(day.model.peer) if entry.startswith(("user", "assistant"))]
    assert told_last[:3] == ["user: question 0", "assistant: answer 0", "user: question 1"]
