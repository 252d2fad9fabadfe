"""Tools: results and errors as text for the model."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from kernl_rt._tool.output import output_text
from kernl_rt.exceptions import ToolArgumentsError, ToolError, ToolTimeout
from kernl_rt.tool import error_text, tool
from tests.tool_kinds import Mood, Order, Person, Place, Size, Struct, Unit, call_context

pytestmark = pytest.mark.anyio


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (5, "5"),
        (2**80, str(2**80)),
        (1.5, "1.5"),
        ([1, "é", None], '[1, "é", null]'),
        ((1, 2), "[1, 2]"),
        ({5}, "[5]"),
        ({1: "a"}, '{"1": "a"}'),
        (Unit.C, "celsius"),
        (Size.L, "3"),
        (Mood.GOOD, "good"),
        (Place("x"), '{"name": "x", "position": [0.0, 0.0]}'),
        (Order("x"), '{"article": "x", "count": 1, "place": null}'),
        (Struct(1), '{"q": 1}'),
        (Person(name="Ann"), '{"name": "Ann", "address": null}'),
        ([Person(name="Ann")], '[{"name": "Ann", "address": null}]'),
        (datetime(2026, 1, 31, 9, tzinfo=UTC), "2026-01-31T09:00:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (timedelta(hours=1), "PT3600S"),
        (UUID(int=0), str(UUID(int=0))),
        (Decimal("1.50"), "1.50"),
        (b"hi", "aGk="),
        ({"when": date(2026, 1, 31)}, '{"when": "2026-01-31"}'),
        ("a\ud800b", "a\ufffdb"),
        (["\udfff"], '["\ufffd"]'),
        ("\ud83d\ude00", "😀"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_results(value: Any, text: str) -> None:
    assert output_text(value, 65536, tool="t") == text


def _itself() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "returned a float that cannot be written as JSON"),
        ([math.inf], "returned a list"),
        ({"a": -math.inf}, "returned a dict"),
        (object(), "a object has no JSON form; return text"),
        ([object()], "a object has no JSON form"),
        ((n for n in [1]), "a generator has no JSON form"),
        (1j, "a complex has no JSON form"),
        ({(1, 2): 3}, "keys"),
        (_itself(), "nested too deep"),
        (len, "has no JSON form"),
        (Place, "has no JSON form"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_results_that_are_not_json(value: Any, words: str) -> None:
    with pytest.raises(ToolError) as caught:
        output_text(value, 65536, tool="t")
    assert str(caught.value).startswith("tool 't' returned a ")
    assert words in str(caught.value)


async def test_a_coroutine_is_not_left_unawaited() -> None:
    async def inner() -> str:
        return "inner"

    one = inner()
    with pytest.raises(ToolError, match="a coroutine has no JSON form"):
        output_text(one, 65536, tool="t")
    assert await one == "inner"


@given(st.text(st.characters(), max_size=400), st.integers(128, 300))
def test_long_results_are_cut(text: str, limit: int) -> None:
    done = output_text(text, limit, tool="t")
    assert len(done.encode()) <= limit
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if len(whole.encode()) <= limit:
        assert done == whole
    else:
        kept, _, marker = done.rpartition(" […")
        assert whole.startswith(kept)
        assert len(kept.encode()) >= limit - 50
        assert marker == f"{len(text) - len(kept)} more characters cut]"


def test_the_marker_counts_what_is_gone() -> None:
    assert output_text("x" * 1_000, 128, tool="t") == "x" * 98 + " […902 more characters cut]"
    assert output_text("é" * 100, 128, tool="t") == "é" * 49 + " […51 more characters cut]"
    assert output_text("x" * 128, 128, tool="t") == "x" * 128


async def test_max_output_is_the_tools() -> None:
    @tool(max_output=200)
    async def long() -> list[str]:
        return ["word"] * 1_000

    text = await long.call(call_context(), "{}")
    assert len(text.encode()) == 200
    assert text.endswith(" more characters cut]")


# -- errors ----------------------------------------------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (ToolError("no such city"), "no such city"),
        (ToolArgumentsError("argument 'a' is missing"), "argument 'a' is missing"),
        (ToolTimeout(), "ToolTimeout"),
        (ValueError("bad"), "ValueError: bad"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (Unprintable(), "Unprintable"),
        (ValueError("a\ud800"), "ValueError: a\ufffd"),
        (ExceptionGroup("g", [ToolError("one"), ExceptionGroup("h", [ValueError("two")])]), "one; ValueError: two"),
        (ExceptionGroup("g", [ValueError(str(n)) for n in range(9)]),
         "; ".join(f"ValueError: {n}" for n in range(5)) + "; and 4 more errors"),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_error_text(exc: BaseException, text: str) -> None:
    assert error_text(exc) == text


def test_error_text_is_capped_and_holds_no_traceback() -> None:
    secret = "hunter2"
    try:
        raise ValueError("x" * 10_000_000)
    except ValueError as exc:
        text = error_text(exc)
    assert len(text.encode()) <= 2_048
    assert "cut]" in text
    assert secret not in text
    assert "Traceback" not in text
    assert ".py" not in text
