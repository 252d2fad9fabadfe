"""A function's signature as the model sees it: names, descriptions, a JSON schema, and the reading of arguments.

The schema comes from msgspec, which knows attrs classes, dataclasses, TypedDict, NamedTuple, enums, Literal, unions and
the standard library's dates; the reading of arguments from :mod:`kernl_rt._tool.arguments`. Both look at the same
annotations.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import msgspec
from attrs import field, frozen

from kernl_rt._tool.arguments import MAX_DEPTH, decode, structurer
from kernl_rt._tool.classes import is_pydantic
from kernl_rt._tool.docstring import read_docstring
from kernl_rt._tool.scalars import Misfit
from kernl_rt.context import Context, ToolContext
from kernl_rt.exceptions import MisconfiguredError, ToolArgumentsError

__all__ = ["Signature", "read_parameters"]

Json: TypeAlias = dict[str, Any]

_LONGEST_COMPLAINT = 1_000


@frozen(eq=False)
class _Parameter:
    name: str
    kind: Any
    required: bool
    default: Any
    structure: Callable[[Any, Any], Any]


@frozen(eq=False)
class Signature:
    """What can be called with what. ``schema`` is a self-contained JSON schema of an object."""

    parameters: Mapping[str, _Parameter]
    takes_context: bool
    strict: bool
    description: str
    schema: Json = field(repr=False)

    @classmethod
    def of(cls, function: Callable[..., Any], *, name: str, strict: bool = True, skip_self: bool = False) -> Signature:
        """Read ``function``.

        Raises:
            MisconfiguredError: names the parameter that a model cannot fill, and the fix.
        """
        declared, takes_context = _declared(function, name, skip_self)
        summary, described = read_docstring(inspect.getdoc(_target(function)) or "")
        parameters = {
            each.name: _Parameter(
                each.name, each.annotation, each.default is each.empty, each.default, _hook(each, name, strict)
            )
            for each in declared
        }
        schema = _object_schema(list(parameters.values()), described, name)
        return cls(parameters, takes_context, strict, summary, schema)

    def structure(self, arguments: str) -> dict[str, Any]:
        """Keyword arguments from the model's JSON text; parameters that it left out are left out.

        Raises:
            ToolArgumentsError: says what to change, in words for the model, without the payload.
        """
        try:
            return self._structure(decode(arguments))
        except Misfit as misfit:
            problems = "; ".join(f"the arguments {problem}" for _, problem in misfit.problems)
        except RecursionError:
            problems = f"the arguments are nested deeper than {MAX_DEPTH} levels"
        raise ToolArgumentsError(problems[:_LONGEST_COMPLAINT])

    def _structure(self, given: Json) -> dict[str, Any]:
        done: dict[str, Any] = {}
        problems = [f"argument '{each}' is missing" for each in self.parameters if self._is_missing(each, given)]
        for name, value in given.items():
            parameter = self.parameters.get(name)
            if parameter is None:
                continue
            try:
                done[name] = parameter.structure(value, parameter.kind)
            except Misfit as misfit:
                problems += [f"argument '{name}{path}' {problem}" for path, problem in misfit.problems]
        unknown = [name for name in given if name not in self.parameters] if self.strict else []
        if unknown:
            known = ", ".join(self.parameters) or "none"
            problems += [f"unknown argument {name[:40]!r}" for name in unknown[:5]] + [f"the arguments are: {known}"]
        if problems:
            text = "; ".join(problems)
            raise ToolArgumentsError(text[:_LONGEST_COMPLAINT])
        return done

    def _is_missing(self, name: str, given: Json) -> bool:
        return self.parameters[name].required and name not in given


def _target(function: Callable[..., Any]) -> Any:
    """The function that was written, under partials, bound methods, wrappers and callable objects."""
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    if not (inspect.isroutine(target) or inspect.isclass(target)):
        target = type(target).__call__
    return getattr(target, "__func__", target)


def read_parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    if sys.version_info >= (3, 14):
        # Annotations are evaluated late there: what cannot be resolved must not fail before it is asked for.
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF).parameters
    return inspect.signature(function).parameters


def _annotations(target: Any) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(target, format=Format.FORWARDREF)
    return inspect.get_annotations(target)


def _declared(function: Callable[..., Any], tool: str, skip_self: bool) -> tuple[list[inspect.Parameter], bool]:
    """The parameters that the model fills, with their annotations resolved, and whether a context comes first."""
    hints = _hints(function, tool)
    bound = function.keywords if isinstance(function, functools.partial) else {}
    parameters = list(read_parameters(function).values())[1 if skip_self else 0 :]
    takes_context = bool(parameters) and _is_context(hints.get(parameters[0].name))
    declared = []
    for parameter in parameters[1 if takes_context else 0 :]:
        if parameter.name in bound:
            continue  # fixed by the partial: not the model's business
        if trouble := _trouble(parameter, hints):
            raise MisconfiguredError(f"tool {tool!r}: parameter {parameter.name!r} {trouble}")
        declared.append(parameter.replace(annotation=hints[parameter.name]))
    return declared, takes_context


def _hints(function: Callable[..., Any], tool: str) -> dict[str, Any]:
    target = _target(function)
    annotations = {name: kind for name, kind in _annotations(target).items() if name != "return"}

    def holder() -> None: ...

    # Only the parameters are resolved: what a function returns may be known to the type checker alone.
    holder.__annotations__ = annotations
    generics = {each.__name__: each for each in getattr(target, "__type_params__", ())}
    try:
        return get_type_hints(holder, getattr(target, "__globals__", {}), generics, include_extras=True)
    except NameError as exc:
        raise MisconfiguredError(
            f"tool {tool!r}: an annotation cannot be resolved ({exc}); define or import the type at the top of the "
            "module, not inside a function or under TYPE_CHECKING"
        ) from None


def _is_context(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (Context, ToolContext)


def _trouble(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> str | None:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return "takes any number of values: a model cannot fill it; use one parameter of type list"
    if parameter.kind is parameter.VAR_KEYWORD:
        return "takes any keyword: a model cannot fill it; name each parameter, or use one of type dict"
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return "is positional-only: models give arguments by name; remove the '/'"
    if parameter.name not in hints:
        return f"has no annotation: write its type, as in '{parameter.name}: str'"
    if _is_context(hints[parameter.name]):
        return "is a context but not the first parameter: move it to the front"
    return None


def _hook(parameter: inspect.Parameter, tool: str, strict: bool) -> Callable[[Any, Any], Any]:
    try:
        return structurer(strict).get_structure_hook(parameter.annotation)
    except Exception as exc:
        # cattrs, attrs and typing have no common root for "this annotation makes no sense".
        raise _unsupported(parameter.name, parameter.annotation, tool, exc) from exc


def _unsupported(name: str, kind: Any, tool: str, exc: Exception) -> MisconfiguredError:
    shown = kind.__name__ if isinstance(kind, type) else str(kind)
    return MisconfiguredError(
        f"tool {tool!r}: parameter {name!r} has the type {shown}, which cannot be described to a model "
        f"({' '.join(str(exc).split())}); use str, int, float, bool, list, dict, Literal, an enum, an attrs class, "
        "a dataclass, a TypedDict or a pydantic model"
    )


# -- schema ----------------------------------------------------------------------------------------------------------


def _object_schema(parameters: Sequence[_Parameter], described: Mapping[str, str], tool: str) -> Json:
    for each in parameters:
        try:
            _components([each.kind])
        except Exception as exc:
            # As above: TypeError, RecursionError, and whatever a model's own schema raises.
            raise _unsupported(each.name, each.kind, tool, exc) from exc
    schemas, definitions = _components([each.kind for each in parameters])
    properties: Json = {}
    for each, schema in zip(parameters, schemas, strict=True):
        description = _annotated_description(each.kind) or schema.get("description") or described.get(each.name)
        known = {"description": description} if description else {}
        properties[each.name] = {**schema, **known, **_default(each)}
    whole: Json = {"type": "object", "properties": properties}
    if required := [each.name for each in parameters if each.required]:
        whole["required"] = required
    whole["additionalProperties"] = False
    if definitions:
        whole["$defs"] = definitions
    try:
        plain: Json = json.loads(json.dumps(whole, allow_nan=False))
    except ValueError as exc:
        raise MisconfiguredError(f"tool {tool!r}: its schema cannot be written as JSON: {exc}") from exc
    return plain


def _components(kinds: Sequence[Any]) -> tuple[list[Json], Json]:
    foreign: Json = {}

    def schema_hook(kind: Any) -> Json:
        if not is_pydantic(kind):
            raise NotImplementedError
        schema: Json = kind.model_json_schema(ref_template=f"#/$defs/{kind.__name__}.{{model}}")
        # Its definitions move to the root, under a name of their own, so that the references hold there.
        for name, definition in schema.pop("$defs", {}).items():
            foreign[f"{kind.__name__}.{name}"] = definition
        return schema

    schemas: Sequence[Json]
    definitions: Json
    schemas, definitions = msgspec.json.schema_components(kinds, schema_hook=schema_hook, ref_template="#/$defs/{name}")
    definitions = {name: _closed(definition) for name, definition in definitions.items()}
    # Not msgspec's: whether a pydantic model allows more keys is its own decision.
    return [_typed(schema) for schema in schemas], {**definitions, **foreign}


def _closed(definition: Json) -> Json:
    """A class takes no more keys than it has: the structuring refuses them, so the schema says it."""
    if "properties" in definition:
        definition = {"additionalProperties": False, **definition}
    done: Json = _typed(definition)
    return done


def _typed(schema: Any) -> Any:
    """Give every enumeration of one kind its ``type``, which some providers ask for."""
    if isinstance(schema, list):
        return [_typed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    done = {key: value if key in ("default", "enum") else _typed(value) for key, value in schema.items()}
    kinds = {type(choice) for choice in schema["enum"]} if isinstance(schema.get("enum"), list) else set()
    if len(kinds) == 1 and "type" not in schema:
        names = {str: "string", int: "integer", bool: "boolean", type(None): "null"}
        done["type"] = names[kinds.pop()]
    return done


def _annotated_description(kind: Any) -> str | None:
    """``Annotated[str, "description"]``, and anything with a ``description`` (msgspec.Meta, pydantic.Field)."""
    if get_origin(kind) is not Annotated:
        return None
    found = [each if isinstance(each, str) else getattr(each, "description", None) for each in get_args(kind)[1:]]
    return next((each for each in reversed(found) if isinstance(each, str) and each), None)


def _default(parameter: _Parameter) -> Json:
    """The default value, where JSON can write it and the type accepts what was written; else nothing is said."""
    if parameter.required:
        return {}
    try:
        written = msgspec.to_builtins(parameter.default, str_keys=True)
        written = json.loads(json.dumps(written, allow_nan=False))
        parameter.structure(written, parameter.kind)
    except (TypeError, ValueError, RecursionError, Misfit):
        return {}
    return {"default": written}
