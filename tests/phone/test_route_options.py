"""What the phone routes are made of: the memory of calls, and options that could not work."""

from __future__ import annotations

from typing import Any

import pytest

from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.serve._phone import twilio_routes, vonage_routes
from kernl_rt.serve._stream_tokens import Announced, StreamTokens

TOKEN = "12345678901234567890123456789012"
SECRET = "a secret of more than thirty-two bytes"
HERE = "https://voice.example.com/app"


def test_memory_of_calls_is_bounded() -> None:
    now = [0.0]
    tokens = StreamTokens(most=3, remember=100.0, clock=lambda: now[0])
    for number in range(5):
        assert tokens.mint(Announced(str(number)))
    assert tokens.pending == 3
    assert [tokens.mint(Announced(str(number))) is None for number in (4, 3, 2)] == [True] * 3
    assert tokens.mint(Announced("0"))  # forgotten: the oldest of more than were to be kept
    now[0] = 100.0
    assert tokens.mint(Announced("4"))
    assert tokens.pending == 1
    assert tokens.mint(Announced("")) is None


@pytest.mark.parametrize(
    "options",
    [{"auth_token": ""}, {"public_url": "http://voice.example.com"}, {"path": "twilio"}, {"max_calls": 0}],
)
def test_what_could_not_work_is_refused(options: dict[str, Any]) -> None:
    async def on_call(channel: Any) -> None: ...

    given: dict[str, Any] = {"auth_token": TOKEN, "public_url": HERE, **options}
    with pytest.raises(MisconfiguredError):
        twilio_routes(on_call, **given)


def test_vonage_has_three_rates() -> None:
    async def on_call(channel: Any) -> None: ...

    with pytest.raises(MisconfiguredError, match="8000, 16000 or 24000"):
        vonage_routes(on_call, signature_secret=SECRET, public_url=HERE, rate=44_100)
