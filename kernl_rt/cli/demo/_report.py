"""What the demo has shown, what it has written, and what to try next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from kernl_rt._audio.pcm import level
from kernl_rt.cli.demo._cast import FORMAT, Tools
from kernl_rt.cli.demo._notes import Notes

__all__ = ["Outcome", "report"]

#: Softer than this (root mean square, of full scale) is no speech.
_AUDIBLE = 0.005
_FILES = {
    "audio.wav": "stereo: left the caller, right the agent as heard",
    "reply.wav": "the agent's first answer alone",
    "question.wav": "the caller's first question alone",
    "transcript.json": "the words as heard, with times",
    "events.jsonl": "every event with its time",
    "timeline.svg": "the conversation as a picture",
}


@frozen
class Outcome:
    notes: Notes
    tools: Tools
    first_reply: bytes
    tasks_left: int
    folder: Path
    #: Talked to a real model.
    is_real: bool
    #: The latencies stand on the screen already.
    is_brief: bool

    def checks(self) -> Iterator[tuple[bool, str]]:
        """What had to happen, and whether it did."""
        seconds = FORMAT.ms(len(self.first_reply)) / 1000
        yield level(self.first_reply).rms > _AUDIBLE, f"a spoken answer, {seconds:.1f} s of sound"
        cut = next((reply for reply in self.notes.replies if reply.interrupted_at is not None), None)
        heard = f", {cut.heard_ms:,} ms heard of {FORMAT.ms(cut.received_bytes):,.0f} received" if cut else ""
        yield cut is not None and cut.heard_ms > 0, f"an interruption{heard}"
        yield bool(self.tools.cancelled), "a running tool was cancelled by the end of the session"
        tools = self.tools
        yield tools.started == tools.ended > 0, f"tools: {tools.started} started, {tools.ended} ran their finally"
        yield self.tasks_left == 0, f"tasks left running: {self.tasks_left}"
        yield not self.notes.errors, f"errors: {len(self.notes.errors)}"


def report(outcome: Outcome) -> int:
    """Print it; 0 when every check holds."""
    if not outcome.is_brief:
        print("\nlatencies")
        for latency in outcome.notes.latencies:
            print(f"  {1000 * latency.seconds:6.0f} ms  {latency.what}")
    print("checks")
    passed = True
    for good, text in outcome.checks():
        passed = passed and good
        print(f"  {'ok    ' if good else 'FAILED'}  {text}")
    print(f"files in {outcome.folder}/")
    for name, about in _FILES.items():
        print(f"  {name:<17} {about}")
    print("next")
    for command, about in _next(outcome):
        print(f"  {command}\n      {about}")
    return 0 if passed else 1


def _next(outcome: Outcome) -> Iterator[tuple[str, str]]:
    question = outcome.folder / "question.wav"
    yield f"kernl-rt replay --pace {outcome.folder}", "the conversation again, as text"
    yield f"kernl-rt talk --in {question} --out answer.wav", "ask with a file of your own"
    yield "kernl-rt simulate", "a server for any OpenAI Realtime program: set OPENAI_BASE_URL as it says"
    if not outcome.is_real:
        yield "OPENAI_API_KEY=… kernl-rt demo --model gpt-realtime", "the same conversation with a real model"
