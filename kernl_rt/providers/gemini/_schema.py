"""A JSON schema in the words of Google's ``Schema``, which is a part of OpenAPI 3.0.

What it has no word for is left out: the model then knows less of the parameter, and the tool's own checks still hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_parameters"]

_KEPT = ("title", "description", "format", "pattern", "minimum", "maximum", "minItems", "maxItems")
_ALSO_KEPT = ("minLength", "maxLength", "minProperties", "maxProperties")
#: Deeper levels of a schema that refers to itself are objects of any kind.
_DEEPEST = 12


def as_parameters(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parameters of a function, ``None`` where it takes none: an object without properties is refused."""
    if not schema.get("properties"):
        return None
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    return _convert(schema, definitions, 0)


def _convert(schema: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        return {}  # ``true``: anything goes
    if depth > _DEEPEST:
        return {"type": "OBJECT"}
    if isinstance(reference := schema.get("$ref"), str):
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _convert({**_resolved(reference, definitions), **beside}, definitions, depth + 1)
    out = {key: schema[key] for key in (*_KEPT, *_ALSO_KEPT) if schema.get(key) is not None}
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    choices = [each for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
    if "null" in kinds or any(isinstance(each, Mapping) and each.get("type") == "null" for each in choices):
        out["nullable"] = True
    kinds = [kind for kind in kinds if kind != "null"]
    choices = [each for each in choices if not (isinstance(each, Mapping) and each.get("type") == "null")]
    if len(kinds) > 1:
        choices += [{"type": kind} for kind in kinds]
    elif kinds:
        out["type"] = kinds[0].upper()
    if len(choices) == 1:
        return {**_convert(choices[0], definitions, depth + 1), **out}
    if choices:
        out["anyOf"] = [_convert(each, definitions, depth + 1) for each in choices]
    merged = _all_of(schema, definitions, depth)
    _add_words(schema, out)
    _add_children(schema, out, definitions, depth)
    return {**merged, **out}


def _all_of(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for each in schema.get("allOf", ()):
        merged.update(_convert(each, definitions, depth + 1))
    return merged


def _resolved(reference: str, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    found = definitions.get(reference.rpartition("/")[2])
    return found if isinstance(found, Mapping) else {"type": "object"}


def _add_words(schema: Mapping[str, Any], out: dict[str, Any]) -> None:
    """Enumerations are of texts only; others are told in the description."""
    allowed = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
    if not isinstance(allowed, (list, tuple)):
        return
    if None in allowed:
        out["nullable"] = True
    words = [each for each in allowed if each is not None]
    if all(isinstance(each, str) for each in words):
        out.setdefault("type", "STRING")
        out["enum"] = words
    else:
        told = f"One of: {', '.join(str(each) for each in words)}."
        out["description"] = f"{out['description']} {told}" if "description" in out else told


def _add_children(schema: Mapping[str, Any], out: dict[str, Any], definitions: Mapping[str, Any], depth: int) -> None:
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties:
        out["type"] = "OBJECT"
        out["properties"] = {name: _convert(each, definitions, depth + 1) for name, each in properties.items()}
        required = [name for name in schema.get("required", ()) if name in properties]
        if required:
            out["required"] = required
    items = schema.get("items")
    if items is None and schema.get("prefixItems"):
        items = {"anyOf": list(schema["prefixItems"])}
    if out.get("type") == "ARRAY":
        out["items"] = _convert(items or {"type": "string"}, definitions, depth + 1)
