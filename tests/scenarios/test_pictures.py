"""Pictures, and raw events both ways."""

from __future__ import annotations

from typing import Any

import pytest

from kernl_rt.config import Capabilities
from kernl_rt.events import (
    ItemCreate,
    RawClientEvent,
    RawServerEvent,
    ResponseCreate,
)
from kernl_rt.exceptions import (
    MisconfiguredError,
)
from kernl_rt.items import Message
from tests.scenarios.agents import calling, order
from tests.scenarios.calls import (
    quiet,
)

pytestmark = pytest.mark.anyio


# -- pictures and raw events ------------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


async def test_an_image() -> None:
    async with calling() as call:
        call.session.send_image(PNG, text="What is this?", detail="low")
        await quiet()
        [item] = [event.item for event in call.sent(ItemCreate)]
        assert isinstance(item, Message)
        text, picture = item.content
        assert (text.type, text.text) == ("input_text", "What is this?")
        assert (picture.type, picture.detail) == ("input_image", "low")
        assert (picture.image_url or "").startswith("data:image/png;base64,iVBORw0KGgo")
        assert order(call) == [ItemCreate, ResponseCreate]
        call.session.send_image("https://example.org/cat.png", reply=False)
        call.session.send_image(picture.image_url or "", reply=False)
        call.session.send_image(b"anything", mime_type="image/x-new", reply=False)
        await quiet()
        assert order(call)[2:] == [ItemCreate] * 3


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (b"", {}, "is empty"),
        (b"GIF", {}, "neither PNG"),
        (PNG, {"mime_type": "text/plain"}, "is no image"),
        (PNG, {"detail": "huge"}, "detail"),
        (PNG, {"text": 5}, "text must be"),
        (5, {}, "not a int"),
        (PNG + bytes(10 * 2**20), {}, "make it smaller"),
        ("http://example.org/cat.png", {}, "starts with"),
        ("data:image/png;base64,$$$", {}, "no valid base64"),
        ("data:image/png;base64," + "A" * (14 * 2**20), {}, "make it smaller"),
        ("https://example.org", {"mime_type": "image/png"}, "goes with bytes"),
    ],
)
async def test_no_image(image: Any, options: dict[str, Any], message: str) -> None:
    async with calling() as call:
        with pytest.raises(MisconfiguredError, match=message):
            call.session.send_image(image, **options)
        assert order(call) == []


async def test_a_model_without_eyes() -> None:
    async with calling(capabilities=Capabilities(image_input=False)) as call:
        with pytest.raises(MisconfiguredError, match="takes no images"):
            call.session.send_image(PNG)


async def test_raw_both_ways() -> None:
    async with calling() as call:
        command = call.session.send({"type": "brand.new", "x": 1})
        await call.says(RawServerEvent("brand.new.done", {"type": "brand.new.done", "y": None}))
        assert [event.data for event in call.sent(RawClientEvent)] == [{"type": "brand.new", "x": 1}]
        assert command.state == "acknowledged"
        [seen] = call.seen(RawServerEvent)
        assert (seen.type, seen.data) == ("brand.new.done", {"type": "brand.new.done", "y": None})
