"""What tools and instructions share: the user's own object, and the session they run in.

A :class:`Context` is made by the user (or from any object, with :meth:`Context.of`) and is bound by the runtime to one
session: binding makes a copy, so one object may serve many sessions at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from anyio import from_thread

from kernl_rt.exceptions import SessionStateError
from kernl_rt.items import ConversationItem

if TYPE_CHECKING:
    from kernl_rt.agent import RealtimeAgent

__all__ = ["Context", "SessionHandle", "ToolContext"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SessionHandle(Protocol):
    """What a tool, or instructions, may do with the running session. ``RealtimeSession`` has all of it.

    No verb waits; what it returns may be awaited where ``RealtimeSession`` says so. A verb that has no meaning now
    raises :class:`~kernl_rt.exceptions.SessionStateError`.
    """

    @property
    def id(self) -> str | None: ...

    @property
    def history(self) -> Sequence[ConversationItem]: ...

    @property
    def muted(self) -> bool: ...

    def send_message(self, text: str, /) -> object: ...

    def interrupt(self) -> object: ...

    def mute(self) -> object: ...

    def unmute(self) -> object: ...

    def emit(self, name: str, data: Any = None, /) -> object: ...

    def close(self) -> object: ...

    def hang_up(self, *, after_playout: bool = True, timeout: float = 30.0) -> object: ...

    def update_agent(self, agent: RealtimeAgent[Any], /) -> object: ...

    async def handoff(self, agent: RealtimeAgent[Any] | Callable[[], RealtimeAgent[Any]], /) -> RealtimeAgent[Any]: ...

    def approve(self, call_id: str, *, always: bool = False) -> object: ...

    def reject(self, call_id: str, reason: str | None = None) -> object: ...


class _ThreadedSession:
    """The session as a worker thread sees it: each verb runs in the event loop's thread, where the session lives.

    It raises what the verb raises, and :class:`SessionStateError` once the call that the thread works for is over: an
    abandoned tool can no longer touch the session.
    """

    __slots__ = ("_session",)

    def __init__(self, session: SessionHandle) -> None:
        self._session: SessionHandle | None = session

    def _live(self) -> SessionHandle:
        # Asked and revoked in the event loop's thread only, so that no lock is needed.
        if self._session is None:
            raise SessionStateError("this tool call is over, it was cancelled: it can no longer use the session")
        return self._session

    def revoke(self) -> None:
        self._session = None

    @property
    def id(self) -> str | None:
        return from_thread.run_sync(lambda: self._live().id)

    @property
    def history(self) -> Sequence[ConversationItem]:
        return from_thread.run_sync(lambda: tuple(self._live().history))

    @property
    def muted(self) -> bool:
        return from_thread.run_sync(lambda: self._live().muted)

    def send_message(self, text: str, /) -> object:
        return from_thread.run_sync(lambda: self._live().send_message(text))

    def interrupt(self) -> object:
        return from_thread.run_sync(lambda: self._live().interrupt())

    def mute(self) -> object:
        return from_thread.run_sync(lambda: self._live().mute())

    def unmute(self) -> object:
        return from_thread.run_sync(lambda: self._live().unmute())

    def emit(self, name: str, data: Any = None, /) -> object:
        return from_thread.run_sync(lambda: self._live().emit(name, data))

    def close(self) -> object:
        return from_thread.run_sync(lambda: self._live().close())

    def hang_up(self, *, after_playout: bool = True, timeout: float = 30.0) -> object:
        return from_thread.run_sync(lambda: self._live().hang_up(after_playout=after_playout, timeout=timeout))

    def update_agent(self, agent: RealtimeAgent[Any], /) -> object:
        return from_thread.run_sync(lambda: self._live().update_agent(agent))

    async def handoff(self, agent: RealtimeAgent[Any] | Callable[[], RealtimeAgent[Any]], /) -> RealtimeAgent[Any]:
        raise SessionStateError("a plain tool cannot await: make it an 'async def', or use update_agent(agent)")

    def approve(self, call_id: str, *, always: bool = False) -> object:
        return from_thread.run_sync(lambda: self._live().approve(call_id, always=always))

    def reject(self, call_id: str, reason: str | None = None) -> object:
        return from_thread.run_sync(lambda: self._live().reject(call_id, reason))


class Context(Generic[T_co]):
    """The user's own object (``context``), with the session and the agent it is used in.

    Annotate a tool's first parameter, or the parameter of an instructions function, with ``Context[YourType]``.
    """

    __slots__ = ("_agent", "_context", "_session")

    @overload
    def __init__(self: Context[None]) -> None: ...

    @overload
    def __init__(self, context: T_co) -> None: ...

    def __init__(self, context: Any = None) -> None:
        self._context: T_co = context
        self._session: SessionHandle | None = None
        self._agent: RealtimeAgent[Any] | None = None

    @overload
    @staticmethod
    def of(value: Context[T]) -> Context[T]: ...

    @overload
    @staticmethod
    def of(value: T) -> Context[T]: ...

    @staticmethod
    def of(value: Any) -> Context[Any]:
        """``value`` itself where it is a context, else a new context that holds it."""
        return value if isinstance(value, Context) else Context(value)

    @property
    def context(self) -> T_co:
        """The user's own object; ``None`` where none was given."""
        return self._context

    @property
    def session(self) -> SessionHandle:
        """The running session. From a plain (threaded) tool its verbs run in the session's own thread.

        Raises:
            SessionStateError: the context is not in use by a session.
        """
        if self._session is None:
            raise SessionStateError("this context belongs to no running session: use context.session only inside one")
        return self._session

    @property
    def agent(self) -> RealtimeAgent[Any]:
        """The agent that the session runs.

        Raises:
            SessionStateError: the context is not in use by a session.
        """
        if self._agent is None:
            raise SessionStateError("this context belongs to no running session: use context.agent only inside one")
        return self._agent

    @property
    def history(self) -> Sequence[ConversationItem]:
        """The conversation so far, as heard.

        Raises:
            SessionStateError: the context is not in use by a session.
        """
        return self.session.history

    def approve(self, call_id: str, *, always: bool = False) -> object:
        """Let a tool call run that waits for consent; see :meth:`RealtimeSession.approve`."""
        return self.session.approve(call_id, always=always)

    def reject(self, call_id: str, reason: str | None = None) -> object:
        """Refuse a tool call that waits for consent; see :meth:`RealtimeSession.reject`."""
        return self.session.reject(call_id, reason)

    def bind(self, session: SessionHandle, agent: RealtimeAgent[Any]) -> Context[T_co]:
        """A copy of this context for one session; the runtime calls it. A subclass and its attributes are kept."""
        bound = copy(self)
        bound._session = session
        bound._agent = agent
        return bound

    def for_call(self, call_id: str, tool_name: str, agent: RealtimeAgent[Any] | None = None) -> ToolContext[T_co]:
        """The context of one tool call, in the same session, with the agent that made it."""
        call = ToolContext(self._context, call_id=call_id, tool_name=tool_name)
        call._session = self._session
        call._agent = agent or self._agent
        return call

    def __repr__(self) -> str:
        # Only the type: the user's object may hold what must not be logged.
        bound = "" if self._session is None else ", in a session"
        return f"{type(self).__name__}(<{type(self._context).__name__}>{bound})"


class ToolContext(Context[T_co]):
    """The context of one tool call: ``call_id`` is the provider's id of it, a good idempotency key."""

    __slots__ = ("_call_id", "_tool_name")

    @overload
    def __init__(self: ToolContext[None], *, call_id: str, tool_name: str) -> None: ...

    @overload
    def __init__(self, context: T_co, *, call_id: str, tool_name: str) -> None: ...

    def __init__(self, context: Any = None, *, call_id: str, tool_name: str) -> None:
        super().__init__(context)
        self._call_id = call_id
        self._tool_name = tool_name

    @property
    def call_id(self) -> str:
        return self._call_id

    @property
    def tool_name(self) -> str:
        return self._tool_name

    @contextmanager
    def in_thread(self) -> Iterator[ToolContext[T_co]]:
        """A copy whose session may be used from a worker thread, until the ``with`` block is left."""
        threaded = copy(self)
        if self._session is None:
            yield threaded
            return
        session = _ThreadedSession(self._session)
        threaded._session = session
        try:
            yield threaded
        finally:
            session.revoke()
