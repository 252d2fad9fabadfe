"""A conversation as text and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st

from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.history import dump_history, load_history
from kernl_rt.items import (
    ContentPart,
    ConversationItem,
    FunctionCall,
    FunctionCallOutput,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Message,
    UnknownItem,
)

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
MAYBE = st.none() | TEXT
COMMON: dict[str, Any] = {
    "id": MAYBE,
    "status": st.sampled_from([None, "in_progress", "completed", "incomplete"]),
    "extra": OBJECT,
}
PARTS = st.builds(
    ContentPart,
    TEXT,
    text=MAYBE,
    transcript=MAYBE,
    audio=st.none() | st.binary(max_size=20),
    image_url=MAYBE,
    detail=st.sampled_from([None, "auto", "low", "high"]),
    extra=OBJECT,
)
ITEMS: st.SearchStrategy[ConversationItem] = st.one_of(
    st.builds(Message, st.sampled_from(["user", "assistant", "system"]), st.lists(PARTS, max_size=3), **COMMON),
    st.builds(FunctionCall, TEXT, TEXT, MAYBE, **COMMON),
    st.builds(FunctionCallOutput, TEXT, TEXT, **COMMON),
    st.builds(McpListTools, TEXT, st.lists(OBJECT, max_size=2), **COMMON),
    st.builds(McpCall, TEXT, TEXT, TEXT, MAYBE, st.none() | OBJECT, MAYBE, **COMMON),
    st.builds(McpApprovalRequest, TEXT, TEXT, TEXT, **COMMON),
    st.builds(McpApprovalResponse, TEXT, st.booleans(), MAYBE, **COMMON),
    st.builds(UnknownItem, **COMMON),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(ITEMS, max_size=4))
def test_what_is_written_is_read(items: list[ConversationItem]) -> None:
    assert load_history(dump_history(items)) == tuple(items)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document that is not inside ``extra`` or a foreign object."""
    found = [path]
    if isinstance(value, dict):
        for key, each in value.items():
            found += places(each, (*path, key)) if key not in ("extra", "tools", "error") else [(*path, key)]
    elif isinstance(value, list):
        for index, each in enumerate(value):
            found += places(each, (*path, index))
    return found


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


#: Of no type that any place holds, yet JSON.
ODD: Any = (3.5, {"zz": 1}, [["zz"]])


@settings(max_examples=120, deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=2), st.data())
def test_whatever_is_damaged_is_refused(items: list[ConversationItem], data: st.DataObject) -> None:
    document = json.loads(dump_history(items))
    path = data.draw(st.sampled_from(places(document)))
    value = data.draw(st.sampled_from(ODD))
    if path and path[-1] in ("extra", "tools", "error"):
        value = 3.5
    with pytest.raises(MisconfiguredError, match=r"^this (history|is no history)"):
        load_history(json.dumps(put(document, path, value)))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40))
def test_noise_is_refused(noise: Any) -> None:
    with pytest.raises(MisconfiguredError, match="this is no history"):
        load_history(noise)


@settings(max_examples=60, deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=3), st.data())
def test_half_a_file_is_refused(items: list[ConversationItem], data: st.DataObject) -> None:
    text = dump_history(items)
    with pytest.raises(MisconfiguredError):
        load_history(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this kernl_rt reads up to 1: update"),
        ({"version": 0}, "its version is 0"),
        ({"version": True}, "its version is True"),
        ({"format": "other"}, "does not say"),
        ({"items": {}}, "no list of items"),
        ({"more": 1}, "something else beside it"),
        ({"items": [{"type": "message"}]}, r"no role.*item \[0\]\.role"),
        ({"items": [{"type": "massage", "role": "user"}]}, "unknown kind"),
        ({"items": [{"type": "message", "role": "user", "tone": 1}]}, "unknown tone"),
        ({"items": [{"type": "message", "role": "user", "content": ""}]}, "expected a list, not a text"),
        ({"items": [{"type": "message", "role": "user", "content": [{"type": "x", "audio": "é"}]}]}, "base64"),
        ({"items": [{"type": "mcp_approval_response", "approval_request_id": "a", "approve": 1}]}, "true or false"),
        ({"items": [5]}, "damaged"),
    ],
)
def test_the_message_says_where(change: dict[str, Any], message: str) -> None:
    document = {**json.loads(dump_history([])), **change}
    with pytest.raises(MisconfiguredError, match=message):
        load_history(json.dumps(document))


def test_what_cannot_be_written() -> None:
    odd = UnknownItem(extra={"x": object()})
    for items in (["text"], [odd], [evolve(odd, extra={"x": float("nan")})]):
        with pytest.raises(MisconfiguredError, match="history"):
            dump_history(items)  # type: ignore[arg-type]
