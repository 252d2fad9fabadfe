"""Tools: the signature as a schema, and JSON read as arguments; what is refused, and in which words."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import attrs
import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt._tool.arguments import MAX_DEPTH
from kernl_rt.config import ToolDefinition
from kernl_rt.exceptions import ToolArgumentsError
from kernl_rt.tool import Tool, tool
from tests.tool_kinds import Address, Mood, Order, Person, Place, Size, Struct, Unit, call_context, forecast, taking

pytestmark = pytest.mark.anyio


@attrs.define
class Node:
    value: int
    children: list[Node] = attrs.field(factory=list)


@attrs.define
class Checked:
    size: int = attrs.field(validator=attrs.validators.lt(10))


class Options(TypedDict):
    a: int
    b: NotRequired[str]


class Pair(NamedTuple):
    x: int
    y: str = "y"


Nickname = NewType("Nickname", str)


Age = Annotated[int, msgspec.Meta(ge=0, le=150)]


def received(one: Tool[Any], text: str) -> Any:
    return one.signature.structure(text)["value"]


def refused(one: Tool[Any], value: Any) -> str:
    with pytest.raises(ToolArgumentsError) as caught:
        one.signature.structure(json.dumps({"value": value}))
    return str(caught.value)


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
