"""One JSON value → one Python value that is not a container, and the words for what does not fit."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin
from uuid import UUID

import msgspec

Hook: TypeAlias = Callable[[Any, Any], Any]

LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Collection)
SETS = (set, frozenset, abc.Set, abc.MutableSet)
DICTS = (dict, abc.Mapping, abc.MutableMapping)
#: What JSON writes as text, and how the text looks.
TEXTUAL: dict[Any, str] = {
    bytes: "base64 text",
    bytearray: "base64 text",
    datetime: "a date and time such as '2026-01-31T09:30:00Z'",
    date: "a date such as '2026-01-31'",
    time: "a time such as '09:30:00'",
    timedelta: "an ISO 8601 duration such as 'PT1H30M'",
    UUID: "a UUID",
    Decimal: "a decimal number as text, such as '9.95'",
}
#: Above this, a float no longer names one integer.
_EXACT = 2**53


class Misfit(Exception):
    """A value that does not fit its type: a list of ``(path, what is wrong)``."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__(problems)
        self.problems = problems

    @classmethod
    def expected(cls, what: str, value: object) -> Misfit:
        return cls([("", f"must be {what}, got {_kind(value)}")])

    def under(self, step: str) -> Misfit:
        """The same, seen from one level further out."""
        return Misfit([(step + path, problem) for path, problem in self.problems])


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def origin_of(kind: Any) -> Any:
    return get_origin(kind) or kind


def is_namedtuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def read_str(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    raise Misfit.expected("a string", value)


def read_int(value: Any, _: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        raise Misfit([("", "must be an integer, got a number that is not one")])
    raise Misfit.expected("an integer", value)


def read_float(value: Any, _: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Misfit([("", "is out of range")]) from None
    raise Misfit.expected("a number", value)


def read_bool(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Misfit.expected("true or false", value)


def read_null(value: Any, _: Any) -> None:
    if value is not None:
        raise Misfit.expected("null", value)


def read_textual(value: Any, kind: Any) -> Any:
    if not isinstance(value, str):
        raise Misfit.expected(TEXTUAL[kind], value)
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        raise Misfit([("", f"must be {TEXTUAL[kind]}")]) from None


def lenient(hook: Hook) -> Hook:
    def read(value: Any, kind: Any) -> Any:
        if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        if kind in (int, float, bool) and isinstance(value, str):
            try:
                value = msgspec.json.decode(value.strip().lower())
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                raise Misfit.expected(noun(kind), value) from None
        return hook(value, kind)

    return read


def or_enum(hook: Hook) -> Hook:
    def structure(value: Any, kind: Any) -> Any:
        return read_enum(value, kind) if issubclass(kind, Enum) else hook(value, kind)

    return structure


def _choices(values: Iterable[Any]) -> str:
    shown = [repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode() for value in values]
    return "one of " + ", ".join(shown) if len(shown) > 1 else shown[0]


def _pick(value: Any, choices: Sequence[tuple[Any, Any]]) -> Any:
    # Compared with their types: Python holds True, 1 and 1.0 for equal, JSON does not hold true and 1 for equal.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    for written, meant in choices:
        if type(value) is type(written) and value == written:
            return meant
    raise Misfit([("", f"must be {_choices([written for written, _ in choices])}")])


def read_enum(value: Any, kind: type[Enum]) -> Any:
    return _pick(value, _enum_choices(kind))


def _enum_choices(kind: type[Enum]) -> list[tuple[Any, Any]]:
    # ``.value`` of an IntEnum or StrEnum member is plain; aliases name the same member and are not listed.
    return [(member.value, member) for member in kind]


def read_literal(value: Any, kind: Any) -> Any:
    return _pick(value, [(choice.value if isinstance(choice, Enum) else choice, choice) for choice in get_args(kind)])


def noun(kind: Any) -> str:
    """What a type asks for, in JSON's words."""
    origin = origin_of(kind)
    plain = {str: "a string", int: "an integer", float: "a number", bool: "true or false", type(None): "null"}
    if origin is Annotated:
        return noun(get_args(kind)[0])
    if origin is Literal:
        return _choices(each.value if isinstance(each, Enum) else each for each in get_args(kind))
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _choices(written for written, _ in _enum_choices(origin))
    if origin in plain:
        return plain[origin]
    if origin in TEXTUAL:
        return TEXTUAL[origin]
    is_array = origin in (*LISTS, *SETS, tuple) or is_namedtuple(origin)
    return "an array" if is_array else "an object"
