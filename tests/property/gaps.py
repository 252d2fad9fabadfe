"""Small traces that once broke a promise, each with the rule that it needs. Only open ones are passed over."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    ContentPartAdded,
    ContentPartDone,
    Interrupted,
    McpArgumentsDelta,
    OutputItemAdded,
    OutputItemDone,
    Response,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    TextDelta,
    TextDone,
    ToolDelta,
    ToolStarted,
)
from kernl_rt.items import Message
from kernl_rt.testing import BrokenPromise

CREATED = ResponseCreated(Response(id="r1", status="in_progress"))
DONE = ResponseDone(Response(id="r1", status="completed"))
SOUND = AudioDelta(bytes(960), response_id="r1", item_id="i1", content_index=0)
WORD = TextDelta("a ", response_id="r1", item_id="i1", content_index=0)
ARGUMENTS = ToolDelta("c1", "{", response_id="r1")
SPEECH = SpeechStarted("i2", 0)


@frozen
class Gap:
    """``example`` is what the provider says, or a step of the caller's; ``rule`` is what it takes."""

    name: str
    promise: str
    kinds: tuple[type[Any], ...]
    example: tuple[Any, ...]
    rule: str
    #: Known, and passed over where the provider is disorderly, until there is a rule.
    open: bool = False

    def covers(self, error: BrokenPromise) -> bool:
        return error.promise == self.promise and isinstance(error.event, self.kinds)


_ANY = (object,)
_MUTE = (ToolDelta, McpArgumentsDelta)

GAPS = [
    Gap(
        "arguments of an interrupted call",
        "silent after interrupted",
        _MUTE,
        (CREATED, SPEECH, ARGUMENTS),
        "a correct provider sends this: ToolDelta and McpArgumentsDelta need the rule of the other deltas",
    ),
    Gap(
        "arguments after the reply",
        "silent after done",
        _MUTE,
        (CREATED, DONE, ARGUMENTS),
        "as above",
    ),
    Gap(
        "stopped twice",
        "interrupted once",
        (Interrupted,),
        (CREATED, "interrupt", SPEECH),
        "a correct provider sends this: a reply behind the fence is not interrupted again",
    ),
    Gap(
        "sound of nothing",
        "created first",
        _ANY,
        (SOUND,),
        "what belongs to a reply that was never created is one protocol error, and dropped",
    ),
    Gap("the end of nothing", "created first", _ANY, (DONE,), "as above"),
    Gap(
        "created twice",
        "created once",
        _ANY,
        (CREATED, CREATED),
        "a second response.created of a reply that runs, or is over, is dropped",
    ),
    Gap("done twice", "done once", _ANY, (CREATED, DONE, DONE), "a second response.done is dropped, its usage too"),
    Gap(
        "a word after its text",
        "final after its deltas",
        _ANY,
        (CREATED, WORD, TextDone("a ", response_id="r1", item_id="i1", content_index=0), WORD),
        "a delta of a part whose final was told is dropped",
    ),
    Gap(
        "sound after its end",
        "final after its deltas",
        _ANY,
        (CREATED, SOUND, AudioDone(response_id="r1", item_id="i1", content_index=0), SOUND),
        "as above; the sound would also be played after the channel was told to flush",
    ),
    Gap(
        "an item of nothing",
        "created first",
        (OutputItemAdded, OutputItemDone, ContentPartAdded, ContentPartDone, ToolStarted),
        (OutputItemAdded(Message("assistant", id="i1"), response_id="r1"),),
        "these have no rule of their own and are only reported: an unknown reply's are dropped like its sound",
    ),
]
