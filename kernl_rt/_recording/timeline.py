"""The conversation as a picture: who was heard when, what was received, which tool ran, where it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kernl_rt._recording._svg import Drawing, fitted
from kernl_rt._recording.story import Loudness, Reply, Story, ToolRun, Utterance

__all__ = ["timeline"]

_WIDTH, _LEFT, _RIGHT = 1200.0, 148.0, 36.0
_CALLER, _HEARD, _RECEIVED, _TOOLS, _AXIS = 148.0, 268.0, 356.0, 418.0, 482.0
_HEIGHT = _AXIS + 54
#: Seconds between the lines of the axis: the first step that leaves so many pixels between them.
_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600)
_APART = 36.0
#: Half of a waveform's height, and the time that one stroke of it stands for (seconds).
_SWING, _STROKE = 30.0, 0.05
#: Loudness (root mean square, of full scale) that fills the lane.
_LOUD = 0.25

_PAPER, _INK, _QUIET, _GRID = "#0f1720", "#e8eef4", "#8ea0b3", "#223040"
_CALLER_COLOUR, _AGENT_COLOUR, _TOOL_COLOUR, _STOP_COLOUR = "#5cc8ff", "#7ee2a8", "#f5c26b", "#ff6b6b"


def timeline(story: Story, *, title: str) -> str:
    """The picture as SVG text."""
    return _Timeline(story, title).drawn()


def _clock(second: int, step: int) -> str:
    return f"{second} s" if step < 60 else f"{second // 60} min"


class _Timeline:
    def __init__(self, story: Story, title: str) -> None:
        self._story = story
        self._said, self._heard = story.human_loudness.stretches(), story.model_loudness.stretches()
        ends = [sound.end for sound in self._said + self._heard]
        ends += [run.end for run in story.tools if run.end is not None]
        self._end = max(story.seconds, *ends, 1.0) + 0.3
        self._scale = (_WIDTH - _LEFT - _RIGHT) / self._end
        self._title = title
        self._draw = Drawing(_WIDTH, _HEIGHT, title, _PAPER)

    def _x(self, at: float) -> float:
        return _LEFT + at * self._scale

    def drawn(self) -> str:
        draw = self._draw
        draw.write(24, 40, self._title, 19, _INK, font_weight="600")
        draw.write(24, 64, self._summary(), 13, _QUIET)
        self._axis()
        for middle, name, about in (
            (_CALLER, "caller", "left channel"),
            ((_CALLER + _HEARD) / 2, "wait", "end of speech → heard"),
            (_HEARD, "agent, heard", "right channel"),
            (_RECEIVED, "agent, received", "faster than it plays"),
            (_TOOLS, "tools", "each a task"),
        ):
            draw.write(24, middle, name, 13.5, _INK, font_weight="600")
            draw.write(24, middle + 16, about, 11, _QUIET)
        self._waveform(self._said, _CALLER, _CALLER_COLOUR)
        self._waveform(self._heard, _HEARD, _AGENT_COLOUR)
        for utterance in self._story.utterances:
            self._utterance(utterance)
        for reply in self._story.replies:
            self._reply(reply)
        for run in self._story.tools:
            self._tool(run)
        return draw.text()

    def _summary(self) -> str:
        story = self._story
        cuts = [f"interrupted after {reply.heard_ms:,} ms heard" for reply in story.replies if reply.interrupted_at]
        quick = [f"{item.what} {1000 * item.seconds:.0f} ms" for item in story.latencies if "barge" in item.what]
        ends = [f"{run.name} {run.outcome}" for run in story.tools if run.outcome == "cancelled"]
        return fitted("  ·  ".join([*cuts, *quick, *ends]), _WIDTH - 48, 13)

    def _axis(self) -> None:
        draw = self._draw
        step = next(step for step in _STEPS if step * self._scale >= _APART or step == _STEPS[-1])
        for second in range(0, math.floor(self._end) + 1, step):
            x = self._x(second)
            draw.line(x, 92, x, _AXIS, _GRID)
            draw.write(x, _AXIS + 20, _clock(second, step), 11, _QUIET, text_anchor="middle")

    def _waveform(self, sounds: Sequence[Loudness], middle: float, colour: str) -> None:
        loudest: dict[int, float] = {}
        step = max(_STROKE, 1.5 / self._scale)
        for sound in sounds:
            first, last = int(sound.start / step), int(max(sound.end - 1e-6, sound.start) / step)
            for index in range(first, last + 1):
                loudest[index] = max(loudest.get(index, 0.0), sound.rms)
        strokes = []
        for index, rms in sorted(loudest.items()):
            swing = _SWING * min(math.sqrt(rms / _LOUD), 1.0)
            if rms > 0.001:
                x = self._x((index + 0.5) * step)
                strokes.append((x, middle - swing, middle + swing))
        self._draw.line(_LEFT, middle, _WIDTH - _RIGHT, middle, _GRID)
        self._draw.strokes(strokes, colour, max(step * self._scale * 0.6, 1.0))

    # -- what was said ------------------------------------------------------------------------------------------------

    def _utterance(self, said: Utterance) -> None:
        words = f"“{said.understood or said.text}”" if said.understood or said.text else ""
        later = [other.start for other in self._story.utterances if other.start > said.start]
        room = (min(later, default=self._end) - said.start) * self._scale - 8
        self._draw.write(self._x(said.start), _CALLER - _SWING - 8, fitted(words, room, 12.5), 12.5, _CALLER_COLOUR)
        if said.end is not None and said.first_heard is not None:
            self._answer(said.end, said.first_heard)

    def _answer(self, end: float, heard: float) -> None:
        """How long the human waited for the first sound."""
        y = (_CALLER + _HEARD) / 2 - 4
        x1, x2 = self._x(end), self._x(heard)
        for x in (x1, x2):
            self._draw.line(x, y - 12, x, y + 12, _QUIET, stroke_width="1")
        self._draw.line(x1, y, x2, y, _QUIET, stroke_width="1", stroke_dasharray="3 3")
        label = f"{1000 * (heard - end):,.0f} ms"
        if x2 - x1 < 80:
            self._draw.write(x2 + 7, y + 4, label, 11.5, _INK)
            return
        self._draw.box((x1 + x2) / 2 - 31, y - 9, 62, 18, _PAPER, radius=9)
        self._draw.write((x1 + x2) / 2, y + 4, label, 11.5, _INK, text_anchor="middle")

    def _reply(self, reply: Reply) -> None:
        if not reply.received or not reply.heard:
            return
        draw, begin = self._draw, reply.heard[0][0]
        words = f"“{reply.words_heard}”" if reply.kept is None else f"“{reply.kept} …”"
        later = [other.heard[0][0] for other in self._story.replies if other.heard and other.heard[0][0] > begin]
        room = (min(later, default=self._end) - begin) * self._scale - 8
        draw.write(self._x(begin), _HEARD + _SWING + 18, fitted(words, room, 12.5), 12.5, _AGENT_COLOUR)
        self._arrivals(reply)
        if reply.interrupted_at is not None:
            self._interruption(reply, reply.interrupted_at)

    def _arrivals(self, reply: Reply) -> None:
        """Each piece of sound when it arrived, and how much there was in all."""
        first, last = reply.received[0][0], reply.received[-1][0]
        x, width = self._x(first), max((last - first) * self._scale, 4)
        self._draw.box(x, _RECEIVED - 9, width, 18, _AGENT_COLOUR, radius=4, opacity="0.22")
        strokes = [(self._x(at), _RECEIVED - 6, _RECEIVED + 6) for at, _ in reply.received]
        self._draw.strokes(strokes, _AGENT_COLOUR, 1.4)
        seconds = reply.received_bytes / self._story.output_rate
        said = f"{seconds:.1f} s of sound in {max(last - first, 0):.1f} s"
        self._draw.write(x + width + 8, _RECEIVED + 4, said, 11.5, _QUIET)

    def _interruption(self, reply: Reply, at: float) -> None:
        x = self._x(at)
        self._draw.line(x, _CALLER - _SWING, x, _AXIS, _STOP_COLOUR, stroke_width="1.5", stroke_dasharray="5 4")
        text = f"interrupted: {reply.heard_ms:,} ms heard"
        self._draw.box(x + 7, _HEARD - 11, len(text) * 7.3 + 14, 22, "#3a1f26", radius=11)
        self._draw.write(x + 14, _HEARD + 4, text, 12, _STOP_COLOUR, font_weight="600")

    def _tool(self, run: ToolRun) -> None:
        end = self._end if run.end is None else run.end
        x, width = self._x(run.start), max((end - run.start) * self._scale, 6)
        cancelled = run.outcome == "cancelled"
        colour = _STOP_COLOUR if cancelled else _TOOL_COLOUR
        self._draw.box(x, _TOOLS - 12, width, 24, colour, radius=6, fill_opacity="0.2", stroke=colour)
        label = f"{run.name} {'cancelled' if cancelled else ''}".strip() + f" {end - run.start:.2f} s"
        needed = len(label) * 6.8
        inside = needed + 12 < width
        left = x + 8 if inside else min(x, _WIDTH - _RIGHT - needed)
        self._draw.write(left, _TOOLS + 4 if inside else _TOOLS + 28, label, 11.5, colour)
