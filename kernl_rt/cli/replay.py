"""``kernl-rt replay``: a recorded conversation as text, at once or at its pace, and its picture drawn anew."""

from __future__ import annotations

import wave
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread

from kernl_rt._audio.pcm import level, pack, unpack
from kernl_rt._recording import AUDIO, EVENTS, TIMELINE, TRANSCRIPT
from kernl_rt._recording.journal import read_lines
from kernl_rt._recording.story import Story
from kernl_rt._recording.timeline import timeline
from kernl_rt._recording.transcript import Entry, entries, transcript
from kernl_rt._session.recording_files import OSDisk
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["command", "read_story"]

#: Seconds of sound whose loudness is one value of the picture.
_STEP = 0.05


async def command(arguments: Namespace) -> int:
    """Print the conversation; 0 when there is one."""
    folder = Path(arguments.folder)
    story = await anyio.to_thread.run_sync(lambda: read_story(folder, sound=arguments.redraw))
    for line in _about(story):
        print(line)
    began = anyio.current_time()
    for entry in entries(story):
        if arguments.pace:
            await anyio.sleep_until(began + entry.start)
        print(_told(entry), flush=True)
    for error in story.errors:
        print(f"error: {_printable(error)}")
    if arguments.redraw:
        await anyio.to_thread.run_sync(_redraw, folder, story)
        print(f"written: {folder / TRANSCRIPT}, {folder / TIMELINE}")
    return 0


def read_story(folder: Path, *, sound: bool) -> Story:
    """What a recording tells; with ``sound`` also how loud it was. A recording that was cut short tells less.

    Raises:
        MisconfiguredError: the folder holds no recording.
    """
    story = Story()
    try:
        with (folder / EVENTS).open("rb") as lines:
            for line in read_lines(lines):
                story.take(line)
    except OSError as error:
        raise MisconfiguredError(f"{folder} holds no recording: {error.strerror} ({EVENTS})") from error
    if sound and (folder / AUDIO).exists():
        _listen(folder / AUDIO, story)
    return story


def _listen(path: Path, story: Story) -> None:
    try:
        with wave.open(str(path)) as file:
            rate, frames = file.getframerate(), 0
            while pcm := file.readframes(max(int(rate * _STEP), 1)):
                both, at = unpack(pcm[: len(pcm) - len(pcm) % 4]), frames / rate
                story.human_loudness.add(at, level(pack(both[0::2])).rms)
                story.model_loudness.add(at, level(pack(both[1::2])).rms)
                frames += len(both) // 2
    except (wave.Error, EOFError) as error:
        raise MisconfiguredError(f"{path} is no sound of a recording: {error}") from error


def _redraw(folder: Path, story: Story) -> None:
    disk = OSDisk()
    disk.replace(folder / TRANSCRIPT, transcript(story).encode("utf-8"))
    disk.replace(folder / TIMELINE, timeline(story, title=story.title).encode("utf-8"))


def _about(story: Story) -> Iterator[str]:
    yield _printable(story.title)
    ended = "complete" if story.complete else "cut short: the program ended before the call did"
    yield f"recorded {_printable(story.started)}, {story.seconds:.1f} s, {ended}"


def _told(entry: Entry) -> str:
    end = "        " if entry.end is None else f"– {entry.end:6.2f}"
    if entry.who == "tool":
        return f"{entry.start:7.2f} {end} s  tool   {_printable(entry.name)}: {_printable(entry.text)}"
    cut = " … (interrupted)" if entry.interrupted else ""
    return f"{entry.start:7.2f} {end} s  {entry.who:<6} “{_printable(entry.text)}”{cut}"


def _printable(text: str) -> str:
    """Nothing that a terminal would take for a command."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
