"""How an option is refused, and what every dialect asks of single values and of tools.

Each takes the option's name as the user wrote it, and raises :class:`~kernl_rt.exceptions.MisconfiguredError` with that
name, the value and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from kernl_rt.config import McpServer, ToolDefinition
from kernl_rt.exceptions import MisconfiguredError

__all__ = [
    "a_flag",
    "a_kind",
    "a_number",
    "a_text",
    "a_whole_number",
    "a_word",
    "an_object",
    "check_tool_choice",
    "check_tools",
    "only",
    "refuse",
]

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def refuse(option: str, value: object, fix: str) -> MisconfiguredError:
    shown = repr(value)
    return MisconfiguredError(f"{option}={shown if len(shown) <= 80 else shown[:77] + '...'} is invalid: {fix}")


def a_number(option: str, value: Any, low: float, high: float) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if value is not None and not good:
        raise refuse(option, value, f"use a number from {low:g} to {high:g}")


def a_whole_number(option: str, value: Any, low: int, unit: str = "milliseconds") -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= 2**31 - 1
    if value is not None and not good:
        raise refuse(option, value, f"use a whole number of {unit}, at least {low}")


def a_text(option: str, value: Any, *, required: bool = False) -> None:
    if not (isinstance(value, str) or value is None) or (required and not value):
        raise refuse(option, value, "use a text" + (" that is not empty" if required else ""))


def a_flag(option: str, value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise refuse(option, value, "use True or False")


def a_word(option: str, value: Any, words: Collection[str]) -> None:
    if value is not None and not (isinstance(value, str) and value in words):
        raise refuse(option, value, "use " + " or ".join(repr(word) for word in words))


def an_object(option: str, value: Any) -> None:
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise refuse(option, value, "use a mapping with texts as keys")
    if value is not None:
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            if not isinstance(error, UnicodeEncodeError):
                raise refuse(option, type(value).__name__, "a value in it is not JSON") from None


def a_kind(option: str, value: Any, kind: type) -> bool:
    """Whether there is a value; refuses one of another type."""
    if value is not None and not isinstance(value, kind):
        raise refuse(option, value, f"use a {kind.__name__}")
    return value is not None


def only(option: str, owner: object, names: str, why: str) -> None:
    for name in names.split():
        if (value := getattr(owner, name)) is not None:
            raise refuse(f"{option}.{name}", value, why)


# -- tools ------------------------------------------------------------------------------------------------------------


def check_tools(tools: Any) -> None:
    names: set[str] = set()
    for index, tool in enumerate(tools or ()):
        where = f"tools[{index}]"
        if isinstance(tool, ToolDefinition):
            _function(where, tool)
            name = tool.name
        elif isinstance(tool, McpServer):
            _mcp(where, tool)
            name = f"mcp server {tool.label}"
        else:
            raise refuse(where, tool, "use a ToolDefinition or an McpServer")
        if name in names:
            raise refuse(where, name, "two tools have this name; rename one")
        names.add(name)


def _function(where: str, tool: Any) -> None:
    if not isinstance(tool.name, str) or not _TOOL_NAME.fullmatch(tool.name):
        raise refuse(f"{where}.name", tool.name, "use 1 to 64 of a-z, A-Z, 0-9, _ and -")
    a_text(f"{where}.description", tool.description)
    an_object(f"{where}.parameters", tool.parameters)
    if tool.parameters and tool.parameters.get("type") != "object":
        raise refuse(f"{where}.parameters", dict(tool.parameters), "use the JSON schema of an object")


def _mcp(where: str, server: Any) -> None:
    a_text(f"{where}.label", server.label, required=True)
    for name in ("url", "connector_id", "tunnel_id", "description"):
        a_text(f"{where}.{name}", getattr(server, name))
    if not (server.url or server.connector_id or server.tunnel_id):
        raise refuse(f"{where}.url", server.url, "say where the server is: url, connector_id or tunnel_id")
    if server.headers is not None and not all(isinstance(value, str) for value in server.headers.values()):
        raise refuse(f"{where}.headers", "…", "use texts")
    for caller in server.allowed_callers or ():
        a_word(f"{where}.allowed_callers", caller, ("direct", "programmatic"))
    if not isinstance(server.require_approval, Mapping):
        a_word(f"{where}.require_approval", server.require_approval, ("always", "never"))
    allowed = server.allowed_tools
    if isinstance(allowed, str):
        raise refuse(f"{where}.allowed_tools", allowed, "use a list of names")
    a_flag(f"{where}.defer_loading", server.defer_loading)


def check_tool_choice(choice: Any, tools: Any) -> None:
    a_word("tool_choice", choice.mode, ("auto", "none", "required", "function", "mcp"))
    if choice.mode == "function":
        a_text("tool_choice.name", choice.name, required=True)
        only("tool_choice", choice, "server_label", "only 'mcp' takes it")
        functions = [tool.name for tool in tools or () if isinstance(tool, ToolDefinition)]
        if tools is not None and choice.name not in functions:
            raise refuse("tool_choice.name", choice.name, f"use one of the tools: {functions}")
    elif choice.mode == "mcp":
        a_text("tool_choice.server_label", choice.server_label, required=True)
        a_text("tool_choice.name", choice.name)
    else:
        only("tool_choice", choice, "name server_label", f"{choice.mode!r} takes no name; use 'function' or 'mcp'")
