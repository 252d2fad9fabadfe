"""Tools: what cannot be one, its options, and what its docstring says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, strategies as st

from kernl_rt._tool.docstring import read_docstring
from kernl_rt.context import Context
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.tool import tool
from tests.tool_kinds import Order, Place, taking

if TYPE_CHECKING:
    from fractions import Fraction

pytestmark = pytest.mark.anyio


# -- what cannot be a tool -------------------------------------------------------------------------------------------


def _positional(a: int, /) -> None: ...


def _bare(a) -> None: ...  # type: ignore[no-untyped-def]


def _args(*numbers: int) -> None: ...


def _kwargs(**options: int) -> None: ...


def _late(a: int, context: Context[Any]) -> None: ...


def _unknown(a: Fraction) -> None: ...


def _object(a: object) -> None: ...


def _complex(a: complex) -> None: ...


def _two(a: Place | Order) -> None: ...


def _generator(a: int) -> Any:
    yield a


async def _async_generator(a: int) -> Any:
    yield a


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_positional, ["'_positional'", "'a' is positional-only", "remove the '/'"]),
        (_bare, ["'_bare'", "'a' has no annotation", "'a: str'"]),
        (_args, ["'numbers' takes any number of values", "type list"]),
        (_kwargs, ["'options' takes any keyword", "type dict"]),
        (_late, ["'context' is a context but not the first", "to the front"]),
        (_unknown, ["Fraction", "cannot be resolved", "TYPE_CHECKING"]),
        (_object, ["'a' has the type object", "use str, int"]),
        (_complex, ["'a' has the type complex"]),
        (_two, ["'a' has the type", "more than one dataclass or attrs type"]),
        (_generator, ["is a generator", "return one value"]),
        (_async_generator, ["is a generator"]),
        (lambda: None, ["'<lambda>'", "1 to 64 letters", "@tool(name=…)"]),
        (5, ["is a int, not a function"]),
    ],
)
def test_what_cannot_be_a_tool_is_named(function: Any, words: list[str]) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        tool(function)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "a b"}, "1 to 64 letters"),
        ({"name": "x" * 65}, "1 to 64 letters"),
        ({"description": 5}, "description must be text"),
        ({"timeout": 0}, "timeout=0 must be seconds above 0, or None"),
        ({"timeout": "5"}, "timeout='5'"),
        ({"timeout": math.nan}, "timeout=nan"),
        ({"timeout": math.inf}, "timeout=inf"),
        ({"timeout": True}, "timeout=True"),
        ({"max_output": 127}, "max_output=127 must be at least 128 bytes"),
        ({"max_output": None}, "max_output=None"),
        ({"on_interrupt": "stop"}, "on_interrupt='stop' must be 'keep' or 'cancel'"),
        ({"on_done": "later"}, "on_done='later' must be 'reply' or 'silent' or 'when_idle'"),
        ({"commit": 1}, "commit=1 must be 'now' or 'after_heard'"),
        ({"terminal": 1}, "terminal=1 must be True or False"),
        ({"needs_approval": "yes"}, "needs_approval='yes' must be True, False or a function"),
        ({"strict": "no"}, "strict='no' must be True or False"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        tool(**options)(taking(int).function)
    assert words in str(caught.value)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="weather"):
        tool(weather=1)(taking(int).function)  # type: ignore[call-overload]


def test_options_are_kept() -> None:
    one = taking(
        int, name="n-1", description="D.", timeout=None, max_output=128, on_interrupt="cancel", on_done="silent",
        commit="after_heard", terminal=True, needs_approval=True,
    )  # fmt: skip
    policies = (one.on_interrupt, one.on_done, one.commit, one.terminal, one.needs_approval)
    assert (one.name, one.description, one.timeout, one.max_output) == ("n-1", "D.", None, 128)
    assert policies == ("cancel", "silent", "after_heard", True, True)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.name = "other"  # type: ignore[misc]
    defaults = taking(int)
    assert (defaults.timeout, defaults.max_output, defaults.strict) == (30.0, 65536, True)


def test_what_a_function_returns_need_not_be_known_at_run_time() -> None:
    def f(a: int) -> Fraction: ...  # type: ignore[empty-body]

    assert "a" in tool(f).definition.parameters["properties"]


# -- docstrings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "summary", "parameters"),
    [
        ("", "", {}),
        ("One line.", "One line.", {}),
        ("Two\n    lines.\n\n    More.", "Two lines.", {}),
        ("S.\n\n    Args:\n        a: first\n        b (int, optional): second\n", "S.", {"a": "first", "b": "second"}),
        ("S.\n    Args:\n        a: first\n\n        b: second", "S.", {"a": "first", "b": "second"}),
        ("S.\n\n    Args:\n        a: x:\n            y: z\n", "S.", {"a": "x: y: z"}),
        ("S.\n\n    Args:\n        a: x\n    Raises:\n        b: y\n", "S.", {"a": "x"}),
        ("S.\n\n    Note:\n        a: not a parameter\n", "S.", {}),
        ("S.\n\n    :param a: first\n        and on\n    :param int b: second\n    :returns: c", "S.",
         {"a": "first and on", "b": "second"}),
        (":param a: only", "", {"a": "only"}),
        ("S.\n\n    Args:\n        a:\n            below", "S.", {"a": "below"}),
    ],
)  # fmt: skip
def test_docstrings(text: str, summary: str, parameters: dict[str, str]) -> None:
    assert read_docstring(text) == (summary, parameters)


@given(st.text(alphabet=" \n:aA()param*", max_size=60))
def test_no_docstring_is_too_odd(text: str) -> None:
    summary, parameters = read_docstring(text)
    assert "\n" not in summary + "".join(parameters.values())
