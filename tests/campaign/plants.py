"""Faults to plant in the real session, which the campaign must find. Run it to count how many seeds find each:

``python -m tests.campaign.plants --seeds 100 --backend trio``
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from attrs import evolve

from kernl_rt._core import actions
from kernl_rt._core.actions import Lane
from kernl_rt._core.arbiter import Arbiter, Create
from kernl_rt._core.conversation import Conversation
from kernl_rt._core.rules import interruption, seeds
from kernl_rt._core.state import State
from kernl_rt._core.utterance import Utterance
from kernl_rt._session import pumps, runner
from kernl_rt._session.driver import Driver
from kernl_rt._session.stream import EventStream
from kernl_rt.events import ItemCreate, ItemTruncate
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.testing import run_call

__all__ = ["PLANTS"]

Plant = Callable[[pytest.MonkeyPatch], None]


class _Everything(set[str]):
    """A set of fenced replies that fences none."""

    def add(self, element: str) -> None: ...


def no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Late sound of an interrupted reply is played."""
    init = State.__init__

    def made(self: State, *args: Any) -> None:
        init(self, *args)
        self.fenced = _Everything()

    monkeypatch.setattr(State, "__init__", made)


def heard_beyond_received(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is told that more was heard than was."""
    monkeypatch.setattr(interruption, "ItemTruncate", _truncating)


def _truncating(item_id: str, heard_ms: int, *args: Any, **options: Any) -> ItemTruncate:
    return ItemTruncate(item_id, heard_ms + 400, *args, **options)


def lost_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for on a link that was lost is forgotten."""

    def forgetful(self: Arbiter) -> list[Any]:
        self._asked, self._hidden_until, self.cancel_next = None, None, False
        self._wishes.clear()
        return []

    monkeypatch.setattr(Arbiter, "disconnect", forgetful)
    monkeypatch.setattr(Arbiter, "wish_again", lambda self, wishes: None)


def call_run_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that run when the link is lost are started again on the next one."""
    reconnect = Driver._reconnect
    start = Driver._start_tool
    started: dict[str, Any] = {}

    def noting(self: Driver, action: Any) -> None:
        started[action.call_id] = action
        start(self, action)

    def eager(self: Driver, action: Any) -> None:
        reconnect(self, action)
        for call in self.machine.state.tools.open_calls():
            again = started.get(call.call_id)
            if call.state == "running" and isinstance(again, actions.StartTool):
                start(self, again)

    monkeypatch.setattr(Driver, "_reconnect", eager)
    monkeypatch.setitem(_routes(), actions.Reconnect, eager)
    monkeypatch.setitem(_routes(), actions.StartTool, noting)


def _routes() -> dict[type, Any]:
    from kernl_rt._session import driver

    return driver._ROUTES


def handle_never_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that was lost with the link is not told so."""
    settle = Driver._settle

    def silent(self: Driver, action: actions.Settle) -> None:
        if action.error is None or "connection" not in str(action.error):
            settle(self, action)

    monkeypatch.setitem(_routes(), actions.Settle, silent)


def swallowed_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link's end goes unnoticed by the task that reads."""

    async def deaf(driver: Driver, connection: Any) -> None:
        try:
            while True:
                for event in await connection.receive():
                    driver.feed(event)
        except ConnectionClosed:
            await anyio.sleep_forever()

    monkeypatch.setattr(pumps, "model_in", deaf)


def unbounded_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """An iterator that falls behind keeps everything."""
    monkeypatch.setattr(EventStream, "_make_room", lambda self, event: True)


def two_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for a reply goes out while another waits for its answer."""

    following = Arbiter.next

    def hasty(self: Arbiter, event_id: str, now: float, *, idle: bool) -> Create | None:
        asked, self._asked = self._asked, None
        create = following(self, event_id, now, idle=idle)
        self._asked = self._asked or asked
        return create

    monkeypatch.setattr(Arbiter, "next", hasty)


def said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written while there was no link is said twice on the next."""
    send = State.send

    def twice(self: State, event: Any, lane: Lane = Lane.COMMAND, **rest: Any) -> None:
        send(self, event, lane, **rest)
        if isinstance(event, ItemCreate) and self.lifecycle.status == "reconnecting":
            item = evolve(event.item, id=self.next_id("item_again"))
            send(self, evolve(event, item=item, event_id=self.next_id("event")), lane)

    monkeypatch.setattr(State, "send", twice)


def turn_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound that the provider has made a turn of is said again on the next link."""
    monkeypatch.setattr(Utterance, "committed", lambda self, item_id, *, manual: None)


def history_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next link is not told the conversation."""
    monkeypatch.setattr(seeds, "seedable", lambda *args, **options: ())


def doubled_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item that was placed is placed again."""
    place = Conversation._place

    def twice(self: Conversation, key: str, previous: str | None) -> None:
        place(self, key, previous)
        if len(self._order) == 4:
            self._order.append(key)

    monkeypatch.setattr(Conversation, "_place", twice)


def slow_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides are closed late."""

    async def patient(self: Any, driver: Driver, everything: anyio.CancelScope) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(6)
        driver.hang_up()
        if self._human is not None:
            self._human.cancel()

    monkeypatch.setattr(runner.Runner, "_part", patient)


PLANTS: list[Plant] = [
    no_fence,
    heard_beyond_received,
    lost_wish,
    call_run_twice,
    handle_never_settles,
    swallowed_close,
    unbounded_lane,
    two_requests_in_flight,
    said_twice,
    turn_told_twice,
    history_forgotten,
    doubled_items,
    slow_farewell,
]


def count(plant: Plant, seeds: range, backend: Any) -> tuple[int, Counter[str]]:
    found, rules = 0, Counter[str]()
    for seed in seeds:
        with pytest.MonkeyPatch.context() as monkeypatch:
            plant(monkeypatch)
            run = run_call(seed, backend)
        found += bool(run.violations)
        rules.update({violation.split(":")[0] for violation in run.violations})
    return found, rules


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="trio")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    for each in PLANTS:
        if not options.only or each.__name__ in options.only:
            number, told = count(each, range(options.start, options.start + options.seeds), options.backend)
            print(f"{each.__name__:26} {number:4} of {options.seeds}: {dict(told.most_common(3))}", flush=True)
