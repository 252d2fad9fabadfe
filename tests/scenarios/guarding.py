"""Guardrails that are looked at."""

from __future__ import annotations

from typing import Any

import anyio

from kernl_rt import Context, Guardrail
from kernl_rt.events import (
    AudioDelta,
    GuardrailTripped,
    ItemCreate,
)
from kernl_rt.items import Message
from tests.scenarios.calls import (
    Call,
    quiet,
)

LONG = "this is more than ten characters"


class Judge:
    """A guardrail whose answers the test gives, whenever it likes."""

    def __init__(self, name: str = "judge", **options: Any) -> None:
        self.asked: list[str] = []
        self.cancelled = 0
        self._answers: list[Any] = []
        self._waiting: list[anyio.Event] = []
        options = {"threshold": 10, "timeout": 1_000, **options}
        self.guardrail: Guardrail[Any] = Guardrail(name, self._check, **options)

    async def _check(self, text: str, context: Context[Any]) -> Any:
        self.asked.append(text)
        index = len(self.asked) - 1
        event = anyio.Event()
        self._waiting.append(event)
        self._answers.append(None)
        try:
            await event.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if isinstance(self._answers[index], Exception):
            raise self._answers[index]
        return self._answers[index]

    async def says(self, answer: Any, index: int = -1) -> None:
        self._answers[index] = answer
        self._waiting[index].set()
        await quiet()


def bad_words(text: str, context: Context[Any]) -> str | None:
    return "a bad word" if "bad" in text else None


BAD_WORDS: Guardrail[Any] = Guardrail("words", bad_words, threshold=10)


def trips(call: Call) -> list[GuardrailTripped]:
    return call.seen(GuardrailTripped)


def follow_ups(call: Call) -> list[str]:
    return [create.item.text for create in call.sent(ItemCreate) if isinstance(create.item, Message)]


def sounds(call: Call, response_id: str = "r1") -> list[AudioDelta]:
    return [event for event in call.seen(AudioDelta) if event.response_id == response_id]


# -- holding back -----------------------------------------------------------------------------------------------------


def order(call: Call, *kinds: type[Any]) -> list[str]:
    return [type(event).__name__ for event in call.log if isinstance(event, kinds)]
