"""A model's arguments: JSON text → Python values of the annotated types.

cattrs does the structuring, with its lax conversions replaced: a JSON value has to be of the kind that the schema
asks for. ``"5"`` is no integer and 5 no string; an integer is accepted for a number, and a whole number written ``5.0``
for an integer (JSON has one number type, and JSON Schema calls 5.0 an integer). What does not fit is a
:class:`~kernl_rt._tool.scalars.Misfit`, in words that a model can act on and without the payload.
"""

from __future__ import annotations

import types
from collections import abc
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, time
from enum import Enum
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec

from kernl_rt._tool.classes import class_factory, is_class, is_pydantic, read_pydantic, read_struct, typeddict_factory
from kernl_rt._tool.scalars import (
    DICTS,
    LISTS,
    SETS,
    TEXTUAL,
    Hook,
    Misfit,
    is_namedtuple,
    lenient,
    noun,
    or_enum,
    origin_of,
    read_bool,
    read_enum,
    read_float,
    read_int,
    read_literal,
    read_null,
    read_str,
    read_textual,
)

if TYPE_CHECKING:
    from cattrs import Converter

#: JSON nested deeper than this is refused: no signature needs it, and recursion over it would exhaust the stack.
MAX_DEPTH = 64


def decode(text: str) -> dict[str, Any]:
    """The JSON object in ``text``; blank text is an empty one (models send it for a function without parameters).

    Raises:
        Misfit: the text is no JSON, no object, nested too deep, or holds a number that is out of range.
        RecursionError: nested so deep that it cannot be read at all.
    """
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except UnicodeError:
        raise Misfit([("", "are not JSON: they hold text that is not valid Unicode")]) from None
    except msgspec.MsgspecError as exc:
        raise Misfit([("", f"are not JSON: {exc}")]) from None
    if not isinstance(value, dict):
        raise Misfit.expected("one JSON object", value)
    _check_depth(value)
    return value


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            children = each.values() if isinstance(each, dict) else each
            inner.extend(child for child in children if isinstance(child, (dict, list)))
        if not inner:
            return
        level = inner
    raise Misfit([("", f"are nested deeper than {MAX_DEPTH} levels")])


@lru_cache(maxsize=2)
def structurer(strict: bool = True) -> Converter:
    """The converter: ``get_structure_hook(type)(value, type)`` gives the value or raises :class:`Misfit`.

    Not ``strict``: unknown keys are dropped, and text that plainly writes a number or a boolean is read as one.
    """
    # Not at the top: a program without tools need not wait for it to be imported.
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=strict, detailed_validation=True)
    scalars: dict[Any, Hook] = {str: read_str, int: read_int, float: read_float, bool: read_bool}
    for kind in (*scalars, *TEXTUAL):
        hook = scalars.get(kind, read_textual)
        # Subclasses come here too, by cattrs' single dispatch: of those, only enums pass the schema.
        converter.register_structure_hook(kind, or_enum(hook if strict else lenient(hook)))
    converter.register_structure_hook_func(lambda t: t is type(None), read_null)
    converter.register_structure_hook_func(lambda t: isinstance(t, type) and issubclass(t, Enum), read_enum)
    converter.register_structure_hook_func(_is_literal, read_literal)
    converter.register_structure_hook_factory(lambda t: origin_of(t) in LISTS, _list_factory)
    converter.register_structure_hook_factory(lambda t: origin_of(t) in SETS, _set_factory)
    converter.register_structure_hook_factory(lambda t: origin_of(t) is tuple, _tuple_factory)
    converter.register_structure_hook_factory(lambda t: origin_of(t) in DICTS, _dict_factory)
    converter.register_structure_hook_factory(is_class, class_factory)
    converter.register_structure_hook_factory(is_typeddict, typeddict_factory)
    converter.register_structure_hook_factory(is_namedtuple, _namedtuple_factory)
    converter.register_structure_hook_factory(_is_union, _union_factory)
    converter.register_structure_hook_factory(_is_annotated, _annotated_factory)
    converter.register_structure_hook_func(lambda t: isinstance(t, type) and issubclass(t, msgspec.Struct), read_struct)
    converter.register_structure_hook_func(is_pydantic, read_pydantic)
    return converter


def _each(items: Sequence[Any], kinds: Iterable[Any], hooks: Iterable[Hook]) -> list[Any]:
    """Stops at the first misfit: a hostile array must not make one exception per element."""
    done: list[Any] = []
    for index, (item, kind, hook) in enumerate(zip(items, kinds, hooks, strict=False)):
        try:
            done.append(hook(item, kind))
        except Misfit as misfit:
            raise misfit.under(f"[{index}]") from None
    return done


