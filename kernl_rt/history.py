"""A conversation as text, to keep it and to go on with it in another session.

::

    text = dump_history(session.history)
    ...
    async with RealtimeSession(agent, history=load_history(text)) as session: ...

The text is JSON with a version. Every item comes back as it was, sound included (as base64); anything that is not such
a text is refused, and the message says where.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args, get_origin

import pybase64
from cattrs import Converter, ForbiddenExtraKeysError, transform_error
from cattrs.strategies import configure_tagged_union

from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.items import ConversationItem

__all__ = ["VERSION", "dump_history", "load_history"]

#: The version that is written. Older ones stay readable.
VERSION = 1
_FORMAT = "kernl_rt.history"
#: Levels of lists and objects. What is nested deeper cannot be sent, and no provider says such a thing.
_DEEPEST = 128
#: Characters of a text that was not ours that an error repeats.
_QUOTED = 200


class _Misfit(TypeError):
    """A value of another type than said."""


def _exactly(kind: type) -> Any:
    """cattrs would turn 1 into "1"; what was damaged must not pass."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise _Misfit(f"expected {_WORDS[kind]}, not {_WORDS.get(type(value), type(value).__name__)}")
        return value

    return structure


_WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _bytes(value: Any, _: Any) -> bytes:
    if type(value) is not str:
        raise _Misfit(f"expected base64 text, not {_WORDS.get(type(value), type(value).__name__)}")
    try:
        return pybase64.b64decode(value.encode("ascii"), validate=True)
    except ValueError:
        raise _Misfit("expected base64 text") from None


def _mapping(value: Any, _: Any) -> Mapping[str, Any]:
    return MappingProxyType(_exactly(dict)(value, dict))


def _plain(value: Any) -> Any:
    """A mapping from the wire as JSON's own types."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, omit_if_default=True)
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(bytes, _bytes)
    converter.register_unstructure_hook(bytes, lambda value: pybase64.b64encode(value).decode("ascii"))

    def sequence(value: Any, kind: Any) -> Any:
        each: Any = get_args(kind)[0]
        many: Any = tuple[each, ...]
        return converter.structure(_exactly(list)(value, kind), many)

    def is_sequence(kind: Any) -> bool:
        return get_origin(kind) is Sequence

    def tag(kind: Any) -> str:
        return str(kind.type)

    converter.register_structure_hook_func(is_sequence, sequence)
    converter.register_structure_hook_func(lambda kind: kind == Mapping[str, Any], _mapping)
    converter.register_unstructure_hook_func(lambda kind: kind == Mapping[str, Any], _plain)
    configure_tagged_union(ConversationItem, converter, tag_generator=tag, tag_name="type")
    return converter


_CONVERTER = _converter()
_ITEMS: Any = tuple[ConversationItem, ...]


def dump_history(items: Iterable[ConversationItem]) -> str:
    """The items as JSON text.

    Raises:
        MisconfiguredError: something that is no item, or holds what JSON cannot.
    """
    given = tuple(items)
    for item in given:
        if not isinstance(item, get_args(ConversationItem)):
            raise MisconfiguredError(f"a history is made of items, not of a {type(item).__name__}")
    try:
        written = [_CONVERTER.unstructure(item, ConversationItem) for item in given]
        return json.dumps({"format": _FORMAT, "version": VERSION, "items": written}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise MisconfiguredError(f"this history cannot be written as JSON: {exc}") from exc


def load_history(text: str | bytes) -> tuple[ConversationItem, ...]:
    """The items of a text that :func:`dump_history` has made.

    Raises:
        MisconfiguredError: the text is damaged, or something else altogether; or a newer version has written it.
    """
    try:
        said = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        raise MisconfiguredError(f"this is no history: it is not JSON: {_clipped(str(exc))}") from None
    if not isinstance(said, dict) or said.get("format") != _FORMAT:
        raise MisconfiguredError(f"this is no history: it does not say {_FORMAT!r}; use what dump_history() gave")
    version = said.get("version")
    if type(version) is not int or version < 1:
        raise MisconfiguredError(f"this history is damaged: its version is {_clipped(repr(version))}")
    if version > VERSION:
        raise MisconfiguredError(
            f"this history has version {_clipped(str(version))}, this kernl_rt reads up to {VERSION}: update kernl_rt"
        )
    if not isinstance(said.get("items"), list) or set(said) != {"format", "version", "items"}:
        raise MisconfiguredError("this history is damaged: it has no list of items, or something else beside it")
    if _is_deep(said):
        raise MisconfiguredError(f"this history is damaged: it is nested deeper than {_DEEPEST} levels")
    try:
        items: tuple[ConversationItem, ...] = _CONVERTER.structure(said["items"], _ITEMS)
    except Exception as exc:
        # cattrs raises groups of whatever its hooks raise; nothing else runs in here.
        raise MisconfiguredError(f"this history is damaged: {_where(exc)}") from None
    return items


def _finite(text: str) -> float:
    """A number with a point or an exponent, or one of Python's own words, which JSON does not have."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{_clipped(text)} is no number that JSON has")
    return number


def _is_deep(said: Any) -> bool:
    level = [said]
    for _ in range(_DEEPEST):
        held = [each.values() if isinstance(each, dict) else each for each in level]
        level = [child for children in held for child in children if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _clipped(text: str) -> str:
    """What may stand in a message: short, and text that can be written anywhere."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"


def _where(exc: Exception) -> str:
    """The first fault, with its place."""
    first = _clipped(transform_error(exc, path="items", format_exception=_words)[0])
    return first.replace("items[", "item [", 1)


def _words(exc: BaseException, kind: type | None) -> str:
    if isinstance(exc, ForbiddenExtraKeysError):
        return f"unknown {', '.join(sorted(exc.extra_fields))}"
    if isinstance(exc, KeyError):
        return f"no {exc.args[0]}, or an unknown kind"
    return str(exc)
