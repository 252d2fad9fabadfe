"""What values inherit instead of having attrs compile it: it must be what attrs would have written."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from kernl_rt import config, events
from kernl_rt._core import actions, inputs
from kernl_rt._values import Shown, Value
from kernl_rt.events._base import Event


def ours(*modules: Any) -> list[type[Any]]:
    classes = {each for module in modules for each in vars(module).values() if inspect.isclass(each)}
    return sorted((each for each in classes if attrs.has(each) and issubclass(each, Shown)), key=lambda c: c.__name__)


VALUES = ours(events, config)
PRIVATE = ours(inputs, actions)


def twin(kind: type[Any], **options: Any) -> type[Any]:
    """The same fields in a class whose methods attrs has written."""
    plain = {
        field.name: attrs.field(
            default=field.default, repr=field.repr, eq=field.eq, kw_only=field.kw_only, init=field.init
        )
        for field in attrs.fields(kind)
    }
    return attrs.make_class(kind.__name__, plain, frozen=True, slots=True, **options)


def fill(kind: type[Any], words: dict[str, str]) -> Any:
    """An instance with these words in its fields, past whatever its constructor would say of them."""
    made = object.__new__(kind)
    for field in attrs.fields(kind):
        object.__setattr__(made, field.name, words[field.name])
    return made


def words(kind: type[Any], changed: str | None = None) -> dict[str, str]:
    return {field.name: f"other {field.name}" if field.name == changed else field.name for field in attrs.fields(kind)}


def test_there_are_values_to_look_at() -> None:
    assert {events.AudioDelta, events.SessionError, events.Usage, config.SessionConfig} <= set(VALUES)
    assert {inputs.AudioSubmitted, actions.Emit} <= set(PRIVATE)


@pytest.mark.parametrize("kind", [*VALUES, *PRIVATE], ids=lambda kind: kind.__name__)
def test_shown_as_attrs_shows_it(kind: type[Any]) -> None:
    assert repr(fill(kind, words(kind))) == repr(fill(twin(kind), words(kind)))


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_compared_as_attrs_compares_it(kind: type[Any]) -> None:
    model = twin(kind)
    one, same = fill(kind, words(kind)), fill(kind, words(kind))
    assert one == same
    assert hash(one) == hash(same)
    for field in attrs.fields(kind):
        changed = words(kind, field.name)
        as_attrs = fill(model, words(kind)) == fill(model, changed)
        assert (one == fill(kind, changed)) is as_attrs, field.name
        assert (one != fill(kind, changed)) is not as_attrs, field.name
        assert as_attrs is (not field.eq)


def test_of_another_class_is_another_value() -> None:
    assert events.ActivityStarted(1.0) != events.ActivityEnded(1.0)
    assert events.ActivityStarted(1.0) != 1.0
    assert len({events.ActivityStarted(1.0), events.ActivityEnded(1.0), events.ActivityStarted(1.0)}) == 2


@given(st.text("ab", max_size=2), st.text("ab", max_size=2), st.integers(0, 2), st.integers(0, 2))
def test_equal_is_equal_fields(a: str, b: str, x: int, y: int) -> None:
    one, other = (events.ResponseError(message=text, type=text * size) for text, size in ((a, x), (b, y)))
    assert (one == other) is ((one.message, one.type) == (other.message, other.type))


def test_a_value_that_cannot_be_hashed_says_so() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(events.TextDelta(response_id="r", item_id="i", content_index=0, text="t", extra={"list": []}))


def test_a_value_that_holds_itself_is_shown() -> None:
    @attrs.define(eq=False, repr=False)
    class Ring(Value):
        inside: Any = None

    ring = Ring()
    ring.inside = ring
    assert repr(ring) == "Ring(inside=...)"


def test_a_class_of_the_users_own_is_its_own_value() -> None:
    @attrs.frozen
    class Written(Event):
        words: str = ""

    class Bare(Written):
        pass

    assert Written("a") == Written("a") != Written("b")
    assert repr(Written("a")).endswith("Written(words='a')")
    assert Bare("a") == Bare("a") != Written("a")
