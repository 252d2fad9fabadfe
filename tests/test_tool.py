"""Tools: signature → schema, JSON → arguments, result → text; what is refused, and where functions run."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import threading
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import anyio
import anyio.lowlevel
import attrs
import jsonschema
import msgspec
import pydantic
import pytest
from anyio import from_thread, to_thread
from hypothesis import given, settings, strategies as st

from kernl_rt._tool import threads
from kernl_rt._tool.arguments import MAX_DEPTH
from kernl_rt._tool.docstring import read_docstring
from kernl_rt._tool.output import output_text
from kernl_rt.config import ToolDefinition
from kernl_rt.context import Context, ToolContext
from kernl_rt.exceptions import MisconfiguredError, ToolArgumentsError, ToolError, ToolTimeout
from kernl_rt.tool import THREAD_LIMIT, Tool, Toolkit, error_text, tool

if TYPE_CHECKING:
    from fractions import Fraction

pytestmark = pytest.mark.anyio


def call_context(value: Any = None) -> ToolContext[Any]:
    return Context(value).for_call("call_1", "t")


class Unit(StrEnum):
    C = "celsius"
    F = "fahrenheit"


class Size(IntEnum):
    S = 1
    L = 3


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


@attrs.frozen
class Place:
    name: str
    position: tuple[float, float] = (0.0, 0.0)


@attrs.define
class Node:
    value: int
    children: list[Node] = attrs.field(factory=list)


@attrs.define
class Checked:
    size: int = attrs.field(validator=attrs.validators.lt(10))


@dataclasses.dataclass
class Order:
    article: str
    count: int = 1
    place: Place | None = None


class Options(TypedDict):
    a: int
    b: NotRequired[str]


class Pair(NamedTuple):
    x: int
    y: str = "y"


class Struct(msgspec.Struct):
    q: int


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


class Person(pydantic.BaseModel):
    name: str
    address: Address | None = None


Nickname = NewType("Nickname", str)
Age = Annotated[int, msgspec.Meta(ge=0, le=150)]


def taking(kind: Any, *, strict: bool = True, **more: Any) -> Tool[Any]:
    """A tool with one parameter, ``value``, of ``kind``; it keeps what it was called with in ``seen``."""
    seen: list[Any] = []

    async def keep(value: Any) -> None:
        seen.append(value)

    keep.__annotations__ = {"value": kind}
    keep.__dict__["seen"] = seen
    return tool(strict=strict, **more)(keep)


def received(one: Tool[Any], text: str) -> Any:
    return one.signature.structure(text)["value"]


def refused(one: Tool[Any], value: Any) -> str:
    with pytest.raises(ToolArgumentsError) as caught:
        one.signature.structure(json.dumps({"value": value}))
    return str(caught.value)


# -- the schema ------------------------------------------------------------------------------------------------------


@tool
async def forecast(
    context: ToolContext[str],
    city: str,
    days: Annotated[int, "how many days"] = 3,
    unit: Unit = Unit.C,
    place: Place | None = None,
    hours: Annotated[list[int] | None, msgspec.Meta(description="which hours")] = None,
) -> str:
    """The weather
    to come.

    It is a guess.

    Args:
        city (str): a town,
            not a village: never
        days: overruled by the annotation
        unit: of temperature

    Returns:
        city: words
    """
    return f"{context.context}: {city} {days} {unit!r} {place} {hours}"


async def test_definition() -> None:
    assert forecast.definition == ToolDefinition(
        name="forecast",
        description="The weather to come.",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "a town, not a village: never"},
                "days": {"type": "integer", "description": "how many days", "default": 3},
                "unit": {"$ref": "#/$defs/Unit", "description": "of temperature", "default": "celsius"},
                "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}], "default": None},
                "hours": {
                    "anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}],
                    "description": "which hours",
                    "default": None,
                },
            },
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {
                "Unit": {"title": "Unit", "enum": ["celsius", "fahrenheit"], "type": "string"},
                "Place": {
                    "title": "Place",
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "position": {
                            "type": "array",
                            "minItems": 2,
                            "maxItems": 2,
                            "prefixItems": [{"type": "number"}, {"type": "number"}],
                            "items": False,
                            "default": [0.0, 0.0],
                        },
                    },
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
        },
    )


async def test_no_parameters() -> None:
    @tool
    async def ping() -> str:
        return "pong"

    assert ping.definition.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert ping.description == ""
    for blank in ("", "  \n", "{}"):
        assert await ping.call(call_context(), blank) == "pong"


@pytest.mark.parametrize(
    ("default", "kind", "said"),
    [
        (None, int | None, {"default": None}),
        (None, int, {}),
        (Unit.F, Unit, {"default": "fahrenheit"}),
        ((1, "a"), tuple[int, str], {"default": [1, "a"]}),
        (Place("x"), Place, {"default": {"name": "x", "position": [0.0, 0.0]}}),
        (math.nan, float, {}),
        ([math.nan], list[float], {}),
        (object(), str, {}),
        (b"hi", bytes, {"default": "aGk="}),
    ],
)
async def test_a_default_is_said_where_it_is_json_and_of_the_type(default: Any, kind: Any, said: Any) -> None:
    async def f(value: Any = default) -> None: ...

    f.__annotations__ = {"value": kind}
    schema = tool(f).definition.parameters
    properties = schema["properties"]["value"]
    assert {key: value for key, value in properties.items() if key == "default"} == said
    assert "required" not in schema


async def test_pydantic_models_bring_their_own_schema_and_checks() -> None:
    one = taking(Person | None)
    jsonschema.Draft202012Validator.check_schema(one.definition.parameters)
    text = '{"value": {"name": "Ann", "address": {"street": "Main"}}}'
    jsonschema.validate(json.loads(text), one.definition.parameters)
    assert received(one, text) == Person(name="Ann", address=Address(street="Main"))
    message = refused(one, {"name": "Ann", "address": {"street": 5}})
    assert message.startswith("argument 'value.address.street' was refused: ")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"value": {"name": "Ann", "address": {}}}, one.definition.parameters)


async def test_two_pydantic_models_do_not_mix_their_definitions() -> None:
    async def f(a: Person, b: Address, c: list[Person]) -> None: ...

    schema = tool(f).definition.parameters
    good = {"name": "Ann", "address": {"street": "Main"}}
    jsonschema.validate({"a": good, "b": {"street": "Main"}, "c": [good]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"a": good, "b": good, "c": []}, schema)


# A family of types, each with values of it. Equality after the round trip includes the type of every leaf.
FAMILY: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers(-(2**70), 2**70)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (None, st.none()),
    (bytes, st.binary()),
    (int | None, st.none() | st.integers(-(2**63), 2**63)),
    (str | list[int], st.text() | st.lists(st.integers(-9, 9))),
    (int | str | None, st.none() | st.integers(-9, 9) | st.text()),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (Literal[True], st.just(True)),
    (Unit, st.sampled_from(Unit)),
    (Size, st.sampled_from(Size)),
    (Mood, st.sampled_from(Mood)),
    (list[Mood], st.lists(st.sampled_from(Mood))),
    (tuple[int, ...], st.lists(st.integers(-9, 9)).map(tuple)),
    (tuple[int, str], st.tuples(st.integers(-9, 9), st.text())),
    (set[int], st.sets(st.integers(-9, 9))),
    (frozenset[str], st.frozensets(st.text(max_size=3))),
    (dict[str, float], st.dictionaries(st.text(max_size=3), st.floats(-1e9, 1e9))),
    (dict[int, bool], st.dictionaries(st.integers(-(2**60), 2**60), st.booleans())),
    (dict[Unit, int], st.dictionaries(st.sampled_from(Unit), st.integers(-9, 9))),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(-9999), timedelta(9999))),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (Place, st.builds(Place, st.text(), st.tuples(st.floats(-9, 9), st.floats(-9, 9)))),
    (Order, st.builds(Order, st.text(), st.integers(-9, 9), st.none() | st.builds(Place, st.text()))),
    (Node, st.recursive(st.builds(Node, st.integers(-9, 9)), lambda n: st.builds(Node, st.just(0), st.lists(n)))),
    (Options, st.fixed_dictionaries({"a": st.integers(-9, 9)}, optional={"b": st.text()})),
    (Pair, st.builds(Pair, st.integers(-9, 9), st.text())),
    (Struct, st.builds(Struct, st.integers(-9, 9))),
    (Person, st.builds(Person, name=st.text(), address=st.none())),
    (Nickname, st.text()),
    (Age, st.integers(0, 150)),
]
TOOLS = {str(kind): taking(kind) for kind, _ in FAMILY}
KEYS = ["name", "position", "value", "children", "a", "b", "q", "1", "x"]
# What a fuzzer needs to get past the first check of each of them.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.floats(-(2**53), 2**53) | st.text(max_size=4)
    | st.sampled_from(["celsius", "good", "a", "aGk=", "2026-01-31", "9.5", 1, 3, 5.0, 2**53]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def kinds_of(value: Any) -> Any:
    """The types of every leaf, so that ``1 == True == 1.0`` does not pass for the same."""
    if isinstance(value, dict):
        return {key: kinds_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [kinds_of(item) for item in value]
    return type(value)


@pytest.mark.parametrize(("kind", "values"), FAMILY, ids=str)
def test_values_come_back_as_they_were(kind: Any, values: st.SearchStrategy[Any]) -> None:
    one = TOOLS[str(kind)]
    validator = jsonschema.Draft202012Validator(one.definition.parameters)

    @settings(max_examples=40, deadline=None)
    @given(values)
    def check(value: Any) -> None:
        dumped = value.model_dump() if isinstance(value, pydantic.BaseModel) else value
        written = msgspec.json.encode({"value": dumped}).decode()
        validator.validate(json.loads(written))
        back = received(one, written)
        assert back == value
        assert kinds_of(back) == kinds_of(value)

    check()


@pytest.mark.parametrize(("kind", "values"), FAMILY, ids=str)
def test_the_schema_and_the_reading_agree(kind: Any, values: st.SearchStrategy[Any]) -> None:
    """On any JSON: what is read, the schema accepts; what it accepts is read, where it says all there is to say."""
    one = TOOLS[str(kind)]
    validator = jsonschema.Draft202012Validator(one.definition.parameters)
    formats = {bytes, datetime, date, time, timedelta, UUID, Decimal}
    lenient = {Struct, Person, set[int], frozenset[str]}  # their own rules; an array with doubles is read as a set
    keys = {dict[int, bool], dict[Unit, int]}  # JSON Schema says nothing of the keys

    @settings(max_examples=60, deadline=None)
    @given(JSON)
    def check(value: Any) -> None:
        try:
            received(one, json.dumps({"value": value}))
        except ToolArgumentsError:
            read = False
        else:
            read = True
        valid = validator.is_valid({"value": value})
        if kind in formats or kind in keys:
            assert valid or not read
        elif kind in lenient:
            assert read or not valid
        else:
            assert read == valid

    check()


@settings(max_examples=300, deadline=None)
@given(st.text() | JSON.map(json.dumps) | st.dictionaries(st.sampled_from(["value", "v"]), JSON).map(json.dumps))
def test_no_text_raises_anything_else(text: str) -> None:
    for one in TOOLS.values():
        message = "none"
        try:
            one.signature.structure(text)
        except ToolArgumentsError as exc:
            message = str(exc)
        assert 0 < len(message) <= 1_000


HOSTILE = {
    "brackets": "[" * 100_000,
    "nested": '{"value":' * 500 + "1" + "}" * 500,
    "deep but balanced": '{"value":' + "[" * 900 + "]" * 900 + "}",
    "nan": '{"value": NaN}',
    "infinity": '{"value": -Infinity}',
    "huge exponent": '{"value": 1e999}',
    "huge integer": '{"value": ' + "9" * 5_000 + "}",
    "escaped surrogate": '{"value": "\\ud800"}',
    "surrogate": '{"value": "\ud800"}',
    "surrogate key": '{"\udfff": 1}',
    "unknown": json.dumps({"x" * 5_000 + str(n): 1 for n in range(50)}),
    "null": "null",
    "array": "[]",
    "two": "{} {}",
    "cut": '{"value": "a',
    "control": '{"value": "\x00"}',
    "bom": "\ufeff{}",
    "many": '{"value": [' + "null," * 20_000 + "null]}",
    "wide": '{"value": {' + ",".join(f'"{n}":{{}}' for n in range(5_000)) + "}}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arguments(name: str) -> None:
    for kind, one in TOOLS.items():
        with pytest.raises(ToolArgumentsError) as caught:
            one.signature.structure(HOSTILE[name])
        assert len(str(caught.value)) <= 1_000, kind
        assert "99999" not in str(caught.value)
        caught.value.args[0].encode()


def test_the_depth_limit_is_where_it_is_said_to_be() -> None:
    one = taking(Any)
    fits = '{"value":' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    assert received(one, fits) is not None
    over = '{"value":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}"
    with pytest.raises(ToolArgumentsError, match=f"nested deeper than {MAX_DEPTH} levels"):
        one.signature.structure(over)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (str, 5, "argument 'value' must be a string, got a number"),
        (str, None, "argument 'value' must be a string, got null"),
        (int, "5", "argument 'value' must be an integer, got a string"),
        (int, 5.5, "argument 'value' must be an integer, got a number that is not one"),
        (int, True, "argument 'value' must be an integer, got a boolean"),
        (float, True, "argument 'value' must be a number, got a boolean"),
        (bool, "no", "argument 'value' must be true or false, got a string"),
        (bool, 1, "argument 'value' must be true or false, got a number"),
        (list[str], "abc", "argument 'value' must be an array, got a string"),
        (list[int], [1, "a"], "argument 'value[1]' must be an integer, got a string"),
        (dict[str, int], [["a", 1]], "argument 'value' must be an object, got an array"),
        (dict[str, int], {"a": "b"}, "argument 'value.a' must be an integer, got a string"),
        (dict[int, int], {"a": 1}, "argument 'value.a' is a key that must be an integer"),
        (Unit, "kelvin", "argument 'value' must be one of 'celsius', 'fahrenheit'"),
        (Size, True, "argument 'value' must be one of 1, 3"),
        (Literal["a", 1], True, "argument 'value' must be one of 'a', 1"),
        (tuple[int, str], [1], "argument 'value' must be an array of 2 values, got 1"),
        (Pair, [], "argument 'value' must be an array of 1 to 2 values, got 0"),
        (int | None, "x", "argument 'value' must be an integer, got a string"),
        (int | str, [], "argument 'value' must be an integer or a string, got an array"),
        (int | list[int], ["x"], "argument 'value[0]' must be an integer, got a string"),
        (Place, {}, "argument 'value.name' is missing"),
        (Place, {"name": "a", "nam": 1}, "argument 'value.nam' is unknown"),
        (Place, "a", "argument 'value' must be an object, got a string"),
        (Order, {"article": "a", "place": {"name": 5}}, "argument 'value.place.name' must be a string, got a number"),
        (Options, {"a": "x", "c": 1}, "argument 'value.a' must be an integer, got a string"),
        (Node, {"value": 1, "children": [{"value": "x"}]}, "argument 'value.children[0].value' must be an integer"),
        (Checked, {"size": 99}, "argument 'value' was refused: 'size' must be < 10: 99"),
        (Age, -1, "argument 'value' must be int >= 0"),
        (Annotated[list[int], msgspec.Meta(max_length=1)], [1, 2], "argument 'value' must be array of length <= 1"),
        (Annotated[str, msgspec.Meta(pattern="^a")], "b", "argument 'value' must be str matching regex '^a'"),
        (date, "tomorrow", "argument 'value' must be a date such as '2026-01-31'"),
        (datetime, 5, "argument 'value' must be a date and time such as '2026-01-31T09:30:00Z', got a number"),
        (bytes, "?", "argument 'value' must be base64 text"),
        (set[Any], [[1]], "argument 'value' must hold values that can be compared, not arrays or objects"),
        (Struct, {"q": "x"}, "argument 'value' was refused: Expected `int`, got `str` - at `$.q`"),
    ],
)
def test_refusals_say_what_to_change(kind: Any, value: Any, message: str) -> None:
    assert message in refused(taking(kind), value)


async def test_missing_and_unknown_arguments_are_listed_together() -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        await forecast.call(call_context(), '{"town": "Paris", "days": "2"}')
    assert str(caught.value) == (
        "argument 'city' is missing; argument 'days' must be an integer, got a string; "
        "unknown argument 'town'; the arguments are: city, days, unit, place, hours"
    )


def test_a_long_list_of_complaints_is_cut() -> None:
    many = attrs.make_class("Many", {f"field_number_{n}": attrs.field(type=int) for n in range(99)})
    assert len(refused(taking(many), {})) == 1_000


def test_of_a_validators_words_only_the_message_is_told() -> None:
    typed = attrs.make_class("Typed", {"a": attrs.field(type=Any, validator=attrs.validators.instance_of(int))})
    message = refused(taking(typed), {"a": "x"})
    assert message.startswith("argument 'value' was refused: 'a' must be <class 'int'>")
    assert "Attribute(" not in message
    assert len(refused(taking(typed), {"a": "x" * 9_999})) < 300


def test_numbers_of_json() -> None:
    assert kinds_of(received(taking(int), '{"value": 5.0}')) is int
    assert kinds_of(received(taking(float), '{"value": 5}')) is float
    assert received(taking(Annotated[int, msgspec.Meta(ge=0)] | None), '{"value": null}') is None
    assert received(taking(Size), '{"value": 3.0}') is Size.L
    # JSON Schema calls 1e300 an integer too, but so large a float does not name one.
    assert received(taking(int), f'{{"value": {float(2**53)}}}') == 2**53
    assert refused(taking(int), 1e300) == "argument 'value' must be an integer, got a number that is not one"
    assert refused(taking(float), 10**400) == "argument 'value' is out of range"


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (int, "5", 5),
        (float, " 5.5 ", 5.5),
        (bool, "TRUE", True),
        (str, 5, "5"),
        (int | str, "5", "5"),
        (list[int], ["1", 2], [1, 2]),
        (Unit, "celsius", Unit.C),
    ],
)
def test_not_strict(kind: Any, value: Any, read: Any) -> None:
    back = received(taking(kind, strict=False), json.dumps({"value": value, "more": 1}))
    assert back == read
    assert kinds_of(back) == kinds_of(read)


@pytest.mark.parametrize(("kind", "value"), [(int, "five"), (bool, "no"), (bool, 1), (str, True), (int, "[" * 9999)])
def test_not_strict_is_not_anything_goes(kind: Any, value: Any) -> None:
    assert "argument 'value' must be" in refused(taking(kind, strict=False), value)


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


# -- functions of every sort -----------------------------------------------------------------------------------------


class Home:
    def __init__(self) -> None:
        self.on = False

    @tool
    async def lights(self, on: bool) -> str:
        """Turn the lights on or off."""
        self.on = on
        return "done"

    @tool(timeout=5)
    async def greet(self, context: Context[str], loud: bool = False) -> str:
        return context.context.upper() if loud else context.context

    @staticmethod
    @tool
    async def outside(a: int) -> int:
        return a + 1

    @tool
    @staticmethod
    async def inside(a: int) -> int:
        return a + 2

    async def plain(self, a: int) -> int:
        return a + 3

    @classmethod
    async def made(cls, a: int) -> str:
        return f"{cls.__name__} {a}"

    async def __call__(self, a: int) -> int:
        return a + 4


async def test_functions_are_still_functions() -> None:
    assert await forecast(call_context("Ann"), "Paris", days=1) == "Ann: Paris 1 <Unit.C: 'celsius'> None None"
    assert forecast.function.__name__ == "forecast"


async def test_the_context_is_filled_in() -> None:
    text = '{"city": "Paris", "unit": "fahrenheit", "place": {"name": "X"}}'
    assert await forecast.call(call_context("Ann"), text) == (
        "Ann: Paris 3 <Unit.F: 'fahrenheit'> Place(name='X', position=(0.0, 0.0)) None"
    )


async def test_methods_are_taken_from_an_object() -> None:
    home, other = Home(), Home()
    assert await home.lights.call(call_context(), '{"on": true}') == "done"
    assert (home.on, other.on) == (True, False)
    assert list(home.lights.definition.parameters["properties"]) == ["on"]
    assert await home.lights(False) == "done"
    assert await home.greet.call(call_context("Ann"), '{"loud": true}') == "ANN"
    assert home.greet.timeout == 5
    assert dict(Toolkit(id="home", tools=[home.lights]).tools[0].definition.parameters["properties"]) == {
        "on": {"type": "boolean"}
    }


async def test_a_method_without_its_object_is_refused() -> None:
    for attempt in (lambda: Toolkit(id="home", tools=[Home.lights]),):
        with pytest.raises(MisconfiguredError, match=r"'lights' is a method without its object.*thing.lights"):
            attempt()
    with pytest.raises(MisconfiguredError, match="method without its object"):
        await Home.lights.call(call_context(), '{"on": true}')


@pytest.mark.parametrize(
    ("make", "name", "result"),
    [
        (lambda: Home.outside, "outside", "6"),
        (lambda: Home().inside, "inside", "7"),
        (lambda: tool(Home().plain), "plain", "8"),
        (lambda: tool(Home.made), "made", "Home 5"),
        (lambda: tool(Home()), "Home", "9"),
        (lambda: tool(functools.partial(Home().plain)), "plain", "8"),
    ],
)
async def test_every_sort_of_function(make: Any, name: str, result: str) -> None:
    one = make()
    assert one.name == name
    assert one.is_async
    assert await one.call(call_context(), '{"a": 5}') == result


async def test_what_a_partial_fixes_the_model_does_not_see() -> None:
    async def search(query: str, limit: int, database: object) -> str:
        return f"{query} {limit} {database}"

    one = tool(functools.partial(search, limit=3, database="db"))
    assert list(one.definition.parameters["properties"]) == ["query"]
    assert await one.call(call_context(), '{"query": "x"}') == "x 3 db"
    with pytest.raises(ToolArgumentsError, match="unknown argument 'limit'"):
        await one.call(call_context(), '{"query": "x", "limit": 4}')


async def test_wrappers_show_what_they_wrap() -> None:
    async def inner(a: int) -> int:
        """Inner."""
        return a

    @functools.wraps(inner)
    async def outer(*args: Any, **kwargs: Any) -> int:
        return await inner(*args, **kwargs) + 1

    one = tool(outer)
    assert one.description == "Inner."
    assert await one.call(call_context(), '{"a": 5}') == "6"


async def test_toolkits() -> None:
    def plain(a: int) -> int:
        return a

    kit = Toolkit(id="home", tools=[forecast, plain])
    assert [each.name for each in kit.tools] == ["forecast", "plain"]
    assert kit.tools[0] is forecast
    with pytest.raises(MisconfiguredError, match="toolkit 'home' has two tools named 'plain'"):
        Toolkit(id="home", tools=[plain, plain])
    with pytest.raises(MisconfiguredError, match="id must be text, not ''"):
        Toolkit(id="")
    with pytest.raises(MisconfiguredError, match="not a function"):
        Toolkit(id="home", tools=[5])  # type: ignore[list-item]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        kit.id = "x"  # type: ignore[misc]


async def test_what_a_tool_raises_is_raised() -> None:
    failure = LookupError("no such city")

    @tool
    async def fails() -> None:
        raise failure

    with pytest.raises(LookupError) as caught:
        await fails.call(call_context(), "{}")
    assert caught.value is failure


async def test_wrong_arguments_run_no_code() -> None:
    one = taking(int)
    with pytest.raises(ToolArgumentsError):
        await one.call(call_context(), '{"value": "x"}')
    seen = one.function.__dict__["seen"]
    assert seen == []
    await one.call(call_context(), '{"value": 1}')
    assert seen == [1]


async def test_cancelling_an_async_tool_runs_its_finally() -> None:
    ended: list[str] = []

    @tool
    async def waits() -> None:
        try:
            await anyio.sleep(1_000)
        finally:
            ended.append("finally")

    with anyio.move_on_after(5) as scope:
        await waits.call(call_context(), "{}")
    assert scope.cancelled_caught
    assert ended == ["finally"]


# -- threads ---------------------------------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread(real_clock: None) -> None:
    release = threading.Event()
    where: list[int] = []

    @tool
    def blocks(context: ToolContext[str], n: int) -> str:
        where.append(threading.get_ident())
        from_thread.run_sync(started.set)
        assert release.wait(10)
        return f"{context.context} {n}"

    assert not blocks.is_async
    started = anyio.Event()
    results: list[str] = []

    async def run() -> None:
        results.append(await blocks.call(call_context("Ann"), '{"n": 1}'))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await started.wait()  # the loop runs while the function blocks
        assert results == []
        release.set()
    assert results == ["Ann 1"]
    assert where != [threading.get_ident()]


async def test_a_plain_function_uses_the_session_from_its_thread(real_clock: None) -> None:
    said: list[tuple[str, int]] = []

    class Session:
        def send_message(self, text: str, /) -> None:
            said.append((text, threading.get_ident()))

    @tool
    def says(context: ToolContext[None]) -> None:
        context.session.send_message("hi")

    bound = Context(None).bind(Session(), None)  # type: ignore[arg-type]
    await says.call(bound.for_call("c", "says"), "{}")
    assert said == [("hi", threading.get_ident())]


async def test_a_plain_wrapper_around_an_async_function(real_clock: None) -> None:
    async def inner(a: int) -> int:
        await anyio.lowlevel.checkpoint()
        return a + threading.get_ident()

    @tool(name="outer")
    def outer(a: int) -> Any:
        return inner(a)

    assert await outer.call(call_context(), '{"a": 5}') == str(5 + threading.get_ident())


async def test_a_plain_functions_exceptions(real_clock: None) -> None:
    @tool
    def fails(stop: bool) -> None:
        raise StopIteration if stop else LookupError("no such city")

    with pytest.raises(LookupError, match="no such city"):
        await fails.call(call_context(), '{"stop": false}')
    # Python cannot carry a StopIteration out of a coroutine; what matters is that the call ends.
    with pytest.raises(RuntimeError, match="StopIteration"):
        await fails.call(call_context(), '{"stop": true}')


async def abandon(release: threading.Event, ended: list[int]) -> None:
    """Start a plain tool that blocks until ``release``, and cancel the call."""
    started = anyio.Event()

    @tool
    def stuck() -> None:
        from_thread.run_sync(started.set)
        assert release.wait(20)
        ended.append(1)

    async with anyio.create_task_group() as group:
        group.start_soon(stuck.call, call_context(), "{}")
        with anyio.fail_after(10):
            await started.wait()
        group.cancel_scope.cancel()


async def until_none_is_abandoned() -> None:
    # Threads end when they end, and tell nobody.
    with anyio.fail_after(10):
        while threads.abandoned():
            await anyio.sleep(0.005)


async def test_cancelling_leaves_the_thread_and_counts_it(real_clock: None) -> None:
    release, ended = threading.Event(), list[int]()
    try:
        await abandon(release, ended)
        assert threads.abandoned() == 1
        assert ended == []
    finally:
        release.set()
        await until_none_is_abandoned()
    assert ended == [1]


async def test_functions_that_never_end_cost_a_bounded_number_of_threads(real_clock: None) -> None:
    ran: list[int] = []

    @tool
    def one_more() -> None:
        ran.append(1)

    release, ended = threading.Event(), list[int]()
    try:
        for _ in range(THREAD_LIMIT):
            await abandon(release, ended)
        with pytest.raises(ToolError, match="40 earlier calls were cancelled"):
            await one_more.call(call_context(), "{}")
        assert ran == []
    finally:
        release.set()
        await until_none_is_abandoned()
    assert len(ended) == THREAD_LIMIT
    await one_more.call(call_context(), "{}")
    assert ran == [1]


async def test_no_more_than_the_limit_run_at_once(real_clock: None) -> None:
    running, most, lock = 0, 0, threading.Lock()
    release = threading.Event()

    @tool
    def counts() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert release.wait(20)
        with lock:
            running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(THREAD_LIMIT + 5):
            group.start_soon(counts.call, call_context(), "{}")
        try:
            with anyio.fail_after(10):
                while running < THREAD_LIMIT:
                    await anyio.sleep(0.005)
            await anyio.wait_all_tasks_blocked()
            # The user's own threads do not wait for the tools'.
            assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
        finally:
            release.set()
    assert most == THREAD_LIMIT
    assert running == 0


async def test_a_call_cancelled_before_its_thread_began_never_begins() -> None:
    ran: list[int] = []
    run = threads._Run(lambda: ran.append(1))
    run.leave()
    with pytest.raises(ToolError):
        run()
    assert (ran, threads.abandoned()) == ([], 0)


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
