"""A phone channel in somebody's own ASGI application, as docs/how-to/answer-the-phone.md writes it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from phone.asgi import dial, post
from twilio.request_validator import RequestValidator

from kernl_rt.channels import TwilioChannel
from kernl_rt.testing import FakeCarrier

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "answer-the-phone.md"
HERE = "https://voice.example.com"
VALIDATOR = RequestValidator("the account's token")
CALL = "CA00000000000000000000000000000001"

if not PAGE.is_file():
    pytest.skip("the documentation is in the checkout", allow_module_level=True)


class Application:
    """The application of the page, whose calls are only kept."""

    def __init__(self) -> None:
        section = PAGE.read_text("utf-8").partition("### Without our routes")[2]
        found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
        assert found is not None
        self.served: list[TwilioChannel] = []
        page: dict[str, Any] = {"answer": self.answer}
        exec(textwrap.dedent("from starlette.applications import Starlette\n" + found[1]), page)
        self.app = page["own"]
        self.awaited: set[str] = page["awaited"]

    async def answer(self, channel: TwilioChannel) -> None:
        self.served.append(channel)
        async with channel.open(channel.input_formats[0], channel.output_formats[0]):
            await anyio.sleep(0.1)

    async def ring(self, secret: RequestValidator = VALIDATOR) -> tuple[int, str]:
        fields = {"CallSid": CALL, "From": "+15005550006"}
        signature = secret.compute_signature(f"{HERE}/voice", fields)
        answer = await post(
            self.app, "/voice", urlencode(fields).encode(), [(b"x-twilio-signature", signature.encode())]
        )
        token = re.search(r'value="([^"]+)"', answer.body.decode())
        return answer.status, token[1] if token else ""

    async def stream(self, token: str, *, signed: bool = True) -> int:
        signature = VALIDATOR.compute_signature("wss://voice.example.com/stream", {}) if signed else "AAAA"
        carrier = FakeCarrier("twilio", call_id=CALL, parameters={"token": token})
        with anyio.fail_after(60):
            status: int = await dial(self.app, "/stream", carrier, [(b"x-twilio-signature", signature.encode())])
            return status


async def test_a_call_is_served_once_for_each_webhook() -> None:
    own = Application()
    status, token = await own.ring()
    assert (status, await own.stream(token)) == (200, 101)
    assert [channel.call_id for channel in own.served] == [CALL]
    assert await own.stream(token) == 101
    assert len(own.served) == 1, "the token was used up"


async def test_strangers_are_refused() -> None:
    own = Application()
    assert await own.ring(RequestValidator("another token")) == (403, "")
    assert not own.awaited
    _, token = await own.ring()
    assert await own.stream(token, signed=False) == 403
    assert await own.stream("x" * 43) == 101
    assert not own.served


async def test_a_message_that_is_too_large_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    own = Application()
    _, token = await own.ring()
    assert await own.stream(token + "x" * 70_000) == 101
    assert not own.served
    assert "over the limit" in caplog.text