def _homogeneous(kind: Any, converter: Converter) -> Callable[[Any], list[Any]]:
    inner = (get_args(kind) or (Any,))[0]
    hook = converter.get_structure_hook(inner)

    def structure(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Misfit.expected("an array", value)
        return _each(value, _repeat(inner), _repeat(hook))

    return structure


def _repeat(value: Any) -> Iterable[Any]:
    while True:
        yield value


def _list_factory(kind: Any, converter: Converter) -> Hook:
    items = _homogeneous(kind, converter)
    return lambda value, _: items(value)


def _set_factory(kind: Any, converter: Converter) -> Hook:
    items = _homogeneous(kind, converter)
    make: Callable[[list[Any]], Any] = frozenset if origin_of(kind) in (frozenset, abc.Set) else set

    def structure(value: Any, _: Any) -> Any:
        done = items(value)
        try:
            return make(done)
        except TypeError:
            raise Misfit([("", "must hold values that can be compared, not arrays or objects")]) from None

    return structure


def _tuple_factory(kind: Any, converter: Converter) -> Hook:
    members = get_args(kind)
    if (not members and kind is tuple) or (len(members) == 2 and members[1] is Ellipsis):
        items = _homogeneous(kind, converter)
        return lambda value, _: tuple(items(value))
    return _fixed(members, len(members), converter, tuple)


def _namedtuple_factory(kind: Any, converter: Converter) -> Hook:
    hints = get_type_hints(kind, include_extras=True)
    members = tuple(hints.get(name, Any) for name in kind._fields)
    return _fixed(members, len(members) - len(kind._field_defaults), converter, lambda items: kind(*items))


def _fixed(members: Sequence[Any], least: int, converter: Converter, make: Callable[[list[Any]], Any]) -> Hook:
    hooks = [converter.get_structure_hook(member) for member in members]

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise Misfit.expected("an array", value)
        if not least <= len(value) <= len(members):
            wanted = str(least) if least == len(members) else f"{least} to {len(members)}"
            raise Misfit([("", f"must be an array of {wanted} values, got {len(value)}")])
        return make(_each(value, members, hooks))

    return structure


def _dict_factory(kind: Any, converter: Converter) -> Hook:
    key_kind, inner = get_args(kind) or (str, Any)
    hook = converter.get_structure_hook(inner)
    read_key = _key_reader(key_kind)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit.expected("an object", value)
        done: dict[Any, Any] = {}
        for key, item in value.items():
            try:
                done[read_key(key)] = hook(item, inner)
            except Misfit as misfit:
                raise misfit.under(f".{key[:40]}") from None
        return done

    return structure


def _key_reader(kind: Any) -> Callable[[str], Any]:
    if kind in (str, Any):
        return lambda key: key
    wanted = dict[kind, None]

    def read(key: str) -> Any:
        # JSON writes every key as text: msgspec reads numbers, dates and enums from it.
        try:
            (done,) = msgspec.convert({key: None}, wanted, str_keys=True)
        except msgspec.ValidationError:
            raise Misfit([("", f"is a key that must be {noun(kind)}")]) from None
        return done

    return read


def _is_literal(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Literal


def _is_union(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Union or origin is types.UnionType


def _is_annotated(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Annotated


def _union_factory(kind: Any, converter: Converter) -> Hook:
    members = [type(None) if member is None else member for member in get_args(kind)]
    hooks = [(member, converter.get_structure_hook(member)) for member in members]
    if not converter.forbid_extra_keys:
        # Lenient: what fits one member as it is must not be read as another ("5" for ``int | str``).
        hooks = [(member, structurer().get_structure_hook(member)) for member in members] + hooks
    solid = [member for member in members if member is not type(None)]

    def structure(value: Any, _: Any) -> Any:
        misfits: list[Misfit] = []
        for member, hook in hooks:
            try:
                return hook(value, member)
            except Misfit as misfit:
                misfits.append(misfit)
        inner = [misfit for misfit in misfits if any(path for path, _ in misfit.problems)]
        if inner:
            raise inner[0]
        if len(solid) == 1 and value is not None:
            raise misfits[members.index(solid[0])]
        raise Misfit.expected(" or ".join(noun(member) for member in members), value)

    return structure


def _annotated_factory(kind: Any, converter: Converter) -> Hook:
    base, *metadata = get_args(kind)
    hook = converter.get_structure_hook(base)
    limits = tuple(each for each in metadata if isinstance(each, msgspec.Meta))
    if not limits:
        return lambda value, _: hook(value, base)

    def structure(value: Any, _: Any) -> Any:
        done = hook(value, base)
        scalar = isinstance(done, (str, int, float, bytes, datetime, time))
        _check_limits(done if scalar else value, limits)
        return done

    return structure


def _check_limits(value: Any, limits: tuple[msgspec.Meta, ...]) -> None:
    limited: Any = type(value)
    for limit in limits:
        limited = Annotated[limited, limit]
    try:
        msgspec.convert(value, limited, strict=True)
    except msgspec.ValidationError as exc:
        raise Misfit([("", "must be " + str(exc).removeprefix("Expected ").replace("`", "")[:200])]) from None
