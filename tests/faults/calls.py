"""A call in which something goes wrong, and what every fault must leave true.

:func:`under_fault` is a call as in the scenarios, watched from the outside. However it ends, it checks

=====  ================================================================================================================
P1     no task is left that was not there before
P2     the status ``closed`` was told once, as the last event
P3     from ``closing`` to the end of ``async with`` it took no longer than ``within`` seconds
P8     every tool call that was told has exactly one outcome
P25    the key is in no event, log line, repr or exception, not even among the local variables of a traceback
=====  ================================================================================================================
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec
from attrs import define, field

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit
from kernl_rt._transport import MemoryTransport
from kernl_rt.config import ConnectOptions, Credential
from kernl_rt.events import StatusChanged, ToolCalled, ToolFinished
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.providers import openai
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import Call, make_session, quiet

__all__ = ["CANARY", "Watch", "Wire", "no_reconnect", "under_fault", "wired"]

#: A key that must be found nowhere.
CANARY = "sk-canary-5f0e7c1d9b"


def no_reconnect() -> dict[str, Any]:
    """The option by which a lost link is the end, where sessions redial by default."""
    return {"reconnect": None} if "reconnect" in inspect.signature(RealtimeSession).parameters else {}


def _options() -> dict[str, Any]:
    """The canary, in every place where a key may be given."""
    return {
        "credential": Credential(CANARY, expires_at=datetime(2100, 1, 1, tzinfo=UTC)),
        "connect_options": ConnectOptions(headers={"Authorization": f"Bearer {CANARY}"}),
    }


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[int, str]] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, self.format(record)))


@contextmanager
def _logged() -> Iterator[_Records]:
    """Everything that is logged, of every library, down to DEBUG."""
    root, records = logging.getLogger(), _Records()
    level = root.level
    root.addHandler(records)
    root.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        root.setLevel(level)
        root.removeHandler(records)


def _tasks() -> set[int]:
    return {task.id for task in anyio.get_running_tasks()}


@define
class Watch:
    """What is seen of one session from outside."""

    session: RealtimeSession[Any]
    within: float
    log: list[Any] = field(factory=list)
    before: set[int] = field(factory=_tasks)
    closing_at: float | None = None
    records: _Records = field(factory=_Records)

    def hear(self, event: Any) -> None:
        self.log.append(event)
        if isinstance(event, StatusChanged) and event.status == "closing":
            self.closing_at = anyio.current_time()

    def logged(self, level: int) -> list[str]:
        """What was logged at this level or above, but for the event loop's own words."""
        return [line for number, line in self.records.lines if number >= level and not line.startswith("asyncio ")]

    def check(self, error: BaseException | None) -> None:
        """Everything that any fault must leave true, once ``async with`` has been left."""
        left = _tasks() - self.before
        assert not left, f"P1: {len(left)} tasks outlived the session"
        self._check_closed()
        self._check_calls()
        self._check_secret(error)

    def _check_closed(self) -> None:
        told = [event for event in self.log if isinstance(event, StatusChanged) and event.status == "closed"]
        assert len(told) == 1, f"P2: closed was told {len(told)} times"
        assert self.log[-1] is told[0], f"P2: {self.log[-1]!r} came after closed"
        assert self.session.status == "closed"
        if self.closing_at is not None:
            took = anyio.current_time() - self.closing_at
            assert took <= self.within, f"P3: closing took {took:.3f} seconds, more than {self.within:g}"

    def _check_calls(self) -> None:
        called = {event.call_id for event in self.log if isinstance(event, ToolCalled)}
        outcomes = Counter(event.call_id for event in self.log if isinstance(event, ToolFinished))
        assert set(outcomes) == called, f"P8: called {sorted(called)}, ended {sorted(outcomes)}"
        assert not [call_id for call_id, number in outcomes.items() if number != 1], f"P8: {outcomes}"

    def _check_secret(self, error: BaseException | None) -> None:
        for event in self.log:
            assert CANARY not in f"{event!r} {event}", f"P25: the key is in a {type(event).__name__}"
            cause = getattr(event, "cause", None)
            assert CANARY not in _rendered(cause), f"P25: the key is in the cause of a {type(event).__name__}"
        for _, line in self.records.lines:
            assert CANARY not in line, f"P25: the key was logged by {line.split()[0]}"
        session = self.session
        seen = (session, session.model, session.agent, session.statistics() if session._driver else None)
        assert CANARY not in repr(seen), "P25: the key is in a repr"
        assert CANARY not in _rendered(error), "P25: the key is in the exception or among its locals"


