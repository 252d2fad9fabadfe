"""The JSON that all codecs read and write: what is refused, and that a refusal repeats nothing of the frame."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kernl_rt.exceptions import MisconfiguredError, ProtocolError
from kernl_rt.providers._json import DEEPEST, count_brackets, read_object, write_json


def nested(levels: int, opened: str = '{"a":', closed: str = "}") -> str:
    """An object of so many levels, the innermost of which is not empty."""
    return '{"a":' + opened * (levels - 1) + "1" + closed * (levels - 1) + "}"


@pytest.mark.parametrize("kind", [str, str.encode])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a":', "not JSON"),
        ("", "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        (nested(DEEPEST + 1), "nested too deeply"),
        (nested(DEEPEST + 1, "[", "]"), "nested too deeply"),
        (nested(50_000), "nested too deeply"),
        ('{"a":[' + "[]," * 100_000 + "[]]}", "holds more than 100000"),
    ],
)
def test_a_frame_is_refused(text: str, why: str, kind: Any) -> None:
    with pytest.raises(ProtocolError, match=why) as caught:
        read_object(kind(text))
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("kind", [str, str.encode])
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        nested(DEEPEST),
        nested(DEEPEST, "[", "]"),
        json.dumps({"a": "[" * 99_999}),
        '{"a":[' + "[]," * 99_997 + "[]]}",
    ],
)
def test_a_frame_is_read(text: str, kind: Any) -> None:
    assert read_object(kind(text)) == json.loads(text)


@pytest.mark.parametrize("message", [b'{"a":"\xff"}', '{"a":"\ud800"}'])
def test_a_frame_that_is_not_unicode(message: str | bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        read_object(message)


def test_brackets_are_counted_in_texts_and_bytes() -> None:
    assert count_brackets('{"a":[{}]}') == count_brackets(b'{"a":[{}]}') == count_brackets(bytearray(b"[[{")) == 3


def test_half_a_character_does_not_cost_the_event() -> None:
    assert json.loads(write_json({"a\ud800": ["b\udc00", ("\ud83d\ude00",)], "c": 1})) == {
        "a\ufffd": ["b\ufffd", ["\U0001f600"]],
        "c": 1,
    }


@pytest.mark.parametrize("value", [{"a": object()}, {"a": {1j}}, {("a",): 1}])
def test_what_json_cannot_say(value: object) -> None:
    with pytest.raises(MisconfiguredError, match="not JSON"):
        write_json(value)


def test_what_holds_itself() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(MisconfiguredError, match="RecursionError"):
        write_json(value)
