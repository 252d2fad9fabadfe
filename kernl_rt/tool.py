"""Tools: functions that the model may call.

``@tool`` reads a function's signature and docstring once, when it is decorated, and refuses there what a model could
not fill. ``async def`` functions run in the session's own task group; plain functions run in a worker thread, at most
40 at once per event loop (:data:`THREAD_LIMIT`), so that a blocking one never stops the sound. A cancelled plain
function cannot be stopped: its thread ends when it does, unheard. While 40 such threads run, further ones are refused.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, Protocol, TypeAlias, cast, get_args, overload

from attrs import evolve, field, frozen

from kernl_rt._tool.output import error_text, output_text
from kernl_rt._tool.schema import Signature, read_parameters
from kernl_rt._tool.threads import LIMIT as THREAD_LIMIT, run_in_thread
from kernl_rt.config import ToolDefinition
from kernl_rt.context import Context, ToolContext
from kernl_rt.exceptions import MisconfiguredError, ToolArgumentsError

if sys.version_info >= (3, 13):
    from typing import ParamSpec, TypeVar
else:
    from typing_extensions import ParamSpec, TypeVar

__all__ = ["THREAD_LIMIT", "Tool", "Toolkit", "error_text", "tool"]

Commit: TypeAlias = Literal["now", "after_heard"]
#: Whether this call needs a human's consent: a function of the call's context and its arguments.
ApprovalPredicate: TypeAlias = Callable[[ToolContext[Any], Mapping[str, Any]], bool | Awaitable[bool]]
OnDone: TypeAlias = Literal["reply", "silent", "when_idle"]
OnInterrupt: TypeAlias = Literal["keep", "cancel"]

#: The user's own type in the context; a tool that takes no context works with any.
T_contra = TypeVar("T_contra", contravariant=True, default=Any)
P = ParamSpec("P", default=...)
R_co = TypeVar("R_co", covariant=True, default=Any)

T = TypeVar("T", default=object)
S = TypeVar("S")
Q = ParamSpec("Q")
R = TypeVar("R")

#: OpenAI: "The name of the function to be called. Must be a-z, A-Z, 0-9, or contain underscores and dashes, with a
#: maximum length of 64." The strictest of the providers.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LEAST_OUTPUT = 128


@frozen(eq=False, kw_only=True)
class Tool(Generic[T_contra, P, R_co]):
    """A function that the model may call. Made by :func:`tool`; calling it calls the function itself, for your tests.

    ``timeout``: seconds that the session lets a call run, ``None`` for no limit. ``max_output``: bytes of UTF-8 that
    the model gets to read of a result. ``strict``: arguments of another type than annotated are refused; else text that
    plainly writes a number or boolean is read as one and unknown arguments are dropped.

    What the session does around a call: ``on_interrupt`` keeps a call running when the human interrupts, or cancels it;
    ``on_done`` asks for a reply to the result, asks when nobody speaks, or asks for none; ``commit`` runs the tool now,
    or only after what the model said before it was heard; ``terminal`` tools end the conversation: they too wait to be
    heard, and no reply to their result is asked for. ``needs_approval`` tools wait for a human's consent
    (``session.approve``), at most ``approval_timeout`` seconds; a function ``(context, arguments)``, plain or
    ``async def``, decides for each call.
    """

    function: Callable[P, R_co]
    name: str
    description: str
    timeout: float | None = 30.0
    max_output: int = 64 * 1024
    on_interrupt: OnInterrupt = "keep"
    on_done: OnDone = "reply"
    commit: Commit = "now"
    terminal: bool = False
    needs_approval: bool | ApprovalPredicate = False
    approval_timeout: float = 60.0
    strict: bool = True
    #: Written in a class body and reached through the class: there is no ``self`` yet.
    is_unbound: bool = field(default=False, repr=False)
    signature: Signature = field(repr=False)

    def __attrs_post_init__(self) -> None:
        _check(self)

    @classmethod
    def of(cls, function: Callable[Q, R], **options: Any) -> Tool[Any, Q, R]:
        """The tool of ``function``, with the options of :func:`tool`."""
        if isinstance(function, staticmethod):
            function = function.__func__
        name = str(options.pop("name", None) or _name(function))
        strict = options.get("strict", True)
        if strict is not True and strict is not False:
            raise MisconfiguredError(f"tool {name!r}: strict={strict!r} must be True or False")
        if not callable(function):
            raise MisconfiguredError(f"{name!r} is a {type(function).__name__}, not a function: a tool is a function")
        if _is_generator(function):
            raise MisconfiguredError(f"tool {name!r} is a generator: return one value instead of yielding")
        is_unbound = _is_method(function)
        signature = Signature.of(function, name=name, strict=strict, skip_self=is_unbound)
        description = options.pop("description", None)
        made: Any = Tool(
            function=function,
            name=name,
            description=signature.description if description is None else description,
            is_unbound=is_unbound,
            signature=signature,
            **options,
        )
        return cast("Tool[Any, Q, R]", made)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Tool[T_contra, P, R_co]: ...

        @overload
        def __get__(
            self: Tool[T_contra, Concatenate[S, Q], R_co], instance: S, owner: type[S] | None = None
        ) -> Tool[T_contra, Q, R_co]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Tool[Any, ..., Any]:
        if instance is None or not self.is_unbound:
            return self
        return evolve(self, function=MethodType(self.function, instance), is_unbound=False)

    @property
    def definition(self) -> ToolDefinition:
        """The tool as the model sees it."""
        return ToolDefinition(name=self.name, description=self.description, parameters=self.signature.schema)

    @property
    def is_async(self) -> bool:
        """Whether it runs in the event loop; else in a worker thread."""
        return _is_async(self.function)

    async def call(self, context: ToolContext[T_contra], arguments: str) -> str:
        """Run the tool with the model's ``arguments`` (JSON text) and return its result as text for the model.

        The time limit is the session's to apply. Cancelling it cancels an ``async def`` function; a plain function is
        left to end in its thread, unheard, and can no longer use ``context.session``.

        Raises:
            ToolArgumentsError: the arguments do not fit; the function was not called.
            ToolError: the result cannot be written as JSON, or too many abandoned threads still run.
            MisconfiguredError: a method that was not taken from an object.
            Exception: whatever the function raises, as it is; :func:`error_text` has it for the model.
        """
        if self.is_unbound:
            raise MisconfiguredError(_unbound(self.name))
        values = self.signature.structure(arguments)
        function = cast("Callable[..., Any]", self.function)
        if self.is_async:
            result = await (function(context, **values) if self.signature.takes_context else function(**values))
        else:
            with context.in_thread() as threaded:
                first = (threaded,) if self.signature.takes_context else ()
                result = await run_in_thread(functools.partial(function, *first, **values))
            if inspect.isawaitable(result):
                # A plain wrapper around an ``async def`` function.
                result = await result
        return output_text(result, self.max_output, tool=self.name)


async def approval_needed(tool: Tool[Any, ..., Any], context: ToolContext[Any], arguments: str) -> bool:
    """Ask the tool's predicate. Arguments that do not fit need no consent: the call is refused anyway."""
    predicate = tool.needs_approval
    if isinstance(predicate, bool):
        return predicate
    try:
        values = tool.signature.structure(arguments)
    except ToolArgumentsError:
        return False
    answer = predicate(context, values)
    return bool(await answer if inspect.isawaitable(answer) else answer)


