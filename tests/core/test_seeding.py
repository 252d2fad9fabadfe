"""What of an earlier conversation a new session can be given."""

from __future__ import annotations

import json

from hypothesis import given, settings, strategies as st

from kernl_rt._core.seeding import LONGEST_ID, NO_OUTCOME, seedable
from kernl_rt.items import (
    ContentPart,
    ConversationItem,
    FunctionCall,
    FunctionCallOutput,
    McpCall,
    Message,
    UnknownItem,
)

NAMES = st.none() | st.sampled_from(["i1", "i2", "item_kernl_1", "item_kernl_2", "item_kernl_9", "x" * 33])
CALLS = st.sampled_from(["c1", "c2", "call_kernl_1", "z" * 33, "y" * 33])
PARTS = st.builds(
    ContentPart,
    st.sampled_from(["input_text", "input_audio", "output_audio", "output_text"]),
    text=st.none() | st.sampled_from(["", "words"]),
    transcript=st.none() | st.sampled_from(["", "said"]),
    audio=st.none() | st.just(b"\1\0"),
    image_url=st.none() | st.just("https://example.org/x.png"),
)
ITEMS = st.lists(
    st.one_of(
        st.builds(
            Message,
            st.sampled_from(["user", "assistant", "system"]),
            st.lists(PARTS, max_size=3),
            id=NAMES,
            status=st.sampled_from([None, "in_progress", "completed", "incomplete"]),
            extra=st.just({"object": "realtime.item"}),
        ),
        st.builds(FunctionCall, st.just("f"), st.sampled_from(["", "{}", '{"a', "[]"]), st.none() | CALLS, id=NAMES),
        st.builds(FunctionCallOutput, CALLS, st.just("out"), id=NAMES),
        st.builds(McpCall, st.just("s"), st.just("n"), st.just("{}"), id=NAMES),
        st.builds(UnknownItem, id=NAMES),
    ),
    max_size=10,
)


@settings(max_examples=400, deadline=None)
@given(ITEMS, st.booleans())
def test_whatever_comes_out_a_provider_can_take(items: list[ConversationItem], images: bool) -> None:
    seeds = seedable(items, images=images)
    ids = [seed.id for seed in seeds]
    assert all(name and len(name) <= LONGEST_ID for name in ids)
    assert len(ids) == len(set(ids))
    open_calls: set[str] = set()
    answered: set[str] = set()
    for seed in seeds:
        assert not seed.extra
        match seed:
            case Message(role=role, content=content):
                assert content
                for part in content:
                    assert part.type != "output_audio", "a client cannot give the model's own sound"
                    assert part.type != "input_image" or (images and role == "user")
                    assert part.audio is None or role == "user"
                    assert (part.type == "output_text") == (role == "assistant" and part.image_url is None)
            case FunctionCall(call_id=call_id, arguments=arguments):
                assert call_id is not None
                assert len(call_id) <= LONGEST_ID
                assert call_id not in open_calls | answered
                assert isinstance(json.loads(arguments or "{}"), dict)
                open_calls.add(call_id)
            case FunctionCallOutput(call_id=call_id):
                assert call_id in open_calls, "an answer to a call that nobody made, or a second one"
                open_calls.remove(call_id)
                answered.add(call_id)
            case _:
                raise AssertionError(f"{seed.type} cannot be given")
    assert not open_calls, "a call without an answer"


@settings(max_examples=200, deadline=None)
@given(ITEMS)
def test_seeds_of_seeds_are_the_same(items: list[ConversationItem]) -> None:
    once = seedable(items)
    assert seedable(once) == once


def test_words_are_kept_and_the_unheard_is_left_out() -> None:
    items = [
        Message("assistant", [ContentPart("output_audio", transcript="heard")], id="a1", status="incomplete"),
        Message("assistant", [ContentPart("output_audio", transcript="")], id="a2", status="incomplete"),
        Message("user", [ContentPart("input_audio", audio=b"\1\0")], id="u1"),
        Message("user", [ContentPart("input_audio")], id="u2"),
    ]
    first, second = seedable(items)
    assert first == Message("assistant", [ContentPart("output_text", text="heard")], id="a1", status="incomplete")
    assert second == Message("user", [ContentPart("input_audio", audio=b"\1\0")], id="u1", status="completed")


def test_an_answer_that_stands_before_its_call_follows_it() -> None:
    call, output = FunctionCall("f", "{}", "c1", id="f1"), FunctionCallOutput("c1", "out", id="o1")
    assert [seed.id for seed in seedable([output, call])] == ["f1", "o1"]
    assert [
        seed.id for seed in seedable([call, Message("user", [ContentPart("input_text", text="x")], id="u"), output])
    ]
    [_, interrupted] = seedable([call])
    assert isinstance(interrupted, FunctionCallOutput)
    assert interrupted.output == NO_OUTCOME
