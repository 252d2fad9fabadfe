"""The one owner of ``response.create``.

A provider runs one reply at a time and refuses a second request while one runs; its own turn detection may start one at
any moment. So every wish for a reply comes here, and a request goes out only while nothing runs and nothing has been
asked for. Wishes that wait are answered by one reply together, unless one has wishes of its own (``config``).

States::

    idle ──ask──▶ asked ──created──▶ running ──done──▶ idle
     │              │ │                 ▲
     │              │ └─refused──▶ idle │     (another reply won the race: the wishes wait for its end)
     └──────────created (not ours)──────┘

A request that is answered by neither a reply nor an error within ``PATIENCE`` seconds is given up, so that one lost
frame cannot silence the session.
"""

from __future__ import annotations

from typing import Literal

from attrs import evolve, frozen

from kernl_rt.config import ResponseConfig

__all__ = ["ALREADY_ACTIVE", "ECHO", "LONG_PATIENCE", "PATIENCE", "Arbiter", "Create", "Wish"]

#: The key in a request's ``metadata`` by which its reply is known, where the provider echoes that.
ECHO = "kernl_rt"
#: Seconds until an unanswered request counts as lost.
PATIENCE = 10.0
#: The same where a reply is known only by the first that is heard of it: all of the model's thinking lies before that.
LONG_PATIENCE = 60.0
#: Seconds after an error that names no event, but may have been meant for our request.
SUSPICION = 1.0
#: The provider's word for "a reply is running already": a race, not a fault.
ALREADY_ACTIVE = "conversation_already_has_active_response"


@frozen
class Wish:
    """Somebody wants a reply. ``commands`` settle with it; ``after_audio`` must not overtake audio on the wire."""

    commands: tuple[int, ...] = ()
    asks: tuple[int, ...] = ()
    config: ResponseConfig | None = None
    after_audio: bool = False
    #: The reply can wait until nobody speaks and nothing plays.
    when_idle: bool = False
    #: The provider replies without being asked: this only waits for it.
    unasked: bool = False
    #: The client event without which the wish is void (its message was refused).
    because: str | None = None


@frozen
class Create:
    """A request on its way, or a reply running for it."""

    event_id: str
    wishes: tuple[Wish, ...]
    sent_at: float
    give_up_at: float
    config: ResponseConfig | None = None
    after_audio: bool = False
    #: Nothing is said: the reply comes by itself.
    unasked: bool = False
    #: An error that named nobody came while this was the only request it could have meant.
    suspicion: str | None = None