def _check(tool: Tool[Any, ..., Any]) -> None:
    where = f"tool {tool.name!r}"
    if not _NAME.fullmatch(tool.name):
        raise MisconfiguredError(f"{where}: a name is 1 to 64 letters, digits, '_' or '-'; give one with @tool(name=…)")
    if not _is_text(tool.description):
        raise MisconfiguredError(f"{where}: description must be text")
    if tool.timeout is not None and not (_is_number(tool.timeout) and 0 < tool.timeout < math.inf):
        raise MisconfiguredError(f"{where}: timeout={tool.timeout!r} must be seconds above 0, or None for no limit")
    if not _is_number(tool.max_output) or tool.max_output < _LEAST_OUTPUT:
        raise MisconfiguredError(f"{where}: max_output={tool.max_output!r} must be at least {_LEAST_OUTPUT} bytes")
    words: tuple[tuple[str, Any], ...] = (("on_interrupt", OnInterrupt), ("on_done", OnDone), ("commit", Commit))
    for option, allowed in words:
        if getattr(tool, option) not in get_args(allowed):
            choices = " or ".join(map(repr, get_args(allowed)))
            raise MisconfiguredError(f"{where}: {option}={getattr(tool, option)!r} must be {choices}")
    if not isinstance(tool.terminal, bool):
        raise MisconfiguredError(f"{where}: terminal={tool.terminal!r} must be True or False")
    if not isinstance(tool.needs_approval, bool) and not callable(tool.needs_approval):
        raise MisconfiguredError(
            f"{where}: needs_approval={tool.needs_approval!r} must be True, False or a function (context, arguments)"
        )
    if not (_is_number(tool.approval_timeout) and 0 < tool.approval_timeout < math.inf):
        raise MisconfiguredError(f"{where}: approval_timeout={tool.approval_timeout!r} must be seconds above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _is_generator(function: Any) -> bool:
    return any(check(function) for check in (inspect.isgeneratorfunction, inspect.isasyncgenfunction))


def _is_method(function: Any) -> bool:
    """Whether ``function`` stands in a class body and waits for its ``self``."""
    if not inspect.isfunction(function):
        return False
    outer, _, _ = function.__qualname__.rpartition(".")
    first = next(iter(read_parameters(function).values()), None)
    in_class = bool(outer) and not outer.endswith("<locals>")
    return in_class and first is not None and first.name == "self" and first.annotation is first.empty


def _unbound(name: str) -> str:
    return f"tool {name!r} is a method without its object: take it from one, as in Toolkit(tools=[thing.{name}])"


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[Concatenate[Context[S], Q], R], /) -> _ContextTool[S, Q, R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[ToolContext[S], Q], R], /) -> _CallTool[S, Q, R]: ...

    @overload
    def __call__(self, function: Callable[Q, R], /) -> Tool[object, Q, R]: ...


