"""Talking to a model that is checked, and whether its replies hold together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import anyio
from attrs import define, field

from kernl_rt import events as ev
from kernl_rt.abc import RealtimeConnection
from kernl_rt.config import Capabilities, SessionConfig
from kernl_rt.events._base import Event
from kernl_rt.items import ContentPart, Message
from kernl_rt.testing._checking import Bound, cancelled_at, require

__all__ = ["CutReceive", "Talk"]

E = TypeVar("E")


@define
class Talk:
    """One connection, and all that was heard over it."""

    connection: RealtimeConnection
    able: Capabilities
    timeout: float
    receive: Callable[[], Coroutine[Any, Any, Sequence[Any]]]
    log: list[Any] = field(factory=list)
    _waiting: deque[Any] = field(factory=deque)

    async def say(self, *events: ev.ClientEvent) -> None:
        for event in events:
            with Bound(f"send({type(event).__name__})", self.timeout):
                await self.connection.send(event)

    async def hear(self) -> Any:
        """The next event."""
        while not self._waiting:
            batch = await self.receive()
            require(len(batch) > 0, "receive() gives at least one event")
            self._waiting.extend(batch)
        event = self._waiting.popleft()
        require(isinstance(event, Event), f"receive() gave {event!r}, which is no event of a model")
        self.log.append(event)
        return event

    async def until(self, kind: type[E], found: Callable[[E], bool] = lambda event: True, *, errors: bool = False) -> E:
        """The next event of a kind. What the provider refuses meanwhile is a failure, unless errors are expected."""
        with Bound(f"waiting for {kind.__name__}", self.timeout):
            while True:
                event = await self.hear()
                if isinstance(event, kind) and found(event):
                    return event
                if isinstance(event, ev.SessionError) and not errors:
                    raise AssertionError(f"the far end refused: {event.message}")
        raise AssertionError("unreachable")  # pragma: no cover

    async def configure(self, config: SessionConfig) -> None:
        await self.say(ev.SessionUpdate(config, event_id="event_check_config"))
        if self.able.confirms_configuration:
            await self.until(ev.SessionUpdated)
        else:
            await self.until(ev.SessionCreated)

    async def write(self, text: str, item_id: str, *, errors: bool = False) -> None:
        """A message of the human's, which is acknowledged by its id."""
        message = Message("user", [ContentPart("input_text", text=text)], id=item_id)
        await self.say(ev.ItemCreate(message, event_id=f"event_{item_id}"))
        await self.until(ev.ItemCreated, lambda event: event.item.id == item_id, errors=errors)

    async def ask(self, text: str, item_id: str) -> ev.ResponseDone:
        await self.write(text, item_id)
        await self.say(ev.ResponseCreate())
        return await self.reply()

    async def reply(self) -> ev.ResponseDone:
        """A whole reply, which holds together."""
        created = await self.until(ev.ResponseCreated)
        start = len(self.log)
        name = created.response.id
        done = await self.until(ev.ResponseDone, lambda event: event.response.id == name)
        _holds_together(name, self.log[start:])
        return done

    async def silence(self, name: str | None) -> None:
        """After its end nothing more of a reply is said."""
        start = len(self.log)
        with anyio.move_on_after(0.5):
            while True:
                await self.hear()
        late = [event.kind for event in self.log[start:] if name and getattr(event, "response_id", None) == name]
        require(not late, f"after the end of its reply came {late}")


def _holds_together(name: str | None, log: list[Any]) -> None:
    """Deltas name their reply and add up to the final words; nothing begins twice."""
    again = [event for event in log if isinstance(event, ev.ResponseCreated) and event.response.id == name]
    require(not again, "a reply is created once")
    for delta, final in ((ev.TextDelta, ev.TextDone), (ev.OutputTranscriptDelta, ev.OutputTranscript)):
        pieces: dict[Any, str] = {}
        for event in log:
            if isinstance(event, delta):
                require(event.response_id in (None, name), f"{event.kind} names another reply than the one that runs")
                part = event.item_id, event.content_index or 0
                pieces[part] = pieces.get(part, "") + event.text
            elif isinstance(event, final):
                said = pieces.pop((event.item_id, event.content_index or 0), event.text)
                require(said == event.text, f"the pieces say {said[:60]!r}, the whole {event.text[:60]!r}")
        require(not pieces, f"{final.kind} comes after its pieces, before the reply is over")


class CutReceive:
    """Cancels ``receive`` by the clock, then at its first wait, its second, and so on, until it gets through."""

    def __init__(self, connection: RealtimeConnection) -> None:
        self._connection = connection
        self._pauses = (0.0, 0.001, 0.01, 0.03)
        self._count = 0

    async def receive(self) -> Sequence[ev.ServerEvent]:
        self._count += 1
        with anyio.move_on_after(self._pauses[self._count % len(self._pauses)]):
            return await self._connection.receive()
        for step in range(1, 50):
            cut, events = await cancelled_at(self._connection.receive, step)
            if not cut:
                assert events is not None
                return events
            await anyio.sleep(0.001)
        return await self._connection.receive()
