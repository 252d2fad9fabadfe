"""What is shown while the conversation goes on: the notes it is drawn from, the live view, the tree of tasks."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.channels import memory_channel_pair
from kernl_rt.cli.demo._caller import Caller
from kernl_rt.cli.demo._notes import Loudness, Notes
from kernl_rt.cli.demo._tree import Branch, session_tree, task_ids
from kernl_rt.config import PCM16_24K
from kernl_rt.events import (
    AudioDelta,
    HistoryChanged,
    InputTranscript,
    Interrupted,
    OutputTranscript,
    OutputTranscriptDelta,
    Response,
    ResponseDone,
    ToolCalled,
    ToolFinished,
)
from kernl_rt.items import ContentPart, Message
from kernl_rt.simulator import realtime

pytestmark = pytest.mark.anyio

SECOND = b"\0" * 48_000


def begun() -> tuple[Notes, list[str]]:
    lines: list[str] = []
    notes = Notes(anyio.current_time(), PCM16_24K, on_line=lambda at, who, text: lines.append(f"{who}: {text}"))
    return notes, lines


async def asked(notes: Notes) -> None:
    notes.human_began("hello", anyio.current_time())
    await anyio.sleep(1)
    notes.human_ended(anyio.current_time())
    notes.take(InputTranscript(item_id="u", text="hallo"))


async def test_a_reply_is_over_when_it_was_heard() -> None:
    notes, lines = begun()
    await asked(notes)
    await anyio.sleep(0.5)
    notes.take(AudioDelta(audio=SECOND * 2, item_id="i", response_id="r"))
    notes.take(OutputTranscriptDelta(text="one two ", item_id="i", response_id="r"))
    notes.take(OutputTranscript(text="one two three four", item_id="i", response_id="r"))
    (reply,) = notes.replies
    notes.model_sound(SECOND, anyio.current_time())
    assert reply.words_heard == "one two"
    notes.take(ResponseDone(response=Response(id="r")))
    assert not reply.over
    await anyio.sleep(1)
    notes.model_sound(SECOND, anyio.current_time())
    assert reply.over
    assert reply.words_heard == "one two three four"
    assert [(a, round(b, 3)) for a, b in reply.heard] == [(1.5, 3.5)]
    assert lines == ["caller: “hello”", "model: understood “hallo”", "agent: “one two three four”"]
    assert [(item.what, round(item.seconds, 3)) for item in notes.latencies] == [
        ("question 1 → first sound received", 0.5),
        ("question 1 → first sound heard", 0.5),
    ]


async def test_a_reply_may_be_heard_before_it_is_said_to_be_over() -> None:
    notes, lines = begun()
    notes.take(AudioDelta(audio=SECOND, item_id="i", response_id="r"))
    notes.model_sound(SECOND, anyio.current_time())
    assert not notes.replies[0].over
    notes.take(ResponseDone(response=Response(id="r")))
    assert notes.replies[0].over
    assert lines == ["agent: “”"]


async def test_an_interruption_is_timed_from_the_first_sound_of_the_caller() -> None:
    notes, lines = begun()
    notes.take(AudioDelta(audio=SECOND * 9, item_id="i", response_id="r"))
    notes.model_sound(SECOND, anyio.current_time())
    await anyio.sleep(1)
    notes.human_began("stop", anyio.current_time())
    await anyio.sleep(0.06)
    notes.take(Interrupted("r", "i", 1_000))
    notes.take(HistoryChanged((Message("assistant", [ContentPart("output_audio", transcript="One")], id="i"),)))
    (reply,) = notes.replies
    assert (reply.over, reply.heard_ms, reply.words_heard) == (True, 1_000, "One")
    assert [round(item.seconds, 3) for item in notes.latencies] == [0.06]
    assert lines[-2:] == ["agent: interrupted after 1,000 ms heard, the rest is forgotten", "history: keeps “One”"]


async def test_tools_are_noted_from_call_to_outcome() -> None:
    notes, lines = begun()
    await asked(notes)
    notes.take(ToolCalled(call_id="c", name="weather", arguments="{}"))
    assert notes.tools[0].outcome is None
    await anyio.sleep(2)
    notes.take(ToolFinished("c", "weather", "result", "rain", 2.0))
    assert notes.tools[0].outcome == "result"
    assert notes.tools[0].end == 3.0
    assert lines[-2:] == ["tool: weather({}) …", "tool: weather → 'rain' in 2.00 s"]
    assert [item.what for item in notes.latencies] == ["question 1 → tool called"]


async def test_until_wakes_when_something_changes() -> None:
    notes, _ = begun()

    async def later() -> None:
        await anyio.sleep(3)
        notes.take(InputTranscript(item_id="u", text="x"))
        await anyio.sleep(3)
        notes.take(ToolCalled(call_id="c", name="n", arguments="{}"))

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(later)
        await notes.until(lambda: notes.tools)
        assert notes.now == pytest.approx(6)


async def test_a_late_microphone_does_not_make_the_caller_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames keep their place on the clock although each is sent 15 ms late."""
    punctual = anyio.sleep_until
    monkeypatch.setattr("kernl_rt.cli.demo._caller.anyio.sleep_until", lambda at: punctual(at + 0.015))
    channel, human = memory_channel_pair()
    notes, _ = begun()
    frames: list[float] = []
    caller = Caller(
        human,
        {"line": b"\1\2" * 2_400},
        notes,
        said=lambda pcm, at: frames.append(at - notes.start),
        heard=lambda pcm, at: None,
        speech=lambda line, *, started: None,
    )
    async with channel.open(PCM16_24K, PCM16_24K), anyio.create_task_group() as task_group:
        task_group.start_soon(caller.microphone)
        await caller.say("line")
        caller.hang_up()
    assert frames == pytest.approx([0.02 * number for number in range(len(frames))])
    (said,) = notes.utterances
    assert said.end is not None
    assert said.end - said.start == pytest.approx(0.1), "4,800 bytes last a tenth of a second"


