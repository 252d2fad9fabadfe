"""A topic that is spelt wrongly: a listener that is never called is the quietest fault of all."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from kernl_rt.events import AudioDelta, CustomEvent, OutputTranscript, ToolFinished
from tests.faults.calls import under_fault
from tests.scenarios.calls import make_session, quiet

MISSPELT = {
    "transcripts": "transcript",
    "Audio": "audio",
    "errors": "error",
    "interupted": "interrupted",
    "tool.finish": ToolFinished.kind,
    "audio.output.deltas": AudioDelta.kind,
    "transcript_output": OutputTranscript.kind,
}


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
@pytest.mark.parametrize("how", ["on", "once", "decorator", "async", "events"])
def test_a_misspelt_topic_is_told(name: str, meant: str, how: str) -> None:
    """A warning, not an error: an event of the user's own may be called so, and a later release may add a topic."""

    async def asynchronous(event: Any) -> None:
        pass

    session = make_session()
    with pytest.warns(UserWarning, match=f"{name!r}.*{meant!r}") as caught:
        match how:
            case "on":
                session.on(name, print)
            case "once":
                session.once(name, print)
            case "decorator":
                session.on(name)(print)
            case "async":
                session.on(name, asynchronous)
            case "events":
                session.events(name)
    assert [warning.filename for warning in caught] == [__file__], "it points at the caller's line"


@pytest.mark.parametrize("name", ["note", "lunch", "searching", "my.app.transcript.ready", "x", "order-42", "tooltip"])
def test_a_name_of_the_users_own_is_not(name: str) -> None:
    session = make_session()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.on(name, print).once(name, print)
        session.events(name)


@pytest.mark.anyio
async def test_once_it_was_emitted_it_is_a_name() -> None:
    """Whoever emits ``tools`` means it."""
    heard: list[Any] = []
    async with under_fault() as call:
        call.session.emit("tools", 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call.session.on("tools", heard.append)
        call.session.emit("tools", 2)
        await quiet()
    assert heard == [CustomEvent("tools", 2)]
