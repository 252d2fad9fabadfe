"""A session with a Live model: overlap, interruption, mute, work, forks and the ways in which it ends."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, events as ev, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.channels.memory import memory_channel_pair
from kernl_rt.config import ResponseConfig
from kernl_rt.exceptions import CommandRejected, ConnectionClosed, MisconfiguredError, SessionExpired
from kernl_rt.items import Message
from kernl_rt.providers import openai
from kernl_rt.simulator import Faults, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.providers.live_frames import SILENCE, TONE, WEATHER, closed, sound, started, words
from tests.simulator.driver import silence, tone

pytestmark = pytest.mark.anyio


def agent_of(model: openai.LiveModel, *tools: Any, **more: Any) -> RealtimeAgent[Any]:
    return RealtimeAgent(
        id="live",
        name="Live",
        instructions="Be brief.",
        model=model,
        toolkits=[Toolkit(id="tools", tools=list(tools))] if tools else [],
        **more,
    )


def session_of(
    simulator: Simulator, *tools: Any, channel: Any = None, **options: Any
) -> tuple[RealtimeSession[Any], list[Any]]:
    agent = agent_of(openai.live(api_key="k", **options), *tools)
    session: RealtimeSession[Any] = RealtimeSession(agent, transport=simulator.transport(), channel=channel)
    log: list[Any] = []
    session.on("event", log.append)
    return session, log


def only(log: list[Any], kind: type) -> list[Any]:
    return [event for event in log if isinstance(event, kind)]


def live(*lines: Any, **options: Any) -> Simulator:
    return Simulator(ScriptedBrain(lines), protocol="live", **options)


@tool
async def weather(city: str) -> str:
    """The weather in a city."""
    await anyio.sleep(1.0)
    return f"Sunny in {city}"


# -- talking ----------------------------------------------------------------------------------------------------------


async def test_a_spoken_conversation() -> None:
    simulator = live("Hello there.", "Fine.", ears=ScriptedEars(["good morning", "how are you"]))
    channel, human = memory_channel_pair()
    session, log = session_of(simulator, channel=channel)
    with anyio.fail_after(120):
        async with session:
            for _ in range(2):
                await human.speak(tone(0.6) + silence(4.0))
        spoken = [
            (type(event), event.text) for event in log if isinstance(event, (ev.InputTranscript, ev.OutputTranscript))
        ]
    assert [text for kind, text in spoken if kind is ev.InputTranscript] == ["good morning", "how are you"]
    assert [text for kind, text in spoken if kind is ev.OutputTranscript] == ["Hello there.", "Fine."]
    messages = [(item.role, item.text) for item in session.history if isinstance(item, Message)]
    assert messages == [
        ("user", "good morning"),
        ("assistant", "Hello there."),
        ("user", "how are you"),
        ("assistant", "Fine."),
    ]
    assert not only(log, ev.SessionError)
    assert any(human.hear_nowait()), "the human hears it"


async def test_what_is_written_is_answered_without_a_microphone() -> None:
    session, log = session_of(live("Hello.", "Goodbye."))
    with anyio.fail_after(120):
        async with session:
            assert (await session.ask("hi")).text == "Hello."
            reply = await session.request_reply(ResponseConfig(instructions="Say goodbye.")).settled()
            assert reply.text == "Goodbye."
            with pytest.raises(MisconfiguredError, match="instructions"):
                session.request_reply(ResponseConfig(output_modality="text"))
    assert [event.channel for event in only(log, ev.ContextAppended)] == ["thinking", "instructions", "instructions"]
    assert not only(log, ev.SessionError)


class Script:
    """A far end by hand. ``play`` is called once the session has been started."""

    def __init__(self, play: Callable[[Any], Awaitable[None]]) -> None:
        self._play = play
        self.heard: list[dict[str, Any]] = []

    async def serve(self, stream: Any, request: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, stream, tasks)
            while not self.heard:
                await anyio.sleep(0.01)
            await stream.send(json.dumps(started()))

            async def say(*frames: dict[str, Any]) -> None:
                for frame in frames:
                    await stream.send(json.dumps(frame))

            await self._play(say)
            await anyio.sleep_forever()

    async def _listen(self, stream: Any, tasks: Any) -> None:
        try:
            while True:
                self.heard += [json.loads(message) for message in await stream.receive()]
        except ConnectionClosed:
            tasks.cancel_scope.cancel()

    def said(self, type: str) -> list[dict[str, Any]]:
        return [frame for frame in self.heard if frame["type"] == type]


def everything(human: Any) -> bytes:
    pieces: list[bytes] = []
    with suppress(anyio.WouldBlock):
        while True:
            pieces.append(human.hear_nowait())
    return b"".join(pieces)


async def timeline(say: Any, frames: list[dict[str, Any]]) -> None:
    """In real time: one frame of sound every 200 ms."""
    for frame in frames:
        if frame["type"] == "session.output_audio.delta":
            await anyio.sleep(0.2)
        await say(frame)


async def test_overlapping_speech_reaches_both_sides() -> None:
    """The human speaks in the midst of the reply: nothing is cleared, nothing is cut, nothing is cancelled."""
    frames = [
        *[sound(TONE)] * 3,
        words("I was saying", 0, 600),
        words("mhm", 500, 700, "input"),
        *[sound(TONE)] * 3,
        words(" that it works", 600, 1_200),
        *[sound(SILENCE)] * 8,
    ]
    script = Script(lambda say: timeline(say, frames))
    channel, human = memory_channel_pair()
    session: RealtimeSession[Any] = RealtimeSession(
        agent_of(openai.live(api_key="k")), transport=MemoryTransport(script.serve), channel=channel, recover_after=1.0
    )
    log: list[Any] = []
    session.on("event", log.append)
    heard = bytearray()
    with anyio.fail_after(60):
        async with session:
            await anyio.sleep(0.7)
            human.activity_started()
            await human.speak(tone(0.4))
            human.activity_ended()
            await anyio.sleep(4.0)
            heard += everything(human)
    assert not only(log, ev.Interrupted)
    assert not only(log, ev.PlaybackPaused)
    (done,) = only(log, ev.ResponseDone)
    assert done.response.text == "I was saying that it works"
    assert bytes(heard).count(TONE) == 6
    assert script.said("session.input_audio.append")
    assert [item.text for item in session.history if isinstance(item, Message)] == ["I was saying that it works", "mhm"]


async def test_interrupt_is_a_fence_and_the_next_reply_is_heard() -> None:
    frames = [
        *[sound(TONE)] * 10,
        words("A very long story about nothing", 0, 2_000),
        *[sound(SILENCE)] * 6,
        sound(TONE),
        words("Next", 3_200, 3_400),
        *[sound(SILENCE)] * 6,
    ]
    script = Script(lambda say: timeline(say, frames))
    channel, human = memory_channel_pair()
    session: RealtimeSession[Any] = RealtimeSession(
        agent_of(openai.live(api_key="k")), transport=MemoryTransport(script.serve), channel=channel
    )
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(60):
        async with session:
            await anyio.sleep(1.1)
            await session.interrupt().settled()
            cut = len(log)
            everything(human)
            await anyio.sleep(6.0)
            heard = everything(human)
    (interrupted,) = only(log, ev.Interrupted)
    assert 400 <= interrupted.heard_ms <= 1_100
    first, _next = only(log, ev.ResponseCreated)
    assert not [
        event for event in log[cut:] if isinstance(event, ev.AudioDelta) and event.response_id == first.response.id
    ]
    assert heard.count(TONE) == 1, "only the next reply is heard"
    texts = [item.text for item in session.history if isinstance(item, Message)]
    assert texts[0] != "A very long story about nothing"
    assert "A very long story about nothing".startswith(texts[0])
    assert texts[1] == "Next"
    types = {frame["type"] for frame in script.heard}
    assert types <= {"session.start", "session.input_audio.append", "session.close"}, "Live has no word for it"


async def test_mute_is_on_the_wire_and_the_model_goes_on_speaking() -> None:
    simulator = live("One two three four five six.", ears=ScriptedEars(["never", "heard"]))
    channel, human = memory_channel_pair()
    session, log = session_of(simulator, channel=channel)
    with anyio.fail_after(120):
        async with session:
            asked = session.send_message("Count.")
            await asked.settled()
            while not only(log, ev.AudioDelta):
                await anyio.sleep(0.05)
            session.mute()
            await human.speak(tone(0.6) + silence(6.0))
            assert [event.muted for event in only(log, ev.InputMuted)] == [True]
            (done,) = only(log, ev.ResponseDone)
            assert done.response.text == "One two three four five six."
            session.unmute()
            await anyio.sleep(0.5)
    assert [event.muted for event in only(log, ev.InputMuted)] == [True, False]
    assert not only(log, ev.InputTranscript)


# -- work -------------------------------------------------------------------------------------------------------------


async def test_tools_are_called_by_the_backend() -> None:
    brain = (
        Reply(tool_calls=[ToolCall("weather", {"city": "Paris"}), ToolCall("weather", {"city": "Rome"})]),
        "Sunny.",
    )
    session, log = session_of(live(*brain), weather, backend="gpt-6")
    with anyio.fail_after(120):
        async with session:
            reply = await session.ask("How is the weather?")
            await anyio.sleep(16.0)  # the sound is counted every 15 seconds
    assert reply.text == "Sunny."
    finished = only(log, ev.ToolFinished)
    assert sorted((event.outcome, event.output) for event in finished) == [
        ("result", "Sunny in Paris"),
        ("result", "Sunny in Rome"),
    ]
    assert session.usage.total_tokens, "what the backend costs is counted"
    assert session.usage.seconds, "and the sound"
    assert not only(log, ev.SessionError)


async def test_work_for_the_client() -> None:
    requests: list[str] = []

    @tool
    async def delegate(request: str) -> str:
        """Does all the work."""
        requests.append(request)
        return "The table is booked."

    simulator = live(
        Reply(tool_calls=[ToolCall("delegate")], delay=1.0), "It is booked.", ears=ScriptedEars(["book a table"])
    )
    channel, human = memory_channel_pair()
    session, log = session_of(simulator, delegate, channel=channel)
    with anyio.fail_after(120):
        async with session:
            await human.speak(tone(0.6) + silence(6.0))
    assert requests == ["book a table"]
    assert [event.output for event in only(log, ev.ToolFinished)] == ["The table is booked."]
    assert [event.text for event in only(log, ev.OutputTranscript)] == ["It is booked."]
    assert [event.target for event in only(log, ev.DelegationCreated)] == ["client"]


async def test_work_that_is_done_by_hand() -> None:
    session, log = session_of(live(Reply(tool_calls=[ToolCall("delegate")]), "Done."))

    @session.on("delegation")
    def work(event: ev.DelegationCreated) -> None:
        content = {"content": "It is done.", "delegation_id": event.delegation_id}
        session.send({"type": "session.commentary.append", **content})

    with anyio.fail_after(120):
        async with session:
            session.send_message("Do it.")
            while not only(log, ev.OutputTranscript):
                await anyio.sleep(0.1)
    assert only(log, ev.OutputTranscript)[0].text == "Done."
    assert not only(log, ev.ToolCalled)


async def test_the_same_agent_with_another_model() -> None:
    """An agent with tools needs nothing else: a backend is chosen for it."""
    session, log = session_of(live(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "Sunny."), weather)
    with anyio.fail_after(120):
        async with session:
            assert (await session.ask("Weather?")).text == "Sunny."
    (finished,) = only(log, ev.ToolFinished)
    assert finished.output == "Sunny in Paris"


async def test_a_session_cannot_become_one_with_a_backend() -> None:
    session, _ = session_of(live())
    with anyio.fail_after(120):
        async with session:
            with pytest.raises(CommandRejected, match="calls no tools"):
                await session.update(tools=[WEATHER]).settled()


# -- what changes, and what does not ----------------------------------------------------------------------------------


async def test_only_the_backend_changes() -> None:
    session, _ = session_of(live(), weather, backend="gpt-6")
    with anyio.fail_after(120):
        async with session:
            config = await session.update(tool_choice="required").settled()
            assert config.tool_choice is not None
            assert config.tool_choice.mode == "required"
            with pytest.raises(CommandRejected, match=r"session\.instructions\.append"):
                await session.update(instructions="Be long.").settled()
            assert session.config.instructions == "Be brief."
            with pytest.raises(CommandRejected, match="no turns to commit"):
                session.send_audio(b"\0\0")
                await session.commit().settled()
            with pytest.raises(MisconfiguredError, match="no images"):
                session.send_image(b"\x89PNG\r\n\x1a\n")


# -- links ------------------------------------------------------------------------------------------------------------


async def test_a_stored_session_is_forked_when_its_link_is_lost() -> None:
    faults = Faults()
    simulator = live("Hello.", *["Again."] * 4, faults=faults)
    session, log = session_of(simulator, store=True)
    with anyio.fail_after(120):
        async with session:
            await session.ask("hi")
            first = session.id
            faults.drop(at="response.created")
            session.send_message("more")
            while len(only(log, ev.StatusChanged)) < 4:
                await anyio.sleep(0.1)
            assert session.status == "connected"
            assert session.id != first
            assert (await session.ask("still there?")).text == "Again."
    handles = [event.handle for event in only(log, ev.SessionResumable)]
    assert handles[0] == first
    assert len(handles) == 2


@pytest.mark.parametrize(("reason", "ends"), [("content", True), ("expired", False), ("connection_lost", False)])
async def test_the_reason_decides_what_follows(reason: str, ends: bool) -> None:
    """A filter ends the session; its age, and a lost link, only the link."""
    links = 0

    async def play(say: Any) -> None:
        nonlocal links
        links += 1
        if links == 1:
            await say(sound(TONE), words("Bye", 0, 200), closed(reason))

    script = Script(play)
    session: RealtimeSession[Any] = RealtimeSession(
        agent_of(openai.live(api_key="k")), transport=MemoryTransport(script.serve)
    )
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(60):
        if ends:
            with pytest.raises(ConnectionClosed, match="content") as caught:
                async with session:
                    await session.wait_closed()
            assert caught.value.code == 1008
            assert [event.code for event in only(log, ev.SessionError)] == ["content"]
        else:
            async with session:
                while links < 2:
                    await anyio.sleep(0.05)
                await anyio.sleep(1.0)
                assert session.status == "connected"
    assert [event.text for event in only(log, ev.OutputTranscript)] == ["Bye"]


async def test_the_last_words_before_a_link_breaks_are_told() -> None:
    class Breaking(Script):
        async def serve(self, stream: Any, request: Any) -> None:
            await stream.receive()
            for frame in (started(), words("hi", 0, 100, "input"), sound(TONE), words("I was about to", 0, 200)):
                await stream.send(json.dumps(frame))
            await stream.aclose(1011, "sorry")

    async def nothing(say: Any) -> None:
        raise AssertionError("the link is gone")

    script = Breaking(nothing)
    session: RealtimeSession[Any] = RealtimeSession(
        agent_of(openai.live(api_key="k")), transport=MemoryTransport(script.serve), reconnect=None
    )
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(60):
        with pytest.raises(ConnectionClosed, match="sorry"):
            async with session:
                await session.wait_closed()
    assert [event.text for event in only(log, ev.InputTranscript)] == ["hi"]
    assert [event.text for event in only(log, ev.OutputTranscript)] == ["I was about to"]
    assert [event.response.status for event in only(log, ev.ResponseDone)] == ["incomplete"]


@pytest.mark.parametrize("reason", ["close_requested", "remote_hangup"])
async def test_a_goodbye_is_a_goodbye(reason: str) -> None:
    async def play(say: Any) -> None:
        await say(sound(TONE), *[sound(SILENCE)] * 6, closed(reason))

    script = Script(play)
    session: RealtimeSession[Any] = RealtimeSession(
        agent_of(openai.live(api_key="k")), transport=MemoryTransport(script.serve)
    )
    with anyio.fail_after(60):
        async with session:
            await session.wait_closed()
    assert session.status == "closed"


async def test_a_session_that_is_too_old_is_an_error_without_reconnecting() -> None:
    async def play(say: Any) -> None:
        await say(closed("expired", 7_200.0))

    session: RealtimeSession[Any] = RealtimeSession(
        agent_of(openai.live(api_key="k")), transport=MemoryTransport(Script(play).serve), reconnect=None
    )
    with anyio.fail_after(60):
        with pytest.raises(SessionExpired):
            async with session:
                await session.wait_closed()
    assert session.usage.seconds == 7_200.0


async def test_a_refused_start_is_a_typed_error() -> None:
    simulator = live()
    agent = agent_of(openai.live(api_key="k"), config=SessionConfig(extra={"voice": "marin"}))
    with pytest.raises(Exception, match="Unknown parameter") as caught:
        async with RealtimeSession(agent, transport=simulator.transport()):
            pass
    assert type(caught.value).__name__ == "ConfigurationRejected"
