"""Contexts: what is bound, what is refused outside a session, and the session as a worker thread sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import anyio
import pytest
from anyio import from_thread, to_thread

from kernl_rt.agent import RealtimeAgent
from kernl_rt.context import Context, SessionHandle, ToolContext
from kernl_rt.exceptions import SessionStateError
from kernl_rt.items import ConversationItem, Message

pytestmark = pytest.mark.anyio

AGENT: RealtimeAgent[Any] = RealtimeAgent(id="watson", name="Watson", instructions="Be concise.")


class FakeSession:
    """Notes every verb, with the thread it ran in."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()

    def note(self, *what: Any) -> object:
        self.said.append(what)
        self.threads.add(threading.get_ident())
        return what[0]

    @property
    def id(self) -> str | None:
        self.note("id")
        return "sess_1"

    @property
    def history(self) -> Sequence[ConversationItem]:
        self.note("history")
        return [Message(role="user")]

    @property
    def muted(self) -> bool:
        self.note("muted")
        return True

    def send_message(self, text: str, /) -> object:
        return self.note("send_message", text)

    def interrupt(self) -> object:
        return self.note("interrupt")

    def mute(self) -> object:
        return self.note("mute")

    def unmute(self) -> object:
        return self.note("unmute")

    def emit(self, name: str, data: Any = None, /) -> object:
        return self.note("emit", name, data)

    def close(self) -> object:
        return self.note("close")

    def hang_up(self, *, after_playout: bool = True, timeout: float = 30.0) -> object:
        return self.note("hang_up", after_playout, timeout)

    def update_agent(self, agent: RealtimeAgent[Any], /) -> object:
        return self.note("update_agent", agent)

    async def handoff(self, agent: RealtimeAgent[Any] | Callable[[], RealtimeAgent[Any]], /) -> RealtimeAgent[Any]:
        self.note("handoff", agent)
        return agent if isinstance(agent, RealtimeAgent) else agent()

    def approve(self, call_id: str, *, always: bool = False) -> object:
        return self.note("approve", call_id, always)

    def reject(self, call_id: str, reason: str | None = None) -> object:
        return self.note("reject", call_id, reason)


class Tenant(Context[str]):
    """A user's own kind of context."""

    def __init__(self, context: str, shop: int) -> None:
        super().__init__(context)
        self.shop = shop


async def test_of_keeps_a_context_and_wraps_anything_else() -> None:
    context = Context("Ann")
    assert Context.of(context) is context
    assert Context.of("Ann").context == "Ann"
    assert Context.of(None).context is None
    assert Context().context is None


@pytest.mark.parametrize("name", ["session", "agent", "history"])
async def test_outside_a_session_there_is_none(name: str) -> None:
    for context in (Context("Ann"), ToolContext("Ann", call_id="c", tool_name="t")):
        with pytest.raises(SessionStateError, match="no running session"):
            getattr(context, name)


async def test_binding_makes_a_copy_so_that_one_object_serves_two_sessions() -> None:
    shared = Tenant("Ann", 7)
    first, second = FakeSession(), FakeSession()
    one, two = shared.bind(first, AGENT), shared.bind(second, AGENT)
    assert one.session is first
    assert two.session is second
    assert one.agent is AGENT
    assert isinstance(one, Tenant)
    assert one.shop == 7
    with pytest.raises(SessionStateError):
        _ = shared.session


async def test_a_calls_context_belongs_to_the_same_session() -> None:
    session = FakeSession()
    call = Context("Ann").bind(session, AGENT).for_call("call_1", "weather")
    assert (call.context, call.call_id, call.tool_name) == ("Ann", "call_1", "weather")
    assert call.session is session
    assert call.agent is AGENT
    assert call.history == [Message(role="user")]


async def test_repr_does_not_show_the_users_object() -> None:
    bound = Context("secret").bind(FakeSession(), AGENT)
    assert repr(Context("secret")) == "Context(<str>)"
    assert repr(bound) == "Context(<str>, in a session)"
    assert repr(bound.for_call("c", "t")) == "ToolContext(<str>, in a session)"


async def test_in_a_thread_every_verb_runs_in_the_sessions_thread(real_clock: None) -> None:
    session = FakeSession()
    call = Context(None).bind(session, AGENT).for_call("call_1", "t")

    def work(call: ToolContext[None]) -> list[object]:
        s = call.session
        assert threading.get_ident() != home
        return [
            s.id,
            s.muted,
            call.history,
            s.send_message("hi"),
            s.interrupt(),
            s.mute(),
            s.unmute(),
            s.emit("x", 1),
            s.close(),
        ]

    home = threading.get_ident()
    with call.in_thread() as threaded:
        results = await to_thread.run_sync(work, threaded)
    verbs = ["send_message", "interrupt", "mute", "unmute", "emit", "close"]
    assert results == ["sess_1", True, (Message(role="user"),), *verbs]
    assert [said[0] for said in session.said] == ["id", "muted", "history", *verbs]
    assert ("emit", "x", 1) in session.said
    assert session.threads == {home}


async def test_in_a_thread_the_verbs_errors_reach_the_tool(real_clock: None) -> None:
    class Closed(FakeSession):
        def send_message(self, text: str, /) -> object:
            raise SessionStateError("the session is closed")

    call = Context(None).bind(Closed(), AGENT).for_call("call_1", "t")
    with call.in_thread() as threaded, pytest.raises(SessionStateError, match="closed"):
        await to_thread.run_sync(lambda: threaded.session.send_message("hi"))


async def test_in_a_thread_without_a_session_there_is_still_none() -> None:
    with (
        ToolContext("Ann", call_id="c", tool_name="t").in_thread() as threaded,
        pytest.raises(SessionStateError, match="no running session"),
    ):
        _ = threaded.session


async def test_an_abandoned_thread_can_no_longer_touch_the_session(real_clock: None) -> None:
    session = FakeSession()
    call = Context(None).bind(session, AGENT).for_call("call_1", "t")
    cancelled, ended = threading.Event(), threading.Event()
    outcome: list[BaseException] = []
    started = anyio.Event()

    def work(threaded: ToolContext[None]) -> None:
        from_thread.run_sync(started.set)
        assert cancelled.wait(10)
        try:
            threaded.session.send_message("hi")
        except BaseException as exc:
            outcome.append(exc)
        finally:
            ended.set()

    async def run() -> None:
        with call.in_thread() as threaded:
            await to_thread.run_sync(work, threaded, abandon_on_cancel=True)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await started.wait()
        group.cancel_scope.cancel()
    cancelled.set()
    assert await to_thread.run_sync(ended.wait, 10)
    assert session.said == []
    assert [type(exc) for exc in outcome] == [SessionStateError]
    assert "cancelled" in str(outcome[0])


def test_the_fake_is_what_the_protocol_asks_for() -> None:
    handle: SessionHandle = FakeSession()
    verbs = {name for name in vars(SessionHandle) if not name.startswith("_")}
    assert verbs == {"id", "history", "muted", "send_message", "interrupt", "mute", "unmute", "emit", "close"} | {
        "hang_up",
        "update_agent",
        "handoff",
        "approve",
        "reject",
    }
    assert all(hasattr(cast("Any", type(handle)), verb) for verb in verbs)
