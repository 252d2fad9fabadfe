"""A JSON object → an attrs class, a dataclass, a TypedDict, a msgspec Struct or a pydantic model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NotRequired, Required, get_args, get_origin, get_type_hints

import attrs
import msgspec

from kernl_rt._tool.scalars import Hook, Misfit, origin_of

if TYPE_CHECKING:
    from cattrs import Converter

# cattrs is imported where it is used: a program without tools need not wait for it.


def is_class(kind: Any) -> bool:
    origin = origin_of(kind)
    if not isinstance(origin, type) or is_pydantic(kind):
        return False
    return attrs.has(origin) or dataclasses.is_dataclass(origin)


def class_factory(kind: Any, converter: Converter) -> Hook:
    from cattrs import ClassValidationError

    make = converter.gen_structure_attrs_fromdict(kind)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit.expected("an object", value)
        try:
            return make(value, kind)
        except ClassValidationError as group:
            raise Misfit([problem for exc in group.exceptions for problem in _problems(exc)]) from None

    return structure


def typeddict_factory(kind: Any, converter: Converter) -> Hook:
    # Not cattrs' own: under ``from __future__ import annotations`` it takes a NotRequired key for a required one.
    required: set[str] = set(kind.__required_keys__)
    fields: dict[str, tuple[Any, Hook]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marker: Any = get_origin(hint)
        if marker is NotRequired:
            required.discard(name)
        elif marker is Required:
            required.add(name)
        inner = get_args(hint)[0] if marker in (NotRequired, Required) else hint
        fields[name] = inner, converter.get_structure_hook(inner)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit.expected("an object", value)
        problems = [(f".{name}", "is missing") for name in fields if name in required and name not in value]
        done: dict[str, Any] = {}
        for name, (inner, hook) in fields.items():
            try:
                if name in value:
                    done[name] = hook(value[name], inner)
            except Misfit as misfit:
                problems += misfit.under(f".{name}").problems
        if converter.forbid_extra_keys:
            problems += _unknown(value.keys() - fields.keys())
        if problems:
            raise Misfit(problems)
        return done

    return structure


def _unknown(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(f".{name[:40]}", "is unknown") for name in sorted(names)[:5]]


def _problems(exc: Exception) -> list[tuple[str, str]]:
    from cattrs import AttributeValidationNote, ForbiddenExtraKeysError

    notes = getattr(exc, "__notes__", ())
    name = next((note.name for note in notes if isinstance(note, AttributeValidationNote)), None)
    path = "" if name is None else f".{name}"
    match exc:
        case Misfit():
            return list(exc.under(path).problems)
        case ForbiddenExtraKeysError():
            return _unknown(exc.extra_fields)
        case KeyError() if name is not None and exc.args == (name,):
            return [(path, "is missing")]
        case _:
            return [(path, f"was refused: {_first_words(exc)}")]


def _first_words(exc: Exception) -> str:
    # attrs' validators put the message first and the attribute, its type and the value (the payload) after it.
    words = exc.args[0] if exc.args and isinstance(exc.args[0], str) else type(exc).__name__
    return words[:200]


def read_struct(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as exc:
        raise Misfit([("", f"was refused: {exc}"[:200])]) from None


def is_pydantic(kind: Any) -> bool:
    """Whether ``kind`` is a pydantic model, told by what it can do: pydantic is never imported."""
    return isinstance(kind, type) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate")


def read_pydantic(value: Any, kind: Any) -> Any:
    try:
        return kind.model_validate(value)
    except Exception as exc:
        if not hasattr(exc, "errors"):
            raise Misfit([("", f"was refused: {_first_words(exc)}")]) from None
        refused: Any = exc
        details: list[Mapping[str, Any]] = refused.errors(include_url=False, include_context=False, include_input=False)
        raise Misfit([(_steps(each["loc"]), f"was refused: {each['msg'][:200]}") for each in details[:5]]) from None


def _steps(location: Iterable[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step[:40]}" for step in location)
