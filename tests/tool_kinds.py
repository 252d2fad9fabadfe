"""What tools are made of in these tests."""

from __future__ import annotations

import dataclasses
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any

import attrs
import msgspec
import pydantic

from kernl_rt.context import Context, ToolContext
from kernl_rt.tool import Tool, tool


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


@dataclasses.dataclass
class Order:
    article: str
    count: int = 1
    place: Place | None = None


class Struct(msgspec.Struct):
    q: int


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


class Person(pydantic.BaseModel):
    name: str
    address: Address | None = None


def taking(kind: Any, *, strict: bool = True, **more: Any) -> Tool[Any]:
    """A tool with one parameter, ``value``, of ``kind``; it keeps what it was called with in ``seen``."""
    seen: list[Any] = []

    async def keep(value: Any) -> None:
        seen.append(value)

    keep.__annotations__ = {"value": kind}
    keep.__dict__["seen"] = seen
    return tool(strict=strict, **more)(keep)


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