def _rendered(error: BaseException | None) -> str:
    if error is None:
        return ""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()) + repr(error)


@asynccontextmanager
async def watching(session: RealtimeSession[Any], within: float) -> AsyncIterator[Watch]:
    """Enter the session, and check it after it has been left, by whatever way."""
    watch = Watch(session, within)
    session.on("event", watch.hear)
    error: BaseException | None = None
    # Under a virtual clock a deadlock would hang for real: a timer somewhere turns it into a failure.
    with _logged() as watch.records, anyio.fail_after(100_000):
        try:
            async with session:
                yield watch
        except BaseException as exc:
            error = exc
            raise
        finally:
            watch.check(error)


@define
class FaultyCall(Call):
    """A :class:`Call` that also knows what was logged."""

    watch: Watch = field(kw_only=True)


@asynccontextmanager
async def under_fault(*tools: Any, within: float = 2.0, **options: Any) -> AsyncIterator[FaultyCall]:
    """A scripted call; a lost link is its end unless ``reconnect`` says otherwise."""
    session = make_session(*tools, **{**_options(), **no_reconnect(), **options})
    async with watching(session, within) as watch:
        model = session.model
        assert isinstance(model, ScriptedModel)
        yield FaultyCall(session, model.peer, watch.log, watch=watch)


# -- over the OpenAI codec --------------------------------------------------------------------------------------------


@define
class Wire:
    """The provider's end of a call over the OpenAI protocol, frame by frame."""

    session: RealtimeSession[Any] = field(init=False)
    watch: Watch = field(init=False)
    frames: list[dict[str, Any]] = field(factory=list)
    _stream: Any = None

    async def serve(self, stream: Any, request: Any) -> None:
        """Confirm the configuration; keep what the client says."""
        self._stream = stream
        try:
            while True:
                for message in await stream.receive():
                    self.frames.append(frame := msgspec.json.decode(message))
                    if frame["type"] == "session.update":
                        await self._confirm(stream)
        except ConnectionClosed:
            return

    async def _confirm(self, stream: Any) -> None:
        for kind in ("session.created", "session.updated"):
            await stream.send(msgspec.json.encode({"type": kind, "session": {"type": "realtime", "id": "s"}}).decode())

    async def says(self, *frames: str | bytes | dict[str, Any]) -> None:
        """Send frames as they are, a mapping as JSON; everything that follows from them has happened."""
        for frame in frames:
            await self._stream.send(msgspec.json.encode(frame).decode() if isinstance(frame, dict) else frame)
        await quiet()

    async def closes(self, code: int, reason: str = "") -> None:
        await self._stream.aclose(code, reason)
        await quiet()

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.watch.log if isinstance(event, kind)]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]


@asynccontextmanager
async def wired(tools: Sequence[Any] = (), *, within: float = 2.0, **options: Any) -> AsyncIterator[Wire]:
    """A session over the OpenAI codec, whose server is the test."""
    wire = Wire()
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="test",
        name="Test",
        instructions="Be brief.",
        model=openai.realtime("gpt-realtime", api_key=CANARY, base_url="wss://provider.test/v1"),
        toolkits=[Toolkit(id="tools", tools=tools)],
    )
    wire.session = RealtimeSession(agent, transport=MemoryTransport(wire.serve), **{**no_reconnect(), **options})
    async with watching(wire.session, within) as wire.watch:
        yield wire