#: A tool whose function takes a context first, or the context of one call.
_ContextTool: TypeAlias = Tool[S, Concatenate[Context[S], Q], R]
_CallTool: TypeAlias = Tool[S, Concatenate[ToolContext[S], Q], R]


@overload
def tool(function: Callable[Concatenate[Context[S], Q], R], /) -> _ContextTool[S, Q, R]: ...


@overload
def tool(function: Callable[Concatenate[ToolContext[S], Q], R], /) -> _CallTool[S, Q, R]: ...


@overload
def tool(function: Callable[Q, R], /) -> Tool[object, Q, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = 30.0,
    max_output: int = 64 * 1024,
    on_interrupt: OnInterrupt = "keep",
    on_done: OnDone = "reply",
    commit: Commit = "now",
    terminal: bool = False,
    needs_approval: bool | ApprovalPredicate = False,
    approval_timeout: float = 60.0,
    strict: bool = True,
) -> _Decorator: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a tool: ``@tool``, ``@tool(timeout=5)`` or ``tool(function)``. See :class:`Tool` for the options.

    The description is the docstring's first paragraph; parameters are described there too (``Args:`` or ``:param x:``)
    or in the annotation, ``Annotated[str, "a city"]``. A first parameter annotated ``Context`` or ``ToolContext`` is
    filled by the session. Methods are taken from an object, ``Toolkit(tools=[home.lights])``; class methods are wrapped
    from outside, ``tool(Home.lights)``. What a ``functools.partial`` fixes by name is not shown to the model.

    Raises:
        MisconfiguredError: names the parameter or option that is wrong, and the fix.
    """
    if function is None:
        return functools.partial(Tool.of, **options)
    return Tool.of(function, **options)


@frozen(init=False)
class Toolkit(Generic[T_contra]):
    """Tools that belong together, under an ``id``. Plain functions become tools with the default options."""

    id: str
    tools: tuple[Tool[T_contra], ...]

    def __init__(self, *, id: str, tools: Iterable[Tool[T_contra] | Callable[..., Any]] = ()) -> None:
        """
        Raises:
            MisconfiguredError: an empty id, two tools of one name, a method without its object, or no function.
        """
        if not _is_text(id) or not id.strip():
            raise MisconfiguredError(f"a toolkit's id must be text, not {id!r}")
        made: dict[str, Tool[Any]] = {}
        for each in tools:
            one = each if isinstance(each, Tool) else Tool.of(each)
            if one.is_unbound:
                raise MisconfiguredError(_unbound(one.name))
            if one.name in made:
                raise MisconfiguredError(f"toolkit {id!r} has two tools named {one.name!r}: rename one, @tool(name=…)")
            made[one.name] = one
        self.__attrs_init__(id, tuple(made.values()))  # pyright: ignore[reportAttributeAccessIssue]
