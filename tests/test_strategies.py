"""The strategies draw what they promise, and all of it; the grammar names each promise that a trace breaks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings, strategies as st

from kernl_rt.config import PCM16_24K, SessionConfig
from kernl_rt.events import (
    AudioDelta,
    AudioInputAppend,
    ChannelEvent,
    ClientEvent,
    ContentPartAdded,
    InputTranscript,
    Interrupted,
    ItemCreated,
    ItemDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTranscript,
    OutputTranscriptDelta,
    Response,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    StatusChanged,
    TextDelta,
    TextDone,
    ToolCalled,
    ToolFinished,
)
from kernl_rt.items import ConversationItem, Message
from kernl_rt.testing import BrokenPromise, TraceGrammar
from kernl_rt.testing._strategies_events import _ITEMS, CHANNEL, CLIENT, SERVER
from kernl_rt.testing.strategies import (
    Trace,
    channel_events,
    client_events,
    conversations,
    disturbed,
    items,
    replies,
    server_events,
    session_configs,
)

SEARCH = settings(max_examples=1_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
FIRST = settings(SEARCH, phases=[Phase.generate])


def smallest(
    strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool] = lambda value: True, seed: int = 0
) -> Any:
    return find(strategy, condition, settings=SEARCH, random=Random(seed))


def drawn(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool] = lambda value: True) -> Any:
    """The first that comes, or the first for which ``condition`` holds."""
    return find(strategy, condition, settings=FIRST)


# -- one at a time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "union", "strategy"),
    [
        (SERVER, ServerEvent, server_events),
        (CLIENT, ClientEvent, client_events),
        (CHANNEL, ChannelEvent, channel_events),
    ],
)
def test_every_class_of_the_vocabulary_can_be_drawn(table: dict[type[Any], Any], union: Any, strategy: Any) -> None:
    assert set(table) == set(get_args(union))
    for kind in table:
        assert type(drawn(strategy(kind))) is kind
    with pytest.raises(KeyError):
        strategy(StatusChanged)


def test_every_item_can_be_drawn() -> None:
    assert set(_ITEMS) == set(get_args(ConversationItem))
    for kind in _ITEMS:
        drawn(items(), partial(_is, kind))


def _is(kind: type[Any], value: object) -> bool:
    return type(value) is kind


@given(server_events(AudioDelta) | client_events(AudioInputAppend))
def test_sound_is_1_to_5_ms(event: Any) -> None:
    assert 1 <= PCM16_24K.ms(len(event.audio)) <= 5


@settings(max_examples=50)
@given(session_configs())
def test_configurations_are_whole(config: SessionConfig) -> None:
    assert config.merged(SessionConfig()) == config


def test_the_smallest_configuration_says_next_to_nothing() -> None:
    assert smallest(session_configs()) == SessionConfig()


# -- in order ---------------------------------------------------------------------------------------------------------


def first(trace: Trace, kind: type[Any], **said: Any) -> int:
    """The place of the first event of a kind that says that."""
    return next(
        at
        for at, event in enumerate(trace)
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in said.items())
    )


def item_at(trace: Trace, kind: type[Any], item_id: str) -> int:
    return next(at for at, event in enumerate(trace) if isinstance(event, kind) and event.item.id == item_id)


@settings(max_examples=100)
@given(conversations())
def test_a_conversation_is_in_the_order_of_recorded_traffic(trace: Trace) -> None:
    assert [type(event) for event in trace[:2]] == [SessionCreated, SessionUpdated]
    grammar = TraceGrammar(strict=True)
    for event in trace:
        grammar.feed(event)
    created = [event for event in trace if isinstance(event, ItemCreated)]
    ids = [event.item.id for event in created]
    assert len(set(ids)) == len(ids)
    assert [event.previous_item_id for event in created] == [None, *ids][: len(ids)]
    for event in trace:
        if isinstance(event, OutputItemAdded):
            item_id = event.item.id
            assert item_id is not None
            places = [item_at(trace, kind, item_id) for kind in (OutputItemAdded, ItemCreated)]
            places.append(first(trace, ContentPartAdded, item_id=item_id))
            places += [item_at(trace, kind, item_id) for kind in (ItemDone, OutputItemDone)]
            places.append(next(at for at, each in enumerate(trace) if _ends(each, event.response_id)))
            assert places == sorted(places)
    running = 0
    for event in trace:
        running += isinstance(event, ResponseCreated)
        assert running <= 1
        running -= isinstance(event, ResponseDone)
    assert running == 0


def _ends(event: Any, response_id: str | None) -> bool:
    return isinstance(event, ResponseDone) and event.response_id == response_id


@settings(max_examples=50)
@given(replies())
def test_a_reply_is_from_created_to_done(trace: Trace) -> None:
    assert isinstance(trace[0], ResponseCreated)
    done = next(at for at, event in enumerate(trace) if isinstance(event, ResponseDone))
    assert not any(isinstance(event, (AudioDelta, ToolCalled, OutputTranscript)) for event in trace[done:])


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "incomplete"])
def test_a_reply_ends_in_every_way(status: str) -> None:
    drawn(replies(), lambda trace: any(_status(event) == status for event in trace))


def _status(event: Any) -> str | None:
    return event.response.status if isinstance(event, ResponseDone) else None


def _interrupted_by_late_sound(trace: Trace) -> bool:
    kinds = [type(event) for event in trace]
    return SpeechStarted in kinds and AudioDelta in kinds[kinds.index(SpeechStarted) :]


def _early_transcript(trace: Trace) -> bool:
    return any(isinstance(one, InputTranscript) and isinstance(two, SpeechStopped) for one, two in pairwise(trace))


def _count(kind: type[Any], number: int, trace: Trace) -> bool:
    return sum(isinstance(event, kind) for event in trace) >= number


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # a whole conversation is large
@pytest.mark.parametrize(
    "condition",
    [
        _interrupted_by_late_sound,
        _early_transcript,
        partial(_count, ResponseCreated, 3),
        partial(_count, ToolCalled, 2),
    ],
)
def test_what_matters_is_drawn(condition: Callable[[Trace], bool]) -> None:
    drawn(conversations(), condition)


def test_conversations_shrink() -> None:
    assert len(smallest(conversations())) <= 16
    # A search may end in a hollow of its own; of three one does not.
    assert min(len(smallest(conversations(), _early_transcript, seed)) for seed in range(3)) <= 22


def test_without_tools_nothing_is_called() -> None:
    @settings(max_examples=40)
    @given(conversations(tools=()))
    def run(trace: Trace) -> None:
        assert not any(isinstance(event, ToolCalled) for event in trace)

    run()


# -- out of order -----------------------------------------------------------------------------------------------------

LETTERS: Sequence[Any] = [TextDelta(letter, response_id="r", item_id="i") for letter in "abcd"]


def word(trace: Trace) -> str:
    return "".join(event.text for event in trace if isinstance(event, TextDelta))


@pytest.mark.parametrize("wanted", ["abcd", "acd", "abacd", "bacd", "bcda", "abcda", ""])
def test_events_are_dropped_repeated_and_moved(wanted: str) -> None:
    assert word(smallest(disturbed(LETTERS), lambda trace: word(trace) == wanted)) == wanted


def test_without_edits_nothing_changes() -> None:
    assert smallest(disturbed(LETTERS)) == LETTERS
    assert smallest(disturbed([])) == []


@settings(max_examples=50)
@given(disturbed(conversations()))
def test_the_greeting_is_left_alone(trace: Trace) -> None:
    assert [type(event) for event in trace[:2]] == [SessionCreated, SessionUpdated]


# -- the grammar ------------------------------------------------------------------------------------------------------

CREATED = ResponseCreated(Response(id="r"))
DONE = ResponseDone(Response(id="r"))
STOPPED = Interrupted("r")
SOUND = AudioDelta(b"\0\0", response_id="r", item_id="i")
WORD = OutputTranscriptDelta("a", response_id="r", item_id="i")
FINAL = OutputTranscript("a", response_id="r", item_id="i")
CALLED = ToolCalled("c", "lookup", "{}", response_id="r")
FINISHED = ToolFinished("c", "lookup", "result", "ok")
OPEN = StatusChanged("connected", "connecting")
CLOSED = StatusChanged("closed", "connected")


@pytest.mark.parametrize(
    "trace",
    [
        [CREATED, SOUND, WORD, FINAL, DONE],
        [CREATED, SOUND, STOPPED, FINAL, DONE],
        [CREATED, SOUND, DONE, STOPPED],
        [CREATED, CALLED, DONE, FINISHED],
        [CREATED, CALLED, FINISHED, DONE],
        [TextDelta("a", item_id="i"), TextDone("a", item_id="i"), Interrupted(None)],
        [CREATED],
        [],
    ],
)
def test_legal_traces(trace: list[Any]) -> None:
    for strict in (False, True):
        TraceGrammar(strict=strict).check([OPEN, *trace, CLOSED])


@pytest.mark.parametrize(
    ("promise", "trace"),
    [
        ("created first", [SOUND]),
        ("created first", [FINAL]),
        ("created first", [DONE]),
        ("created first", [STOPPED]),
        ("created once", [CREATED, CREATED]),
        ("created once", [CREATED, DONE, CREATED]),
        ("done once", [CREATED, DONE, DONE]),
        ("done once", [CREATED, STOPPED, DONE, DONE]),
        ("silent after done", [CREATED, DONE, SOUND]),
        ("silent after done", [CREATED, STOPPED, DONE, WORD]),
        ("silent after interrupted", [CREATED, STOPPED, SOUND]),
        ("interrupted once", [CREATED, STOPPED, STOPPED]),
        ("interrupted once", [CREATED, DONE, STOPPED, STOPPED]),
        ("final after its deltas", [CREATED, FINAL, WORD]),
        ("final after its deltas", [TextDone("a", item_id="i"), TextDelta("a", item_id="i")]),
        ("one outcome per tool call", [FINISHED]),
        ("one outcome per tool call", [CREATED, CALLED]),
        ("one outcome per tool call", [CREATED, CALLED, FINISHED, FINISHED]),
        ("status in a chain", [StatusChanged("closing", "connecting")]),
        ("closed last and once", [CLOSED, CREATED]),
        ("closed last and once", [CLOSED]),
    ],
)
def test_a_broken_promise_is_named(promise: str, trace: list[Any]) -> None:
    with pytest.raises(BrokenPromise, match=f"^{promise}: ") as caught:
        TraceGrammar().check([OPEN, *trace, StatusChanged("closed", "closing" if "chain" in promise else "connected")])
    assert caught.value.promise == promise
    assert isinstance(caught.value, AssertionError)


@pytest.mark.parametrize(
    ("promise", "trace"),
    [
        ("nothing after done", [CREATED, DONE, FINAL]),
        ("final once", [CREATED, FINAL, FINAL]),
        ("deltas make the final", [CREATED, WORD, OutputTranscript("b", response_id="r", item_id="i")]),
        ("deltas make the final", [CREATED, WORD, STOPPED, OutputTranscript("b", response_id="r", item_id="i")]),
    ],
)
def test_only_an_orderly_provider_is_held_to_it(promise: str, trace: list[Any]) -> None:
    TraceGrammar().check([OPEN, *trace, CLOSED])
    with pytest.raises(BrokenPromise, match=f"^{promise}: "):
        TraceGrammar(strict=True).check([OPEN, *trace, CLOSED])


def test_a_trace_that_does_not_close_is_not_whole() -> None:
    with pytest.raises(BrokenPromise, match="ends in the status 'connected'"):
        TraceGrammar().check([OPEN])


def test_a_listener_may_join_late_and_a_test_go_on_after_a_broken_promise() -> None:
    grammar = TraceGrammar()
    with pytest.raises(BrokenPromise):
        grammar.feed(SOUND)
    grammar.feed(SOUND)
    grammar.feed(Message("user"))  # whatever else is in the stream
    grammar.check([DONE, CLOSED])


# -- the package ------------------------------------------------------------------------------------------------------


def test_testing_does_not_need_hypothesis() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import kernl_rt.testing; print(kernl_rt.testing.TraceGrammar)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
