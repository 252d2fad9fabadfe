"""All that we write to the Live API is valid by the official SDK's types, without a key that they do not declare."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import ResponseConfig, SessionConfig, ToolChoice, ToolDefinition, Voice
from kernl_rt.items import ContentPart, FunctionCallOutput, Message
from kernl_rt.providers.openai import LiveCodec
from kernl_rt.providers.openai._live_config import FORMATS, Delegation, check_live
from tests.providers.live_frames import BACKEND, DELEGATE, WEATHER, backend, call, codec_of, decode, delegated

strict = pytest.importorskip("tests.simulator.live_strict", reason="the openai package is not installed")


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=64)
IDS = maybe(st.text("abc_09", min_size=1, max_size=12))
FORMAT = maybe(st.sampled_from(FORMATS))
TOOLS = st.lists(
    st.builds(ToolDefinition, NAMES, TEXTS, st.just({"type": "object"})), max_size=3, unique_by=lambda t: t.name
)
VOICES = maybe(st.builds(Voice, st.sampled_from(["marin", "quartz", "voice_123"])))


@st.composite
def configs(draw: st.DrawFn, behind: bool) -> SessionConfig:
    format = draw(FORMAT)
    common: dict[str, Any] = {
        "instructions": draw(maybe(TEXTS)),
        "voice": draw(VOICES),
        "input_format": draw(st.sampled_from([None, format])),
        "output_format": format,
        "extra": draw(st.sampled_from([{}, {"safety_identifier": "u"}, {"triggers": []}])),
    }
    if not behind:
        return SessionConfig(tools=draw(st.sampled_from([None, (), (DELEGATE,)])), **common)
    tools = draw(maybe(TOOLS))
    choices = [None, ToolChoice("auto"), ToolChoice("required")]
    choices += [ToolChoice("function", tool.name) for tool in tools or ()]
    return SessionConfig(
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)),
        parallel_tool_calls=draw(maybe(st.booleans())),
        max_output_tokens=draw(maybe(st.integers(1, 4_096))),
        **common,
    )


@settings(max_examples=120)
@given(st.data(), st.booleans(), st.booleans(), st.booleans())
def test_the_start_is_valid(data: st.DataObject, behind: bool, store: bool, fork: bool) -> None:
    config = data.draw(configs(behind))
    delegation = BACKEND if behind else Delegation()
    check_live(config, "gpt-live-1", delegation)
    codec = LiveCodec("gpt-live-1", delegation=delegation, store=store, resume=fork)
    (frame,) = codec.encode(ev.SessionUpdate(config, event_id=data.draw(IDS)))
    strict.check_client_frame(json.loads(frame), fork=fork)


EVENTS = st.one_of(
    st.builds(ev.AudioInputAppend, st.binary(max_size=12), event_id=IDS),
    st.builds(ev.InputMute, event_id=IDS),
    st.builds(ev.InputUnmute, event_id=IDS),
    st.builds(ev.ResponseCreate, maybe(st.builds(ResponseConfig, instructions=maybe(TEXTS))), event_id=IDS),
    st.builds(
        lambda role, text, event_id: ev.ItemCreate(
            Message(role, [ContentPart("input_text", text=text)]), event_id=event_id
        ),
        st.sampled_from(["user", "assistant", "system"]),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=1_200),
        IDS,
    ),
    st.builds(lambda text: ev.ItemCreate(FunctionCallOutput("call_0", text)), TEXTS),
    st.builds(ev.ToolResult, st.sampled_from(["call_1", "call_2", "call_x"]), TEXTS, IDS, event_id=IDS),
    st.builds(ev.SessionUpdate, st.builds(SessionConfig, tools=maybe(TOOLS), parallel_tool_calls=maybe(st.booleans()))),
)


@settings(max_examples=120)
@given(st.lists(EVENTS, max_size=8), st.booleans())
def test_whatever_is_said_is_valid(events: list[Any], behind: bool) -> None:
    codec = codec_of(SessionConfig(tools=[WEATHER if behind else DELEGATE]), delegation=BACKEND if behind else None)
    decode(codec, *backend(call(), call("call_2", item="fc_2")), *([] if behind else [delegated(id="call_1")]))
    frames = [frame for event in events for frame in codec.encode(event)]
    for frame in [*frames, codec.goodbye()]:
        strict.check_client_frame(json.loads(frame))


def test_the_judge_can_fail() -> None:
    for frame in (
        {"type": "session.start", "session": {"model": "m", "voice": "marin"}},
        {"type": "session.update", "session": {"instructions": "x"}},
        {"type": "session.thinking.append", "text": "x"},
    ):
        with pytest.raises((AssertionError, ValueError)):
            strict.check_client_frame(frame)


def test_the_frames_of_the_tests_are_valid() -> None:
    """What the other tests feed the decoder is what the service may send."""
    from tests.providers.live_frames import FRAMES

    for frame in FRAMES:
        strict.check_server_frame(frame)
