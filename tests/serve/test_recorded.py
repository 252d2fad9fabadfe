"""Calls of a server that records: a folder for each, named by its time and id, and no call that ends by it."""

from __future__ import annotations

import json
import logging
import re
import shutil
import wave
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from channels.pages import Page
from phone.lines import tone
from serve.worlds import SOUND, World, paging

from kernl_rt import Drain, RealtimeAgent, RealtimeSession
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels import TwilioChannel, memory_channel_pair
from kernl_rt.config import G711_ULAW
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.serve import Calls, app
from kernl_rt.testing import FakeCarrier

pytestmark = pytest.mark.anyio

_FILES = {"audio.wav", "events.jsonl", "transcript.json", "timeline.svg"}
_TIME = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk answers in real time, and a virtual clock jumps while a thread is waited for."""
    monkeypatch.setattr("kernl_rt._session.recording.ROUNDS", 5.0)


class Sessions:
    """Makes the sessions of calls as a server does, and keeps them."""

    def __init__(self) -> None:
        self.made: list[RealtimeSession[Any]] = []

    def __call__(self, agent: RealtimeAgent[Any], channel: RealtimeChannel) -> RealtimeSession[Any]:
        self.made.append(RealtimeSession(agent, channel=channel))
        return self.made[-1]


def inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def call(world: World) -> Page:
    """A page calls, asks something, hears the answer's beginning, and leaves."""
    visitor = await world.visitor()
    with anyio.fail_after(100):
        async with paging(visitor) as page:
            await page.speak(SOUND)
            await page.wait_told("transcript", role="agent", final=True)
            visitor.leave()
    return page


async def test_every_call_of_a_page_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    async with World("what are you", "what are you", record=folder).started() as world:
        names = {(await call(world)).told("ready")[0]["session"] for _ in range(2)}
    assert len(names) == 2
    found = inside(folder)
    assert {re.sub(f"^{_TIME}-", "", path.name) for path in found} == names
    for path in found:
        assert {file.name for file in path.iterdir()} == _FILES
        with wave.open(str(path / "audio.wav")) as sound:
            assert (sound.getnchannels(), sound.getnframes() > 24_000) == (2, True)
        told = json.loads((path / "transcript.json").read_text("utf-8"))
        assert (told["complete"], told["entries"][0]["who"]) == (True, "human")
    assert {path.stat().st_mode & 0o077 for path in (folder, *found)} == {0}, "nobody else's to read"


async def test_nothing_is_recorded_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sessions = Sessions()
    async with World(calls=Calls(World("what are you").answer, session=sessions)).started() as world:
        await call(world)
    assert [session.recording for session in sessions.made] == [None]
    assert inside(tmp_path) == []


@pytest.mark.parametrize("call_id", ["CA00000000000000000000000000000001", "../../etc/passwd\0" + "x" * 100])
async def test_a_phone_call_has_the_carriers_id_and_stays_within_the_folder(tmp_path: Path, call_id: str) -> None:
    carrier = FakeCarrier("twilio", call_id=call_id)
    folder = tmp_path / "calls"
    async with Drain(10, signals=()) as drain:
        calls = Calls(World().answer, drain=drain, record=folder)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(carrier.run)
            channel = await TwilioChannel.accept(carrier.stream)
            tasks.start_soon(calls.answer, channel)
            carrier.speak(tone(G711_ULAW, 700))
            while carrier.heard_ms < 300:
                await anyio.sleep(0.02)
            carrier.hang_up()
    (found,) = inside(folder)
    assert re.fullmatch(f"{_TIME}-[A-Za-z0-9_-]{{10,64}}", found.name)
    assert found.name.endswith(call_id if call_id.isalnum() else "etcpasswd" + "x" * 55)
    assert {file.name for file in found.iterdir()} == _FILES
    assert inside(tmp_path) == [folder]


async def test_a_disk_that_refuses_costs_the_recording_and_not_the_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions()
    calls = Calls(World("what are you").answer, session=sessions, record=tmp_path / "calls")
    shutil.rmtree(tmp_path / "calls")
    (tmp_path / "calls").write_text("a file, where the folder was", "utf-8")
    async with World(calls=calls).started() as world:
        visitor = await world.visitor()
        async with paging(visitor) as page:
            recording = sessions.made[0].recording
            assert recording is not None
            await recording.wait_closed()
            await page.speak(SOUND)
            await page.wait_told("transcript", role="agent", final=True)
            visitor.leave()
    assert visitor.code == 1001
    assert [(told["code"], told["message"]) for told in page.told("error")] == [
        ("recording", "This call is not recorded any more.")
    ]
    assert "the recording of a call failed" in caplog.text
    assert (tmp_path / "calls").is_file()


async def test_two_rates_without_soxr_cost_the_recording_and_not_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Any, path: Path) -> None:
        raise MisconfiguredError("one file for both needs soxr")

    monkeypatch.setattr(RealtimeSession, "record", refuse)
    async with World("what are you", record=tmp_path).started() as world:
        await call(world)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "a call is not recorded: one file for both needs soxr"
    ]


async def test_a_session_that_its_maker_records_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def made(agent: RealtimeAgent[Any], channel: RealtimeChannel) -> RealtimeSession[Any]:
        session = RealtimeSession(agent, channel=channel)
        session.record(tmp_path / "own")
        return session

    calls = Calls(World("what are you").answer, session=made, record=tmp_path / "calls")
    async with World(calls=calls).started() as world:
        await call(world)
    assert {file.name for file in (tmp_path / "own").iterdir()} == _FILES
    assert inside(tmp_path / "calls") == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_folder_that_cannot_be_made_is_a_mistake_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "calls"):
        with pytest.raises(MisconfiguredError, match="cannot be recorded to"):
            World(record=folder)


async def test_calls_say_themselves_what_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="Calls"):
        app(Calls(World().answer), origins=["https://voice.example.com"], record=tmp_path)


async def test_any_channel_is_recorded(tmp_path: Path) -> None:
    """What is neither a phone nor a page is named by the session."""
    sessions = Sessions()
    channel, human = memory_channel_pair()
    async with Drain(10, signals=()) as drain:
        calls = Calls(World().answer, session=sessions, drain=drain, record=tmp_path)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.answer, channel)
            await anyio.sleep(1)
            name = sessions.made[0].id
            human.hang_up()
    (found,) = inside(tmp_path)
    assert name is not None
    assert found.name.endswith(f"Z-{name}")
