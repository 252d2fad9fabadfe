"""A session that is resumed at a provider that has kept only part of it, and pings that prove nothing."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import PCM16_24K, Capabilities
from kernl_rt.events import ItemCreated, Ping, SessionInfo, SessionResumable, SessionUpdated
from kernl_rt.exceptions import ModelNotFoundError
from kernl_rt.items import ContentPart, Message
from tests.scenarios.calls import Call, audio, audio_done, created, done, item_added, quiet, tool_call, transcript
from tests.session.links import back, model_of, redialling, statuses, told
from tests.session.test_reconnect import one_exchange

pytestmark = pytest.mark.anyio

FORMATS = {"input_formats": (PCM16_24K,), "output_formats": (PCM16_24K,)}
REPLAYS = Capabilities(**FORMATS, can_resume=True, replays_on_resume=True)  # type: ignore[arg-type]


def kept(text: str, role: str = "assistant", id: str = "kept_1") -> ItemCreated:
    return ItemCreated(Message(role, [ContentPart("text", text=text)], id=id, status="completed"))  # type: ignore[arg-type]


async def resume(call: Call, *replayed: ItemCreated) -> list[str]:
    """The link is lost; on the next the provider first names what it has kept. Returns what it was told."""
    model = model_of(call)
    model.acknowledge = False
    call.peer.hang_up(1006)
    with anyio.fail_after(10):
        while call.peer is model.peer or not model.peer.sent:
            await anyio.sleep(0.01)
    assert model.dials[-1].options.resume == "handle"
    model.peer.say(*replayed, SessionUpdated(SessionInfo(id="sess_resumed")))
    return told(await back(call))


async def test_what_the_provider_has_not_kept_is_told_again() -> None:
    async with redialling(capabilities=REPLAYS) as call:
        await one_exchange(call)
        await call.says(SessionResumable("handle"))
        before = call.session.history
        assert await resume(call, kept("good day")) == ["configuration", "user: hello"]
        assert call.session.history == before


async def test_what_is_new_comes_last_whatever_order_the_provider_has() -> None:
    async with redialling(capabilities=REPLAYS) as call:
        await one_exchange(call)
        await call.says(SessionResumable("handle"))
        await resume(call, kept("good day"))
        hello = call.session.history[0]
        await call.says(ItemCreated(Message("user", [ContentPart("input_text", text="more")], id="u9"), hello.id))
        assert [item.text for item in call.session.history] == ["hello", "good day", "more"]


async def test_what_it_has_kept_of_the_human_is_not_told_again() -> None:
    async with redialling(capabilities=REPLAYS) as call:
        await one_exchange(call)
        await call.says(SessionResumable("handle"))
        assert await resume(call, kept("hello", "user"), kept("good day", id="kept_2")) == ["configuration"]


async def test_a_provider_that_has_kept_nothing_is_told_everything() -> None:
    async with redialling(capabilities=REPLAYS) as call:
        await one_exchange(call)
        await call.says(SessionResumable("handle"))
        assert await resume(call) == ["configuration", "user: hello", "assistant: good day"]


async def test_one_kept_message_stands_for_one() -> None:
    async with redialling(capabilities=REPLAYS) as call:
        await one_exchange(call)
        call.session.send_message("hello", reply=False)
        await quiet()
        await call.says(SessionResumable("handle"))
        said = await resume(call, kept("hello", "user"), kept("good day", id="kept_2"))
        assert said == ["configuration", "user: hello"]


async def test_a_reply_that_was_cut_is_kept_with_words_that_nobody_heard() -> None:
    async with redialling(capabilities=REPLAYS, channel=MemoryChannel()) as call:
        reply = Message("assistant", [ContentPart("output_audio")], id="i1")
        await call.says(created(), item_added(), ItemCreated(reply), audio(ms=1_000), transcript("one two three four"))
        await call.says(audio_done(), done())
        await anyio.sleep(0.6)
        call.session.interrupt()
        await quiet()
        (heard,) = call.session.history
        assert heard.text == "one two"
        await call.says(SessionResumable("handle"))
        assert await resume(call, kept("one two three four")) == ["configuration"]
        assert call.session.history == (heard,)


async def test_calls_are_told_again_with_their_outcome() -> None:
    @tool
    async def weather() -> str:
        return "sunny"

    async with redialling(weather, capabilities=REPLAYS) as call:
        await call.says(created(), tool_call("weather", "c1"), done())
        await call.says(SessionResumable("handle"))
        said = await resume(call)
        assert said[:3] == ["configuration", "call c1", "output of c1: sunny"]
        assert not [each for each in said if each.startswith("result")]


async def test_a_handle_that_is_refused_is_let_go_of() -> None:
    async with redialling(capabilities=REPLAYS) as call:
        await one_exchange(call)
        await call.says(SessionResumable("handle"))
        model_of(call).refuse(ModelNotFoundError("no such conversation", status=404))
        call.peer.hang_up(1006)
        peer = await back(call)
        assert [dial.options.resume for dial in model_of(call).dials] == [None, "handle", None]
        assert told(peer) == ["configuration", "user: hello", "assistant: good day"]


async def test_a_refusal_without_a_handle_is_final() -> None:
    with pytest.raises(ModelNotFoundError):
        async with redialling(capabilities=REPLAYS) as call:
            await call.says(SessionResumable("handle"))
            model_of(call).refuse(*[ModelNotFoundError("no such model", status=404)] * 2)
            call.peer.hang_up(1006)
            await anyio.sleep(10)


async def test_items_of_an_earlier_program_become_history() -> None:
    """Nothing was said yet: what the provider has kept is all there is."""
    async with redialling(capabilities=REPLAYS) as call:
        await call.says(kept("good day"))
        assert [item.text for item in call.session.history] == ["good day"]


async def test_a_ping_does_not_excuse_a_reply_that_stops() -> None:
    async with redialling() as call:
        await call.says(created())
        for _ in range(3):
            await anyio.sleep(4)
            await call.says(Ping())
        assert "reconnecting" not in statuses(call)
        await anyio.sleep(3.1)
        assert "reconnecting" in statuses(call)
        assert len(call.seen(Ping)) == 3