class Arbiter:
    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self.running: str | None = None
        self._asked: Create | None = None
        #: The request that the running reply is believed to answer.
        self._serving: Create | None = None
        #: The provider names the requests that its replies answer.
        self._echoes = False
        #: Requests whose reply is believed to be over. Where it was another's, they may still be refused.
        self._past: list[Create] = []
        self._wishes: list[Wish] = []
        #: A reply runs that we have not been told of: wait for it until then.
        self._hidden_until: float | None = None
        self.cancel_next = False

    @property
    def state(self) -> Literal["idle", "asked", "running"]:
        return "running" if self.running is not None else "asked" if self._asked is not None else "idle"

    @property
    def asked(self) -> str | None:
        """The request that is on its way, where the provider names those that its replies answer."""
        return self._asked.event_id if self._asked is not None and self._echoes else None

    @property
    def waiting(self) -> int:
        return len(self._wishes)

    @property
    def asked_at(self) -> float | None:
        """Since when a request waits for its reply to begin."""
        return self._asked.sent_at if self._asked is not None else None

    @property
    def deadline(self) -> float | None:
        if self._asked is not None:
            return self._asked.give_up_at
        return self._hidden_until if self._wishes else None

    def wish(self, wish: Wish) -> None:
        self._wishes.append(wish)

    def drop(self, because: str) -> list[Wish]:
        """The message behind these wishes was refused: they are void."""
        void = [wish for wish in self._wishes if wish.because == because]
        self._wishes = [wish for wish in self._wishes if wish.because != because]
        return void

    def next(self, event_id: str, now: float, *, idle: bool) -> Create | None:
        """The request to send now, if one may be sent; it counts as sent under ``event_id``. ``idle``: all is quiet."""
        if self._hidden_until is not None and now < self._hidden_until:
            return None
        if not self._wishes or self.running is not None or self._asked is not None:
            return None
        self._hidden_until = None
        urgent = [wish for wish in self._wishes if idle or not wish.when_idle]
        if not urgent:
            return None
        first = urgent[0]
        if first.config is not None:
            wishes: tuple[Wish, ...] = (first,)
        else:
            # Whoever waits for a plain reply is answered by this one, up to the first that wants one of its own.
            plain = self._wishes[: next((i for i, w in enumerate(self._wishes) if w.config is not None), None)]
            wishes = tuple(plain)
        self._wishes = [wish for wish in self._wishes if wish not in wishes]
        after_audio = any(wish.after_audio for wish in wishes)
        unasked = all(wish.unasked for wish in wishes)
        self._asked = Create(event_id, wishes, now, now + self._patience, first.config, after_audio, unasked)
        return self._asked

    def created(self, response_id: str | None, echo: str | None = None) -> None:
        """A reply runs. ``echo`` names the request that it answers, where the provider says so.

        Once it has said so, a reply without an echo is nobody's. A provider that never does leaves it open: a reply is
        then taken for the one we asked for until an error says otherwise.
        """
        self.running = response_id or ""
        self._hidden_until = None
        if self._asked is None:
            return
        ours = echo == self._asked.event_id
        self._echoes = self._echoes or ours
        if ours or not self._echoes:
            self._serving, self._asked = self._asked, None

    def done(self, response_id: str | None) -> Create | None:
        """A reply is over. Returns the request that it answered."""
        self._hidden_until = None
        if self.running is None or (response_id or "") != self.running:
            return None
        self.running = None
        served, self._serving = self._serving, None
        if served is not None:
            self._past = [*self._past[-3:], served]
        return served

    def refused(self, event_id: str | None, code: str | None, message: str, now: float) -> Create | None:
        """An error names our request (or, with ``event_id=None``, may mean it). Returns the request that is dead.

        Losing the race against another reply is not a refusal: the wishes go back to the front of the queue. An error
        that names nobody proves nothing: the request is given up soon, unless its reply comes after all.
        """
        past = next((create for create in self._past if create.event_id == event_id), None)
        if past is not None and code == ALREADY_ACTIVE:
            # What it was taken to be answered by was another's reply, begun and ended before it was read.
            self._past.remove(past)
            later = self._asked or self._serving
            answered = later is not None and later.config is None
            left = [wish for wish in past.wishes if wish.config is not None or not answered]
            self._take_back(evolve(past, wishes=tuple(evolve(wish, commands=(), asks=()) for wish in left)), now)
            return None
        suspect = self._asked or self._serving
        if suspect is None or (event_id is not None and event_id != suspect.event_id):
            return None
        if code == ALREADY_ACTIVE:
            self._take_back(suspect, now)
        elif suspect is self._asked:
            if event_id is not None:
                self._asked = None
                return suspect
            self._asked = evolve(suspect, give_up_at=min(suspect.give_up_at, now + SUSPICION), suspicion=message)
        return None

    def expire(self, now: float) -> Create | None:
        """Give up a request that nobody answered. Returns it."""
        if self._hidden_until is not None and now >= self._hidden_until:
            self._hidden_until = None
        if self._asked is not None and now >= self._asked.give_up_at:
            dead, self._asked = self._asked, None
            return dead
        return None

    def overtaken(self, event_id: str, now: float) -> None:
        """The request was taken back before it was written, because a reply has begun, of which we are told next."""
        asked = self._asked
        if asked is not None and asked.event_id == event_id:
            self._take_back(asked, now)

    def disconnect(self) -> list[Wish]:
        """The link is gone: what was asked for on it is wished for again, before all else.

        Returns the wishes that were to be cancelled as soon as their reply came.
        """
        asked, self._asked, self._hidden_until = self._asked, None, None
        cancelled, self.cancel_next = self.cancel_next, False
        if asked is None:
            return []
        if cancelled:
            return list(asked.wishes)
        self._wishes[:0] = [evolve(wish, unasked=False) for wish in asked.wishes]
        return []

    def release(self) -> Create | None:
        """The reply that runs will not be the answer to anything. Returns the request that it was to answer."""
        served, self._serving = self._serving, None
        return served

    def wish_again(self, wishes: tuple[Wish, ...]) -> None:
        """These were being answered when the link was lost. On the next one nothing comes by itself."""
        self._wishes[:0] = [evolve(wish, unasked=False) for wish in wishes]

    def drain(self) -> list[Wish]:
        """Every wish that will not be answered any more."""
        left = list(self._wishes)
        for create in (self._asked, self._serving):
            if create is not None:
                left.extend(create.wishes)
        self._wishes.clear()
        self._asked = self._serving = None
        return left

    def _take_back(self, create: Create, now: float) -> None:
        self._wishes[:0] = create.wishes
        if create is self._asked:
            self._asked = None
        elif create is self._serving:
            self._serving = None
        if self.running is None:
            self._hidden_until = now + self._patience
