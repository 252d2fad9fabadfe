"""A small language to say what a request may hold, and the refusal when it holds something else.

It is deliberately not kernl_rt's own codec: the simulator judges what a client sends from an independent reading of
the protocol. Codes and wording follow the provider's validator as far as sightings of it are public
(``unknown_parameter``, ``missing_required_parameter``, ``invalid_type``, ``invalid_value``,
``integer_below_min_value``, ``decimal_above_max_value``, ``string_above_max_length``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen

__all__ = [
    "ANY",
    "BOOL",
    "MAPPING",
    "TEXT",
    "Check",
    "Refusal",
    "choice",
    "either",
    "integer",
    "is_text",
    "list_of",
    "missing",
    "nullable",
    "number",
    "record",
    "string",
    "string_map",
    "tagged",
]


@frozen
class Refusal(Exception):
    """A request that is refused: the ``error`` object of the frame that says so, less the ids."""

    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"


#: Looks at a value found at a path (``"session.audio"``); raises :class:`Refusal` when it may not stand there.
Check: TypeAlias = Callable[[Any, str], None]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a decimal"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def _wrong_type(path: str, expected: str, value: Any) -> Refusal:
    return Refusal(
        f"Invalid type for '{path}': expected {expected}, but got {_kind(value)} instead.", "invalid_type", path
    )


def missing(path: str) -> Refusal:
    return Refusal(f"Missing required parameter: '{path}'.", "missing_required_parameter", path)


def _listed(options: Sequence[str]) -> str:
    quoted = [f"'{option}'" for option in options]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f", and {quoted[-1]}"


def _unsupported(value: Any, options: Sequence[str], path: str) -> Refusal:
    return Refusal(f"Invalid value: '{value}'. Supported values are: {_listed(options)}.", "invalid_value", path)


def is_text(value: Any) -> bool:
    """For :func:`either`."""
    return isinstance(value, str)


def ANY(value: Any, path: str) -> None:
    """Whatever it is."""


def MAPPING(value: Any, path: str) -> None:
    """An object of any kind."""
    if not isinstance(value, dict):
        raise Refusal(f"Invalid type for '{path}': expected an object.", "invalid_type", path)


def BOOL(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise _wrong_type(path, "a boolean", value)


def string(*, longest: int | None = None, pattern: str | None = None) -> Check:
    compiled = None if pattern is None else re.compile(pattern)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _wrong_type(path, "a string", value)
        if longest is not None and len(value) > longest:
            raise Refusal(
                f"Invalid '{path}': string too long. Expected a string with maximum length {longest}, "
                f"but got a string with length {len(value)} instead.",
                "string_above_max_length",
                path,
            )
        if compiled is not None and compiled.fullmatch(value) is None:
            raise Refusal(
                f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern "
                f"'^{pattern}$'.",
                "invalid_value",
                path,
            )

    return check


TEXT = string()


def _range(value: Any, low: Any, high: Any, path: str, kind: str) -> None:
    if low is not None and value < low:
        raise Refusal(
            f"Invalid '{path}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            f"{kind}_below_min_value",
            path,
        )
    if high is not None and value > high:
        raise Refusal(
            f"Invalid '{path}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            f"{kind}_above_max_value",
            path,
        )


def integer(low: int | None = None, high: int | None = None) -> Check:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(path, "an integer", value)
        _range(value, low, high, path, "integer")

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise _wrong_type(path, "a decimal", value)
        _range(value, low, high, path, "decimal")

    return check


def choice(*options: str) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _wrong_type(path, f"one of {_listed(options)}", value)
        if value not in options:
            raise _unsupported(value, options, path)

    return check


def nullable(inner: Check) -> Check:
    def check(value: Any, path: str) -> None:
        if value is not None:
            inner(value, path)

    return check


def either(pick: Callable[[Any], bool], yes: Check, no: Check) -> Check:
    """``yes`` where ``pick`` says so, ``no`` elsewhere."""

    def check(value: Any, path: str) -> None:
        (yes if pick(value) else no)(value, path)

    return check


def list_of(inner: Check, longest: int | None = None) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong_type(path, "an array", value)
        if longest is not None and len(value) > longest:
            raise Refusal(
                f"Invalid '{path}': array too long. Expected an array with maximum length {longest}, "
                f"but got an array with length {len(value)} instead.",
                "array_above_max_length",
                path,
            )
        for index, element in enumerate(value):
            inner(element, f"{path}[{index}]")

    return check


def string_map(longest: int = 16) -> Check:
    """String keys (64 characters at most) to strings (512 at most): ``metadata``."""
    text = string(longest=512)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        if len(value) > longest:
            raise Refusal(
                f"Invalid '{path}': too many properties. Expected an object with at most {longest} properties, "
                f"but got an object with {len(value)} properties instead.",
                "object_above_max_properties",
                path,
            )
        for key, element in value.items():
            string(longest=64)(key, path)
            text(element, f"{path}.{key}")

    return check


@frozen
class record:
    """An object with these fields and no others; those in ``required`` must be there."""

    fields: Mapping[str, Check]
    required: Sequence[str] = field(default=())

    def __call__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        dot = f"{path}." if path else ""
        for name in self.required:
            if name not in value:
                raise missing(dot + name)
        for name, element in value.items():
            check = self.fields.get(name)
            if check is None:
                raise Refusal(f"Unknown parameter: '{dot}{name}'.", "unknown_parameter", dot + name)
            check(element, dot + name)


def tagged(key: str, options: Mapping[str, Check]) -> Check:
    """An object whose ``key`` says which of ``options`` it must be."""
    names = tuple(options)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        dot = f"{path}." if path else ""
        if key not in value:
            raise missing(dot + key)
        name = value[key]
        if not isinstance(name, str):
            raise _wrong_type(dot + key, "a string", name)
        if name not in options:
            raise _unsupported(name, names, dot + key)
        options[name](value, path)

    return check
