"""Writes docs/capabilities.md from the profiles of the models.

    python docs/make_capabilities.py

A test compares the page with a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kernl_rt.abc import RealtimeModel
from kernl_rt.config import AudioFormat, Capabilities
from kernl_rt.providers import azure, elevenlabs, gemini, openai, xai

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).resolve().parent / "capabilities.md"

MODELS: tuple[tuple[str, RealtimeModel], ...] = (
    ("`openai.realtime`", openai.realtime("gpt-realtime-2.1")),
    ("`openai.live`", openai.live("gpt-live-1")),
    ("`azure.realtime`", azure.realtime("deployment", endpoint="https://example.openai.azure.com")),
    ("`azure.voice_live`", azure.voice_live("gpt-realtime", endpoint="https://example.services.ai.azure.com")),
    ("`xai.realtime`", xai.realtime("grok-voice-latest")),
    ("`gemini.live`", gemini.live("gemini-3.8-live")),
    ("`elevenlabs.agent`", elevenlabs.agent("agent_1")),
    ("`elevenlabs.realtime`", elevenlabs.realtime("eleven_realtime_v1_mini")),
)

Row = tuple[str, Callable[[Capabilities], str]]


def _yes(flag: str) -> Callable[[Capabilities], str]:
    return lambda able: "yes" if getattr(able, flag) else "–"


def _formats(formats: Iterable[AudioFormat]) -> str:
    rates: dict[str, list[str]] = {}
    for each in formats:
        rates.setdefault(each.encoding, []).append(f"{each.rate / 1000:g}")
    return ", ".join(f"{name} {'/'.join(found)} kHz" for name, found in rates.items())


def _duration(able: Capabilities) -> str:
    return "–" if able.max_duration is None else f"{able.max_duration / 60:g} min"


ROWS: tuple[Row, ...] = (
    ("hears", lambda able: _formats(able.input_formats)),
    ("speaks", lambda able: _formats(able.output_formats)),
    ("a running reply can be stopped there", _yes("can_cancel")),
    ("it can be told how much was heard", _yes("can_truncate")),
    ("items can be deleted", _yes("can_delete")),
    ("the configuration can be changed", _yes("can_update")),
    ("push-to-talk (turn detection off)", _yes("manual_turns")),
    ("replies in writing", _yes("text_output")),
    ("sees images", _yes("image_input")),
    ("answers a commit by itself", _yes("answers_on_commit")),
    ("answers a message by itself", _yes("answers_on_message")),
    ("goes on by itself after tools", _yes("continues_after_tools")),
    ("reply boundaries are inferred", _yes("synthesises_turns")),
    ("hears and speaks at once", _yes("full_duplex")),
    ("mute is told to it", _yes("mutes_on_wire")),
    ("goes on with its own memory after a lost link", _yes("can_resume")),
    ("ends a session after", _duration),
)

_HEAD = """\
# What each model can do

<!-- Written by docs/make_capabilities.py from the profiles of the models. Change those, not this page. -->

What a session does with a model follows from its profile, `model.capabilities`, and never from its name. A "–" is
either made up for or refused before anything is sent, as the page of the provider says. A profile may differ from one
model of a provider to another; these are the newest.

"""


def page() -> str:
    head = "| | " + " | ".join(name for name, _ in MODELS) + " |\n"
    line = "|---|" + "---|" * len(MODELS) + "\n"
    rows = (f"| {what} | " + " | ".join(say(model.capabilities) for _, model in MODELS) + " |\n" for what, say in ROWS)
    return _HEAD + head + line + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
