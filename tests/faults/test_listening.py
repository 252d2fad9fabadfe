"""A topic that is spelt wrongly: a listener that is never called is the quietest fault of all."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from kernl_rt import RealtimeSession
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


async def asynchronous(event: Any) -> None:
    pass


LISTEN: dict[str, Callable[[RealtimeSession[Any], str], object]] = {
    "on": lambda session, name: session.on(name, print),
    "once": lambda session, name: session.once(name, print),
    "decorator": lambda session, name: session.on(name)(print),
    "async": lambda session, name: session.on(name, asynchronous),
    "events": lambda session, name: session.events(name),
}


@pytest.mark.parametrize("listen", LISTEN.values(), ids=LISTEN)
def test_a_misspelt_topic_is_told(listen: Callable[[RealtimeSession[Any], str], object]) -> None:
    """A warning, not an error: an event of the user's own may be called so, and a later release may add a topic."""
    session = make_session()
    with pytest.warns(UserWarning, match=r"'transcripts'.*'transcript'") as caught:
        listen(session, "transcripts")
    assert [warning.filename for warning in caught] == [__file__], "it points at the caller's line, once"


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_the_warning_names_what_was_meant(name: str, meant: str) -> None:
    session = make_session()
    with pytest.warns(UserWarning, match=f"{name!r}.*{meant!r}"):
        session.on(name, print)


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
