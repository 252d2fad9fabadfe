"""Who speaks: instructions, a model, a voice and tools."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeAlias

from attrs import field, frozen

from kernl_rt.abc import RealtimeModel
from kernl_rt.config import SessionConfig, ToolDefinition, Voice
from kernl_rt.context import Context
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.tool import Tool, Toolkit

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

__all__ = ["Instructions", "RealtimeAgent"]

T_contra = TypeVar("T_contra", contravariant=True, default=Any)

#: Text, or a function of the context that gives it, plain or ``async def``.
Instructions: TypeAlias = str | Callable[[Context[T_contra]], str | Awaitable[str]]


@frozen(init=False)
class RealtimeAgent(Generic[T_contra]):
    """An agent: what it is told, the model it runs on, its voice and its tools. Holds no state of a session.

    Generic over the type of the user's own object in the :class:`~kernl_rt.context.Context`, which the tools and the
    instructions ask for. ``config`` is everything else that can be said about a session; what is said twice, here and
    there, is refused.
    """

    id: str
    name: str
    instructions: Instructions[T_contra] = field(repr=False)
    model: RealtimeModel | None
    voice: Voice | None
    toolkits: tuple[Toolkit[T_contra], ...]
    config: SessionConfig | None
    #: Every tool, by name.
    tools: Mapping[str, Tool[T_contra]] = field(init=False, repr=False, eq=False)

    def __init__(
        self,
        *,
        id: str,
        name: str,
        instructions: Instructions[T_contra],
        model: RealtimeModel | None = None,
        voice: Voice | str | None = None,
        toolkits: Iterable[Toolkit[T_contra]] = (),
        config: SessionConfig | None = None,
    ) -> None:
        """
        Raises:
            MisconfiguredError: names what is empty, of the wrong type, or said twice.
        """
        kits = tuple(toolkits)
        voice = Voice(voice) if isinstance(voice, str) else voice
        _check_text("id", id)
        _check_text("name", name)
        if not isinstance(instructions, str) and not callable(instructions):
            raise MisconfiguredError("an agent's instructions must be text, or a function of the context that gives it")
        _check_config(config, voice)
        tools = _collect(kits, config)
        object.__setattr__(self, "tools", tools)
        self.__attrs_init__(id, name, instructions, model, voice, kits, config)  # pyright: ignore[reportAttributeAccessIssue]

    async def resolve_instructions(self, context: Context[T_contra]) -> str:
        """The instructions for one session. A plain function is called in the event loop: it must not block.

        Raises:
            MisconfiguredError: the function gave no text.
            Exception: whatever the function raises, as it is.
        """
        if isinstance(self.instructions, str):
            return self.instructions
        given = self.instructions(context)
        text: object = await given if inspect.isawaitable(given) else given
        if not isinstance(text, str):
            raise MisconfiguredError(f"agent {self.id!r}: its instructions gave a {type(text).__name__}, not text")
        return text

    def session_config(self, instructions: str) -> SessionConfig:
        """The whole configuration of a session: ``config``, with the instructions, the voice and the tools."""
        config = self.config or SessionConfig()
        own: list[ToolDefinition] = [each.definition for each in self.tools.values()]
        tools = (*(config.tools or ()), *own) if own else None
        return config.merged(SessionConfig(instructions=instructions, voice=self.voice, tools=tools))


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise MisconfiguredError(f"an agent's {what} must be text, not {value!r}")


def _check_config(config: SessionConfig | None, voice: Voice | None) -> None:
    if voice is not None and not isinstance(voice, Voice):
        raise MisconfiguredError(f"an agent's voice must be a Voice or its name, not a {type(voice).__name__}")
    if voice is not None and not voice.id.strip():
        raise MisconfiguredError("an agent's voice has an empty name: leave it out for the provider's default")
    if config is None:
        return
    if not isinstance(config, SessionConfig):
        raise MisconfiguredError(f"an agent's config must be a SessionConfig, not a {type(config).__name__}")
    if config.instructions is not None:
        raise MisconfiguredError("instructions are given twice: leave them out of config, the agent has its own")
    if voice is not None and config.voice is not None:
        raise MisconfiguredError("the voice is given twice: leave it out of config, or out of the agent")


def _collect(toolkits: tuple[Toolkit[T_contra], ...], config: SessionConfig | None) -> Mapping[str, Tool[T_contra]]:
    tools: dict[str, Tool[T_contra]] = {}
    owners = {each.name: "config" for each in (config and config.tools) or () if isinstance(each, ToolDefinition)}
    seen: set[str] = set()
    for kit in toolkits:
        if not isinstance(kit, Toolkit):
            raise MisconfiguredError(
                f"toolkits holds a {type(kit).__name__}: put tools into one, Toolkit(id='home', tools=[…])"
            )
        if kit.id in seen:
            raise MisconfiguredError(f"two toolkits have the id {kit.id!r}: rename one")
        seen.add(kit.id)
        for each in kit.tools:
            if each.name in owners:
                raise MisconfiguredError(
                    f"two tools are named {each.name!r}, in {owners[each.name]} and in toolkit {kit.id!r}: rename one"
                )
            owners[each.name] = f"toolkit {kit.id!r}"
            tools[each.name] = each
    return MappingProxyType(tools)
