"""The difference that is sent, and the ledger of changes."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from attrs import evolve, fields
from hypothesis import given, settings, strategies as st

from kernl_rt._core.configuration import PATIENCE, SUSPICION, AgentTraits, Change, Changes, Sent, difference
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt._session.changes import ConfigChanges
from kernl_rt.config import G711_ULAW, SessionConfig, ToolChoice, ToolDefinition, TurnDetection, Voice

CONFIGS = st.builds(
    SessionConfig,
    instructions=st.sampled_from([None, "one", "two"]),
    voice=st.sampled_from([None, "marin", "cedar"]),
    tools=st.sampled_from([None, (), (ToolDefinition("x"),), (ToolDefinition("x"), ToolDefinition("y"))]),
    tool_choice=st.sampled_from([None, "auto", "required"]),
    turn_detection=st.sampled_from([None, TurnDetection.off(), TurnDetection.server_vad()]),
    max_output_tokens=st.sampled_from([None, 1, "inf"]),
    extra=st.dictionaries(st.sampled_from("ab"), st.sampled_from([1, None, {"x": 1}]), max_size=2),
)


def same(one: SessionConfig, other: SessionConfig) -> bool:
    """No tools and nothing said about tools are the same where nobody had any."""
    return evolve(one, tools=one.tools or None) == evolve(other, tools=other.tools or None)


@settings(max_examples=300, deadline=None)
@given(CONFIGS, CONFIGS)
def test_the_difference_is_enough_and_no_more(holds: SessionConfig, over: SessionConfig) -> None:
    wanted = holds.merged(over)
    said = difference(wanted, holds, SessionConfig())
    assert same(holds.merged(said or SessionConfig()), wanted), "what is said brings what is wanted"
    for attribute in fields(SessionConfig):
        value = getattr(said, attribute.name, None)
        if attribute.name != "extra" and value is not None:
            assert value != getattr(holds, attribute.name), "nothing is said that holds already"
    assert difference(wanted, wanted, SessionConfig()) is None


@settings(max_examples=100, deadline=None)
@given(CONFIGS, CONFIGS)
def test_what_the_provider_says_that_holds_need_not_be_said(holds: SessionConfig, described: SessionConfig) -> None:
    wanted = holds.merged(SessionConfig(voice="marin"))
    said = difference(wanted, holds, described)
    known = holds.voice or described.voice
    assert (said is None) == (known == Voice("marin"))


def test_the_options_by_name_are_those_of_the_configuration() -> None:
    assert set(get_type_hints(ConfigChanges)) == {attribute.name for attribute in fields(SessionConfig)}


A = AgentTraits(0, "a", {"x": ToolTraits()})
B = AgentTraits(1, "b", {"y": ToolTraits()})


@pytest.mark.parametrize(
    ("spoken", "wish", "kept"),
    [
        (False, Voice("cedar"), Voice("cedar")),
        (True, Voice("cedar"), Voice("marin")),
        (True, Voice("marin", speed=1.3), Voice("marin", speed=1.3)),
        (True, None, Voice("marin")),
    ],
)
def test_an_agents_voice(spoken: bool, wish: Voice | None, kept: Voice) -> None:
    changes = Changes(A)
    changes.spoken = spoken
    config = SessionConfig(instructions="b", voice=wish)
    assert changes.apply(Change(1, config, B), SessionConfig(voice="marin")).voice == kept


def test_an_agent_leaves_nothing_of_the_tools_before_it() -> None:
    holds = SessionConfig(
        instructions="a",
        tools=[ToolDefinition("x")],
        tool_choice=ToolChoice("function", "x"),
        output_format=G711_ULAW,
        max_output_tokens=5,
    )
    wanted = Changes(A).apply(Change(1, SessionConfig(instructions="b"), B), holds)
    assert (wanted.tools, wanted.tool_choice) == ((), ToolChoice("auto"))
    assert (wanted.output_format, wanted.max_output_tokens) == (G711_ULAW, 5)


def sent(change: Change, now: float = 0.0) -> Sent:
    return Sent(change, change.config, f"event_{change.command}", now + PATIENCE)


def test_one_change_at_a_time() -> None:
    changes = Changes(A)
    changes.add(Change(1))
    changes.add(Change(2))
    first = changes.next()
    assert first is not None
    changes.sent = sent(first)
    assert changes.next() is None
    assert changes.refused("event_other") is None
    assert changes.refused("event_1") is not None
    second = changes.next()
    assert second is not None
    assert second.command == 2


def test_a_change_that_is_not_ready_holds_up_those_behind_it() -> None:
    changes = Changes(A)
    changes.add(Change(1, agent=B, ready=False))
    changes.add(Change(2, SessionConfig(max_output_tokens=3)))
    assert changes.next() is None
    assert changes.expected(SessionConfig()).max_output_tokens == 3
    changes.prepare(1, SessionConfig(instructions="b"))
    ready = changes.next()
    assert ready is not None
    assert ready.config.instructions == "b"
    assert changes.withdraw(1) is None
    assert changes.withdraw(2) is not None


def test_suspicion_shortens_the_patience_once() -> None:
    changes = Changes(A)
    changes.suspect("nobody asked", None, 0.0)
    assert changes.deadline is None
    changes.sent = sent(Change(1))
    changes.suspect("first", "code", 2.0)
    changes.suspect("second", None, 2.5)
    assert changes.deadline == 2.0 + SUSPICION
    assert changes.expire(2.9) is None
    dead = changes.expire(3.0)
    assert dead is not None
    assert (dead.suspicion, dead.code) == ("first", "code")


def test_suspicion_never_lengthens_the_patience() -> None:
    changes = Changes(A)
    changes.sent = sent(Change(1))
    changes.suspect("late", None, PATIENCE - 0.1)
    assert changes.deadline == PATIENCE


def test_replies_keep_the_tools_they_began_with() -> None:
    changes = Changes(A)
    changes.switch(B, ["r1"])
    assert set(changes.toolbox("r1")) == {"x"}
    assert set(changes.toolbox("r2")) == set(changes.toolbox(None)) == {"y"}
    changes.switch(A, ["r1", "r2"])
    assert (set(changes.toolbox("r1")), set(changes.toolbox("r2"))) == ({"x"}, {"y"})
    changes.switch(B, [])
    assert set(changes.toolbox("r1")) == {"y"}, "over and forgotten"


def test_everything_is_drained() -> None:
    changes = Changes(A)
    changes.sent = sent(Change(1))
    changes.add(Change(2))
    changes.add(Change(3, ready=False))
    drained: list[Any] = [change.command for change in changes.drain()]
    assert drained == [1, 2, 3]
    assert changes.drain() == []
