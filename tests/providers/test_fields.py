"""The field tables' engine, on a small class of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pybase64
import pytest
from attrs import evolve, field, frozen
from hypothesis import given, strategies as st

from kernl_rt.exceptions import MisconfiguredError, ProtocolError
from kernl_rt.items import NOTHING
from kernl_rt.providers._fields import (
    BASE64,
    BOOLEAN,
    COUNT,
    INTEGER,
    LIMIT,
    NUMBER,
    OBJECT,
    TEXT,
    Field,
    Kind,
    ListOf,
    Misfit,
    Struct,
    Tagged,
    canonical,
    merge,
    remainder,
)


@frozen(kw_only=True)
class Cat:
    name: str
    lives: int = 9
    purrs: bool | None = None
    kittens: Sequence[Any] = field(default=(), converter=tuple)
    extra: Mapping[str, Any] = NOTHING


KITTEN = Struct(Cat, Field("name"), type="kitten")
CAT = Struct(
    Cat,
    Field("called", "name"),
    Field("lives", kind=COUNT),
    Field("purrs", kind=BOOLEAN),
    Field("kittens", kind=ListOf(KITTEN)),
    type="cat",
)


@pytest.mark.parametrize(
    "said",
    [
        {"type": "cat", "called": "Tom"},
        {"type": "cat", "called": "Tom", "lives": 9, "kittens": []},
        {"type": "cat", "called": "Tom", "lives": 0, "purrs": None, "kittens": None, "colour": None},
        {"type": "lion", "called": "Tom", "kittens": [{"type": "kitten", "name": "Kim", "age": {"weeks": 3}}]},
    ],
)
def test_what_was_read_is_written(said: dict[str, Any]) -> None:
    assert CAT.encode(CAT.decode(said)) == said


def test_what_the_attribute_cannot_tell_is_kept() -> None:
    cat = CAT.decode({"type": "cat", "called": "Tom", "lives": 9, "purrs": None, "age": 3})
    assert cat == Cat(name="Tom", extra={"lives": 9, "purrs": None, "age": 3})
    assert CAT.decode({"type": "cat", "called": "Tom"}).extra is NOTHING
    assert CAT.encode(evolve(cat, purrs=True))["purrs"] is True


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "^expected an object, got a list$"),
        ({}, "^called: missing$"),
        ({"called": None}, "^called: expected a text, got null$"),
        ({"called": "T", "lives": -1}, "^lives: the number is out of range$"),
        ({"called": "T", "lives": True}, "^lives: expected a whole number, got a boolean$"),
        ({"called": "T", "kittens": {}}, "^kittens: expected a list, got an object$"),
        ({"called": "T", "kittens": [{"name": "a"}, {"name": 1}]}, r"^kittens\[1\]\.name: expected a text, got a"),
    ],
)
def test_a_misfit_says_what_and_where(said: Any, message: str) -> None:
    with pytest.raises(Misfit, match=message):
        CAT.decode(said)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (TEXT, ["", "a"], [None, 1, [], b"a"]),
        (BOOLEAN, [True, False], [0, 1, None, "true"]),
        (COUNT, [0, LIMIT], [-1, LIMIT + 1, 1.0, True, "1"]),
        (INTEGER, [-LIMIT, LIMIT], [-LIMIT - 1, 10**5000, 0.0]),
        (NUMBER, [0, -1.5, LIMIT], [float("nan"), float("inf"), -float("inf"), 1e300, True, "1"]),
        (OBJECT, [{}, {"a": 1}], [[], None, "{}"]),
        (BASE64, ["", "YQ==", "YWI="], ["Y", "YQ=", "YQ==\n", "Y Q=", "é", 1, "====", "-_8="]),
    ],
)
def test_kinds(kind: Kind, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert kind.encode(kind.decode(value)) == value
        assert kind.faithful(value)
    for value in bad:
        with pytest.raises(ProtocolError):
            kind.decode(value)


@given(st.text("ABCDQgwfz048+/", max_size=7).map(lambda text: text + "=" * (-len(text) % 4)))
def test_canonical_is_what_encoding_gives_back(text: str) -> None:
    try:
        decoded = pybase64.b64decode(text, validate=True)
    except ValueError:
        return
    assert canonical(text) is (pybase64.b64encode_as_string(decoded) == text)


def test_tags_choose_the_class() -> None:
    closed = Tagged([CAT])
    assert closed.decode({"type": "cat", "called": "T"}) == Cat(name="T")
    for odd in ({}, {"type": []}, {"type": "dog"}):
        with pytest.raises(Misfit, match=r"^type: "):
            closed.decode(odd)
    with pytest.raises(MisconfiguredError, match="a dict cannot stand here"):
        closed.encode({})
    assert Tagged([CAT], OBJECT).decode({"type": "dog"}) == {"type": "dog"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
TREES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def part_of(whole: Any, keep: Any) -> dict[str, Any]:
    return {
        key: part_of(value, keep) if isinstance(value, dict) else value for key, value in whole.items() if keep(key)
    }


@given(TREES, st.sets(st.sampled_from("abc")))
def test_the_remainder_completes_the_part(whole: dict[str, Any], kept: set[str]) -> None:
    part = part_of(whole, kept.__contains__)
    assert merge(part, remainder(whole, part)) == whole
    assert remainder(whole, whole) == {}
