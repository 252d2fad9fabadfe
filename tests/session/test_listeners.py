"""Listeners and iterators: one stream, any number of consumers."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest

from kernl_rt.events import AudioDelta, EventsDropped, SessionError, StatusChanged
from kernl_rt.exceptions import MisconfiguredError, SessionStateError, SlowConsumer
from tests.scenarios.calls import audio, calling, created, done, make_session, quiet, word

pytestmark = pytest.mark.anyio


async def test_on_once_off_chain_and_decorate() -> None:
    heard: list[str] = []

    def first(event: Any) -> None:
        heard.append("first")

    def never(event: Any) -> None:
        heard.append("never")

    async with calling() as call:
        session = call.session
        session.on("audio", first).once("audio", never).off("audio", never)

        @session.once("audio")
        def one(event: Any) -> None:
            heard.append("one")

        await call.says(created(), audio(), audio())
        session.off("audio", first).off("audio", first)
        await call.says(audio())
    assert heard == ["first", "one", "first"]


async def test_a_listener_may_remove_another_while_it_runs() -> None:
    heard: list[str] = []
    async with calling() as call:

        def late(event: Any) -> None:
            heard.append("late")

        call.session.on("audio", lambda event: call.session.off("audio", late)).on("audio", late)
        await call.says(created(), audio())
    assert heard == []


async def test_a_listener_that_feeds_is_handled_next_and_not_inside() -> None:
    order: list[str] = []
    async with calling() as call:
        call.session.on("one", lambda event: (call.session.emit("two"), order.append("after emit")))
        call.session.on("two", lambda event: order.append("two"))
        call.session.emit("one")
    assert order == ["after emit", "two"]


async def test_async_listeners_are_awaited_in_order() -> None:
    heard: list[int] = []

    async def slow(event: AudioDelta) -> None:
        await anyio.sleep(0.1)
        heard.append(len(event.audio))

    session = make_session()
    session.on("audio", slow)
    async with session:
        session.model.peer.say(created(), audio(ms=10), audio(ms=20), audio(ms=30))  # type: ignore[attr-defined]
        await quiet()
        assert heard == []
    assert heard == [480, 960, 1440], "what was emitted before the end is still heard"


async def test_an_async_listener_that_never_ends_is_given_up() -> None:
    async def forever(event: Any) -> None:
        await anyio.sleep_forever()

    start = anyio.current_time()
    async with calling() as call:
        call.session.on("audio", forever)
        await call.says(created(), audio())
    assert anyio.current_time() - start <= 2.5


async def test_async_once_and_off_and_failure() -> None:
    heard: list[str] = []
    async with calling() as call:

        async def once(event: Any) -> None:
            heard.append("once")

        async def gone(event: Any) -> None:
            heard.append("gone")

        async def bad(event: Any) -> None:
            raise ValueError("bad")

        call.session.once("audio", once).on("audio", gone).off("audio", gone).on("audio", bad)
        await call.says(created(), audio(), audio())
        assert heard == ["once"]
        assert [error.source for error in call.seen(SessionError)] == ["listener", "listener"]


@pytest.mark.parametrize("topic", ["", None, 5])
async def test_a_bad_topic(topic: Any) -> None:
    with pytest.raises(MisconfiguredError, match="topic"):
        make_session().on(topic, print)


async def test_a_bad_listener() -> None:
    with pytest.raises(MisconfiguredError, match="function"):
        make_session().on("audio", "nope")  # type: ignore[call-overload]


async def test_events_by_topic_and_kind() -> None:
    async with calling() as call:
        by_topic = call.session.events("response", "audio")
        by_kind = call.session.events("response.done")
        await call.says(created(), word("a"), audio(), done())
        assert [event.kind for event in [await anext(by_topic) for _ in range(3)]] == [
            "response.created",
            "audio.output.delta",
            "response.done",
        ]
        assert (await anext(by_kind)).kind == "response.done"


async def test_an_iterator_made_before_connecting_sees_everything() -> None:
    session = make_session()
    events = session.events("status")
    async with session:
        pass
    assert [event.status async for event in events] == ["connecting", "connected", "closing", "closed"]


async def test_an_iterator_may_be_left_and_another_begun(backend: str) -> None:
    async with calling() as call:
        await call.says(created())
        call.peer.say(audio(), audio())
        async for event in call.session:
            if isinstance(event, AudioDelta):
                break
        gc.collect()
        call.peer.say(done())
        async for event in call.session:
            if event.kind == "response.done":
                break
        assert len(call.session.statistics().streams) <= 1


async def test_two_tasks_on_one_iterator_are_told() -> None:
    async with calling() as call, anyio.create_task_group() as group:
        events = call.session.events()
        group.start_soon(events.__anext__)
        await quiet()
        with pytest.raises(SessionStateError, match="its own"):
            await anext(events)
        call.session.close()


async def test_partial_content_is_shed_first_and_counted() -> None:
    async with calling() as call:
        events = call.session.events(buffer=8)
        await call.says(created(), *[word(str(n)) for n in range(50)], done())
        seen = [await anext(events) for _ in range(len(events) + 1)]
        assert isinstance(seen[0], EventsDropped)
        assert seen[0].counts == {"transcript.output.delta": 50 - 6}
        assert seen[-1].kind == "response.done"


async def test_a_consumer_too_slow_for_what_may_not_be_dropped_ends() -> None:
    async with calling() as call:
        events = call.session.events("note", buffer=4)
        for number in range(9):
            call.session.emit("note", number)
        assert [(await anext(events)).data for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(SlowConsumer):
            await anext(events)
        assert call.session.status == "connected"


async def test_drop_oldest() -> None:
    async with calling() as call:
        events = call.session.events("note", buffer=4, policy="drop_oldest")
        for number in range(9):
            call.session.emit("note", number)
        assert isinstance(await anext(events), EventsDropped)
        assert [(await anext(events)).data for _ in range(4)] == [5, 6, 7, 8]


async def test_block_stops_reading_from_the_model() -> None:
    async with calling() as call:
        events = call.session.events("audio", buffer=4, policy="block")
        await call.says(created())
        for _ in range(20):
            await call.says(audio(ms=1))
        assert len(events) <= 5
        seen = 0
        while seen < 20:
            await anext(events)
            seen += 1
            await quiet()
        assert events.dropped == 0


@pytest.mark.parametrize(("options", "match"), [({"policy": "maybe"}, "policy"), ({"buffer": 1}, "small")])
async def test_a_bad_buffer(options: Any, match: str) -> None:
    with pytest.raises(MisconfiguredError, match=match):
        make_session().events(**options)


async def test_nobody_listens_and_nothing_grows() -> None:
    async with make_session() as session:
        session.on("error", print)
        peer = session.model.peer  # type: ignore[attr-defined]
        for number in range(50):
            peer.say(created(f"r{number}"), *[audio(f"r{number}", f"i{number}", ms=1) for _ in range(20)])
            peer.say(done(f"r{number}"))
            await quiet()
        await anyio.sleep(10)
        state = session.statistics()
        assert state.to_model.waiting == 0
        assert state.playback_pending_ms == 0


async def test_events_after_the_end() -> None:
    async with calling() as call:
        pass
    assert [event async for event in call.session.events()] == []
    assert isinstance(call.log[-1], StatusChanged)


async def test_stale_sound_reaches_nobody_whatever_they_listen_for() -> None:
    heard: list[Any] = []

    async def slow(event: Any) -> None:
        await anyio.sleep(0.5)
        heard.append(event)

    async with calling() as call:
        events = call.session.events("audio")
        call.session.on("audio", slow)
        await call.says(created(), *[audio(ms=10) for _ in range(20)])
        call.session.interrupt()
        await anyio.sleep(20)
        assert [event for event in [await anext(events)] if isinstance(event, AudioDelta)] == []
        assert len(heard) <= 1, "only what the listener had in its hands"
        assert all(isinstance(event, AudioDelta) for event in heard), "a listener for audio gets audio"
