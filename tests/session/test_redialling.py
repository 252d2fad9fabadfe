"""How often and how soon a lost link is dialled again, and what is not dialled again at all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest
from attrs import evolve

from kernl_rt import tool
from kernl_rt.events import Interrupted, SessionError, SessionUpdate, SessionUpdated, StatusChanged, TextDelta
from kernl_rt.exceptions import (
    AuthenticationError,
    ConfigurationRejected,
    ConnectError,
    ConnectionClosed,
    ConnectRefusedError,
    ConnectTimeout,
    HandshakeError,
    ModelNotFoundError,
    NameResolutionError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    TLSError,
)
from kernl_rt.policy import ReconnectPolicy
from tests.scenarios.calls import audio, created, done, quiet, tool_call, word
from tests.session.links import (
    AT_ONCE,
    back,
    gap,
    lose,
    model_of,
    redialling,
    refused,
    speech_started,
    statuses,
    turn_over,
)

pytestmark = pytest.mark.anyio

LATER = [
    ConnectRefusedError("nobody listens"),
    NameResolutionError("no such host"),
    ConnectTimeout("too slow"),
    HandshakeError("busy", status=503),
    RateLimitedError("slowly"),
    ConnectError("something else"),
]
NEVER = [
    AuthenticationError("wrong key", status=401),
    PermissionDeniedError("not you", status=403),
    ModelNotFoundError("no such model", status=404),
    ConfigurationRejected("no such voice"),
    TLSError("expired"),
    HandshakeError("what?", status=400),
    RateLimitedError("pay first", code="insufficient_quota"),
]


def name_of(error: Exception) -> str:
    return f"{type(error).__name__}-{getattr(error, 'status', None)}-{getattr(error, 'code', None)}"


# -- how often, how soon ----------------------------------------------------------------------------------------------


async def test_it_gives_up_after_the_attempts_of_the_policy() -> None:
    policy = ReconnectPolicy(attempts=4)
    with pytest.raises(ConnectRefusedError) as raised:
        async with redialling(reconnect=policy) as call:
            errors = [refused() for _ in range(4)]
            model_of(call).refuse(*errors)
            call.peer.hang_up(1006)
            await call.session.wait_closed()
    assert raised.value is errors[-1]
    assert statuses(call) == ["connecting", "connected", "reconnecting", "closing", "closed"]
    assert call.seen(StatusChanged)[-1].reason == "gave up after 4 attempts to reconnect: nobody listens"
    assert len(model_of(call).dials) == 5


async def test_each_attempt_waits_within_its_bounds() -> None:
    waits: list[list[float]] = []
    for _ in range(10):
        with pytest.raises(ConnectRefusedError):
            async with redialling(reconnect=ReconnectPolicy(longest=1.5)) as call:
                model_of(call).refuse(*[refused() for _ in range(5)])
                lost_at = anyio.current_time()
                call.peer.hang_up(1006)
                await call.session.wait_closed()
        times = [lost_at, *(dial.at for dial in model_of(call).dials[1:])]
        waits.append([after - before for before, after in pairwise(times)])
    for number, longest in enumerate([0.25, 0.5, 1.0, 1.5, 1.5]):
        column = [each[number] for each in waits]
        assert all(0 <= wait <= longest + 0.02 for wait in column), (number, column)
        assert len(set(column)) > 5, "no jitter"


async def test_a_link_that_never_holds_is_dialled_five_times() -> None:
    with pytest.raises(ConnectionClosed) as raised:
        async with redialling(reconnect=ReconnectPolicy()) as call:
            with anyio.fail_after(300):
                while call.session.status == "connected":
                    await anyio.sleep(1)
                    call.peer.hang_up(1011, "flapping")
                    await quiet()
                    if statuses(call)[-1] == "reconnecting":
                        await back(call)
                await call.session.wait_closed()
    assert raised.value.code == 1011
    assert len(model_of(call).dials) == 6


async def test_a_link_that_has_held_brings_all_attempts_back() -> None:
    async with redialling(reconnect=ReconnectPolicy(attempts=1)) as call:
        for _ in range(8):
            await anyio.sleep(31)
            call.peer.hang_up(1006)
            await quiet()
            await back(call)
        assert call.session.status == "connected"


# -- what is tried again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", LATER, ids=name_of)
async def test_what_may_get_better_is_tried_again(error: Exception) -> None:
    async with redialling() as call:
        model_of(call).refuse(error)
        await lose(call)
        assert len(model_of(call).dials) == 3


async def test_the_server_says_when_to_come_back() -> None:
    async with redialling() as call:
        model_of(call).refuse(RateLimitedError("slowly", retry_after=12.0))
        call.peer.hang_up(1006)
        await quiet()
        await back(call)
        first, second = model_of(call).dials[1:]
        assert second.at - first.at == pytest.approx(12, abs=0.1)


async def test_an_attempt_that_takes_too_long_is_given_up() -> None:
    async with redialling() as call:
        await gap(call)
        await back(call)
        first, second = model_of(call).dials[1:]
        assert second.at - first.at == pytest.approx(10, abs=0.1)


async def answer_the_configuration(call: Any, error: SessionError) -> None:
    """The next link is up, and its provider refuses what it is told first."""
    model_of(call).acknowledge = False
    call.peer.hang_up(1006)
    await anyio.sleep(0.1)
    peer = model_of(call).peer
    (update,) = peer.heard(SessionUpdate)
    model_of(call).acknowledge = True
    peer.say(evolve(error, client_event_id=update.event_id))
    await quiet()


@pytest.mark.parametrize("kind", ["rate_limit_exceeded", "server_error"])
async def test_a_provider_that_is_not_ready_is_tried_again(kind: str) -> None:
    async with redialling() as call:
        await answer_the_configuration(call, SessionError("not now", kind, kind))
        await back(call)
        assert call.session.status == "connected"
        assert len(model_of(call).dials) == 3


async def test_a_provider_that_answers_with_errors_is_not_asked_without_a_pause() -> None:
    async with redialling(reconnect=ReconnectPolicy(first_delay=0, base=2.0)) as call:
        await answer_the_configuration(call, SessionError("not now", "server_error"))
        refused_at = anyio.current_time()
        await back(call)
        assert model_of(call).dials[-1].at - refused_at >= 1.9


@pytest.mark.parametrize("error", NEVER, ids=name_of)
async def test_what_cannot_get_better_is_the_end_at_once(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        async with redialling() as call:
            model_of(call).refuse(error)
            call.peer.hang_up(1006)
            await call.session.wait_closed()
    assert raised.value is error
    assert len(model_of(call).dials) == 2


async def test_a_configuration_that_is_refused_is_the_end() -> None:
    with pytest.raises(ConfigurationRejected):
        async with redialling() as call:
            await answer_the_configuration(call, SessionError("no such voice", "invalid_value"))
            await call.session.wait_closed()
    assert len(model_of(call).dials) == 2


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1010, 4000, 4999])
async def test_a_code_that_blames_this_side_is_the_end(code: int) -> None:
    with pytest.raises(ConnectionClosed) as raised:
        async with redialling() as call:
            call.peer.hang_up(code)
            await call.session.wait_closed()
    assert raised.value.code == code
    assert "reconnecting" not in statuses(call)


# -- a goodbye --------------------------------------------------------------------------------------------------------


async def test_a_goodbye_while_nothing_goes_on_is_the_end_in_peace() -> None:
    async with redialling() as call:
        call.peer.hang_up(1000)
        await call.session.wait_closed()
    assert statuses(call) == ["connecting", "connected", "closing", "closed"]
    assert call.seen(StatusChanged)[-1].reason == "the server closed the connection"


@pytest.mark.parametrize("owed", ["a reply", "an acknowledgement", "a turn", "a tool"])
async def test_a_goodbye_while_something_is_owed_is_a_loss(owed: str) -> None:
    @tool
    async def lookup() -> str:
        await anyio.sleep(5)
        return "found"

    async with redialling(lookup) as call:
        match owed:
            case "a reply":
                await call.says(created(), audio())
            case "an acknowledgement":
                call.peer._acknowledge = False
                call.session.send_message("hello", reply=False)
                await quiet()
            case "a turn":
                await call.says(speech_started(), *turn_over())
            case "a tool":
                await call.says(created(), tool_call("lookup"), done())
        await lose(call, 1000)
        assert statuses(call)[2:] == ["reconnecting", "connected"]
        assert len(call.seen(Interrupted)) == (owed == "a reply")


# -- nothing but noise ------------------------------------------------------------------------------------------------


def malformed() -> SessionError:
    return SessionError("no JSON", source="protocol")


async def test_twenty_malformed_frames_are_lived_with() -> None:
    async with redialling() as call:
        await call.says(*[malformed() for _ in range(20)])
        await anyio.sleep(10.1)
        await call.says(*[malformed() for _ in range(20)])
        assert call.session.status == "connected"


async def test_more_than_twenty_within_ten_seconds_are_the_end() -> None:
    with pytest.raises(ProtocolError):
        async with redialling() as call:
            await call.says(*[malformed() for _ in range(20)])
            await anyio.sleep(9.5)
            await call.says(malformed())
            await call.session.wait_closed()
    assert "reconnecting" not in statuses(call)


async def test_what_the_stream_says_after_the_loss_is_of_the_next_link_alone() -> None:
    async with redialling(reconnect=AT_ONCE) as call:
        await call.says(created(), word("one "))
        peer = await lose(call)
        peer.say(word("two "))
        await quiet()
        assert not call.seen(TextDelta)
        assert len(call.seen(SessionUpdated)) == 2
