"""Whether a value is what its annotations say, down to the last number."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

import attrs

__all__ = ["Malformed", "check_well_formed"]

_Check: TypeAlias = Callable[[Any, str], None]

#: The integers that every JSON peer can hold (RFC 8259 section 6). Beyond them, sums stop being exact.
_LIMIT = 2**53 - 1
#: Python itself writes no integer of more decimal digits (``sys.set_int_max_str_digits``).
_MOST_BITS = 14_280
#: Past this, recursion over a value (repr, JSON, comparing) may exhaust the stack of whoever is deep in calls already.
_DEEPEST = 150


class Malformed(AssertionError):
    """A value is not what its class says. ``path`` is where."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


def check_well_formed(value: object) -> None:
    """Check an attrs value against its annotations, recursively: what a codec returns for hostile input must pass.

    Numbers must be finite, whole numbers within ±(2⁵³ - 1), and a ``bool`` is no number. A ``Literal`` holds one of its
    words. What is annotated as ``Any`` or as a mapping (``extra``, raw frames) must be plain JSON: finite, not nested
    without end, and free of lone surrogates, so that it can be logged, kept and sent again.

    Raises:
        Malformed: an ``AssertionError`` that says where.
        TypeError: ``value`` is no attrs value, or an annotation is of a kind that cannot be checked.
    """
    if not attrs.has(type(value)):
        raise TypeError(f"a {type(value).__name__} is no attrs value")
    _class_check(type(value))(value, type(value).__name__)


def _class_check(cls: type[Any]) -> _Check:
    known = _CLASSES.get(cls)
    if known is None:
        known = _CLASSES[cls] = _made_check(cls)
    return known


_CLASSES: dict[type[Any], _Check] = {}


def _made_check(cls: type[Any]) -> _Check:
    attrs.resolve_types(cls)
    checks = [(field.name, _check_of(field.type)) for field in attrs.fields(cls)]

    def check(value: Any, path: str) -> None:
        if type(value) is not cls:
            raise Malformed(path, f"a {type(value).__name__}, not a {cls.__name__}")
        for name, inner in checks:
            inner(getattr(value, name), f"{path}.{name}")

    return check


def _check_of(annotation: Any) -> _Check:
    plain = _PLAIN.get(annotation)
    if plain is not None:
        return plain
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin in (Mapping, Sequence, tuple, list, dict):
        return _mapping(arguments) if origin in (Mapping, dict) else _sequence(arguments[0])
    if isinstance(annotation, type) and attrs.has(annotation):
        # Late: classes may hold each other.
        return lambda value, path: _class_check(annotation)(value, path)
    if isinstance(annotation, type):
        return _instance(annotation)
    raise TypeError(f"annotations of this kind cannot be checked: {annotation!r}")


def _literal(words: tuple[Any, ...]) -> _Check:
    def check(value: Any, path: str) -> None:
        if not any(type(value) is type(word) and value == word for word in words):
            raise Malformed(path, f"{_short(value)} is none of {words}")

    return check


def _union(members: tuple[Any, ...]) -> _Check:
    checks = [_check_of(member) for member in members if member is not type(None)]
    optional = len(checks) < len(members)

    def check(value: Any, path: str) -> None:
        if value is None and optional:
            return
        first: Malformed | None = None
        for inner in checks:
            try:
                return inner(value, path)
            except Malformed as malformed:
                # The one that came furthest knows best what is wrong.
                if first is None or len(malformed.path) > len(first.path):
                    first = malformed
        raise first or Malformed(path, _short(value))

    return check


def _sequence(item: Any) -> _Check:
    inner = _check_of(item)

    def check(value: Any, path: str) -> None:
        if type(value) not in (tuple, list):
            raise Malformed(path, f"a {type(value).__name__} is no sequence")
        for index, element in enumerate(value):
            inner(element, f"{path}[{index}]")

    return check


def _mapping(arguments: tuple[Any, ...]) -> _Check:
    inner = _check_of(arguments[1])

    def check(value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise Malformed(path, f"a {type(value).__name__} is no mapping")
        for key, element in value.items():
            _text(key, path)
            inner(element, path)

    return check


def _instance(cls: type) -> _Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, cls):
            raise Malformed(path, f"a {type(value).__name__}, not a {cls.__name__}")

    return check


def _text(value: Any, path: str) -> None:
    if type(value) is not str:
        raise Malformed(path, f"a {type(value).__name__} is no text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Malformed(path, "the text holds a lone surrogate") from None


def _whole(value: Any, path: str) -> None:
    if type(value) is not int:
        raise Malformed(path, f"a {type(value).__name__} is no whole number")
    if not -_LIMIT <= value <= _LIMIT:
        raise Malformed(path, "the number is out of range")


def _number(value: Any, path: str) -> None:
    if type(value) is int:
        _whole(value, path)
    elif type(value) is not float or not math.isfinite(value):
        raise Malformed(path, f"{_short(value)} is no finite number")
    elif not -_LIMIT <= value <= _LIMIT:
        raise Malformed(path, "the number is out of range")


def _exactly(cls: type) -> _Check:
    def check(value: Any, path: str) -> None:
        if type(value) is not cls:
            raise Malformed(path, f"a {type(value).__name__}, not {cls.__name__}")

    return check


def _json(value: Any, path: str) -> None:
    """JSON as it was read, level by level: it may be nested deeper than Python recurses."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, Mapping):
                for key in each:
                    _text(key, path)
                inner.extend(each.values())
            elif type(each) in (list, tuple):
                inner.extend(each)
            elif attrs.has(type(each)):
                _class_check(type(each))(each, path)
            else:
                _scalar(each, path)
        if not inner:
            return
        level = inner
    raise Malformed(path, f"nested deeper than {_DEEPEST} levels")


def _scalar(value: Any, path: str) -> None:
    if type(value) is str:
        _text(value, path)
    elif type(value) is float:
        if not math.isfinite(value):
            raise Malformed(path, f"{value} is no JSON number")
    elif type(value) is int:
        if value.bit_length() > _MOST_BITS:
            raise Malformed(path, "an integer that Python does not write")
    elif value is not None and type(value) is not bool:
        raise Malformed(path, f"a {type(value).__name__} is not plain JSON")


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, float, int, bool, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"


_PLAIN: Mapping[Any, _Check] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: _exactly(bool),
    bytes: _exactly(bytes),
    Any: _json,
    type(None): _exactly(type(None)),
}
