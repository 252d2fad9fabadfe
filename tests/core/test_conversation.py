"""The order and the words of the history."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st

from kernl_rt._core.conversation import Conversation, HistoryDelta, heard_text
from kernl_rt.events import ToolCalled, ToolFinished
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message

IDS = st.sampled_from(["i1", "i2", "i3", "i4"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), IDS, st.none() | IDS | st.just("root")),
        st.tuples(st.just("done"), IDS),
        st.tuples(st.just("remove"), IDS),
        st.tuples(st.just("words"), IDS, st.integers(0, 2)),
        st.tuples(st.just("cut"), IDS, st.integers(0, 100)),
        st.tuples(st.just("called"), st.sampled_from(["c1", "c2"]), st.sampled_from(["f1", "f2", None])),
        st.tuples(st.just("finished"), st.sampled_from(["c1", "c2"]), st.sampled_from(["out", ""])),
        st.tuples(st.just("output"), st.sampled_from(["c1", "c2"]), st.sampled_from(["o1", "o2"]), st.none() | IDS),
    ),
    max_size=25,
)


def apply(talk: Conversation, step: Any) -> bool:
    match step:
        case "add", name, previous:
            return talk.add(Message("assistant", id=name), previous)
        case "done", name:
            return talk.add(Message("assistant", id=name, status="completed"), None, late=True)
        case "remove", name:
            return talk.remove(name)
        case "words", name, index:
            return talk.transcribe(name, index, "one two three")
        case "cut", name, heard:
            return talk.cut(name, heard, 100)
        case "called", call_id, name:
            return talk.called(ToolCalled(call_id, "f", "{}", name))
        case "finished", call_id, output:
            return talk.finished(ToolFinished(call_id, "f", "result" if output else "cancelled", output))
        case "output", call_id, name, previous:
            return talk.add(FunctionCallOutput(call_id, "out", id=name), previous)
    raise AssertionError(step)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_the_deltas_add_up_to_the_history(steps: list[Any]) -> None:
    """Whoever follows the deltas knows the history, whatever happens in whatever order."""
    talk = Conversation()
    seen: list[Any] = []
    for step in steps:
        before = talk.snapshot()
        changed = apply(talk, step)
        delta = talk.delta()
        assert changed or delta == HistoryDelta(), "a change that nobody is told of"
        for item in delta.removed:
            seen.remove(item)
        seen.extend(delta.added)
        kept = [item for item in before if item not in delta.removed]
        assert len(delta.updated) <= len(kept)
        gone = [item for item in seen if item not in talk.snapshot()]
        for item in gone:
            seen.remove(item)
        assert len(gone) <= len(delta.updated)
        seen.extend(delta.updated)
        assert sorted(map(repr, seen)) == sorted(map(repr, talk.snapshot()))
    names = [item.id for item in talk.snapshot() if item.id is not None]
    assert len(names) == len(set(names))
    assert talk.delta() == HistoryDelta()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.integers(-5, 120), st.integers(0, 100))
def test_what_was_heard_is_a_beginning(text: str, heard: int, received: int) -> None:
    part = heard_text(text, heard, received)
    assert text.startswith(part)
    if heard >= received:
        assert part == text
    elif heard <= 0:
        assert part == ""


def test_a_call_in_progress_whatever_the_provider_says() -> None:
    talk = Conversation()
    talk.add(FunctionCall("f", "", "c1", id="f1", status="in_progress"), None)
    talk.called(ToolCalled("c1", "f", '{"a": 1}', "f1"))
    talk.add(FunctionCall("f", '{"a": 1}', "c1", id="f1", status="completed"), None, late=True)
    [call] = talk.snapshot()
    assert isinstance(call, FunctionCall)
    assert (call.status, call.arguments) == ("in_progress", '{"a": 1}')
    talk.finished(ToolFinished("c1", "f", "error", "broken"))
    assert [item.status for item in talk.snapshot()] == ["completed", None]


def test_a_call_gets_its_words_from_the_call() -> None:
    talk = Conversation()
    talk.add(FunctionCall("f", "", "c1", id="f1", status="in_progress"), None)
    talk.called(ToolCalled("c1", "f", '{"a": 1}', "f1"))
    [call] = talk.snapshot()
    assert isinstance(call, FunctionCall)
    assert call.arguments == '{"a": 1}'


def test_early_words_are_bounded() -> None:
    talk = Conversation()
    for number in range(1_000):
        talk.transcribe(f"i{number}", 0, "words")
    assert len(talk._early) <= 256
    talk.add(Message("user", [ContentPart("input_audio")], id="i999"), None)
    [item] = talk.snapshot()
    assert isinstance(item, Message)
    assert item.text == "words"


def test_only_the_unheard_items_of_the_reply_are_cut() -> None:
    talk = Conversation()
    for name in ("heard", "rest", "other"):
        talk.add(Message("assistant", [ContentPart("output_audio", transcript="words")], id=name), None)
        talk.part_of(name, "r2" if name == "other" else "r1")
    assert talk.cut_rest("r1", {"heard"})
    assert [item.text for item in talk.snapshot() if isinstance(item, Message)] == ["words", "", "words"]
