"""What the serving side sees of a client, and what it may answer instead of a WebSocket."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import parse_qsl

from attrs import field, frozen

from kernl_rt.abc import MessageStream

__all__ = ["Handler", "ProcessRequest", "Reply", "Request", "refusal"]


def _frozen(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(mapping))


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names)


@frozen
class Request:
    """One HTTP request: the WebSocket upgrade, or a plain one.

    ``path`` comes without the query; ``query`` holds the last value of each key; names in ``headers`` are lower-case
    and values of a repeated one are joined by a comma. ``headers`` and ``query`` may hold credentials, so the repr
    shows neither. ``upgrade`` is true for a WebSocket upgrade; ``body`` is empty there.
    """

    path: str
    query: Mapping[str, str] = field(factory=dict, converter=_frozen, repr=False)
    headers: Mapping[str, str] = field(factory=dict, converter=_frozen, repr=False)
    subprotocols: Sequence[str] = field(default=(), converter=_names, repr=False)
    method: str = "GET"
    body: bytes = field(default=b"", repr=False)
    upgrade: bool = True

    @classmethod
    def from_target(
        cls, target: str, headers: Mapping[str, str], *, method: str = "GET", body: bytes = b"", upgrade: bool = True
    ) -> Request:
        """Take a request line's target apart."""
        path, _, query = target.partition("?")
        offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
        return cls(
            path or "/",
            dict(parse_qsl(query, keep_blank_values=True)),
            headers,
            tuple(name for name in offered if name),
            method,
            body,
            upgrade,
        )


@frozen
class Reply:
    """An HTTP answer. For an upgrade request it is a refusal."""

    status: int = 200
    headers: Mapping[str, str] = field(factory=dict, converter=_frozen, repr=False)
    body: bytes = field(default=b"", repr=False)


#: Serves one client. Returning closes the link with 1000, an exception with 1011.
Handler: TypeAlias = Callable[[MessageStream, Request], Awaitable[None]]
#: Looks at a request before it is upgraded. ``None`` lets an upgrade pass, and is 404 for any other request.
ProcessRequest: TypeAlias = Callable[[Request], "Awaitable[Reply | None] | Reply | None"]


async def refusal(hook: ProcessRequest | None, request: Request) -> Reply | None:
    """What ``hook`` says to ``request``; it may be a coroutine function or a plain one."""
    answer = None if hook is None else hook(request)
    if inspect.isawaitable(answer):
        return await answer
    return answer