async def test_the_tree_shows_the_sessions_tasks_and_no_others() -> None:
    assert session_tree() is None
    before = task_ids()
    channel, _ = memory_channel_pair()
    agent = RealtimeAgent(id="a", name="A", instructions="x", model=realtime())
    async with anyio.create_task_group() as others:
        others.start_soon(anyio.sleep_forever, name="somebody else's")
        async with RealtimeSession(agent, channel=channel):
            await anyio.sleep(0.1)
            tree = session_tree()
            assert tree is not None
            names = {line.lstrip("│├└─ ") for line in tree.lines()}
            assert {"link", "model in", "channel in"} <= names
            assert "somebody else's" not in "\n".join(tree.lines())
            assert len(task_ids() - before) > 4
        others.cancel_scope.cancel()
    assert session_tree() is None
    assert task_ids() == before


def test_the_tree_is_drawn_with_lines() -> None:
    tree = Branch("s", (Branch("a", (Branch("b"),)), Branch("c", (Branch("d"),))))
    assert list(tree.lines()) == ["├─ a", "│  └─ b", "└─ c", "   └─ d"]


@pytest.mark.parametrize("width", [40, 80, 140])
async def test_the_live_view_fits_the_terminal(width: int) -> None:
    rich = pytest.importorskip("rich.console", reason="the live view needs rich")
    from kernl_rt.cli.demo._live import LiveView

    notes, _ = begun()
    await asked(notes)
    notes.take(AudioDelta(audio=SECOND * 9, item_id="i", response_id="r"))
    notes.take(OutputTranscript(text="many words", item_id="i", response_id="r"))
    notes.model_sound(SECOND, anyio.current_time())
    notes.take(Interrupted("r", "i", 900))
    notes.take(ToolCalled(call_id="c", name="weather", arguments='{"city": "[red]Paris"}'))
    console = rich.Console(width=width, height=50, force_terminal=True, color_system=None)
    view = LiveView(notes, "title", console)
    with console.capture() as captured:
        console.print(view.picture(Branch("session", (Branch("tools", (Branch("tool weather"),)),))))
    shown = captured.get()
    assert max(map(len, shown.splitlines())) <= max(width, 60)
    if width >= 80:
        for words in ("hallo", "interrupted, 900 ms heard", "[red]Paris", "└─ tool weather", "first sound heard"):
            assert words in shown


def test_the_meter_shows_the_newest_on_the_right() -> None:
    pytest.importorskip("rich", reason="the live view needs rich")
    from kernl_rt.cli.demo._live import meter

    sounds = [Loudness(0.0, 0.1, 0.9), Loudness(0.85, 0.95, 0.25), Loudness(0.95, 1.0, 0.0)]
    assert meter(sounds, 1.0, 4) == "··█·"
    assert meter([], 5.0, 3) == "···"
