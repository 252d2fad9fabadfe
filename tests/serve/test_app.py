"""The application over ASGI, in virtual time: who is admitted, what is refused, how calls are limited and ended."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from channels.pages import Page
from serve.clients import ORIGIN, Visitor, request
from starlette.applications import Starlette
from starlette.requests import Request

from kernl_rt import Credential, Drain, RealtimeAgent, RealtimeSession, SessionConfig
from kernl_rt.abc import RealtimeChannel, RealtimeModel
from kernl_rt.config import InputTranscription
from kernl_rt.exceptions import ConnectRefusedError, MisconfiguredError
from kernl_rt.serve import Calls, app
from kernl_rt.simulator import ScriptedEars, Simulator

pytestmark = pytest.mark.anyio

SOUND = (b"\x00\x20" * 60 + b"\x00\xe0" * 60) * 100 + bytes(48_000)


class World:
    """An application, and how often a model was dialled."""

    def __init__(self, *lines: str, **options: Any) -> None:
        self.dials = 0
        simulator = Simulator(ears=ScriptedEars(lines))
        model = simulator.realtime()
        world = self

        def answer() -> RealtimeAgent[None]:
            world.dials += 1
            return RealtimeAgent(
                id="watson",
                name="Watson",
                instructions="Be brief.",
                model=model,
                config=SessionConfig(transcription=InputTranscription(model="whisper-1")),
            )

        self.answer = answer
        self.app: Starlette = app(options.pop("calls", None) or answer, origins=[ORIGIN], **options)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[World]:
        async with self.app.router.lifespan_context(self.app):
            yield self

    async def token(self) -> str:
        answer = await request(self.app, "POST", "/session-token", [("origin", ORIGIN)])
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["expires_in"] == 60
        return str(answer.json()["token"])

    async def visitor(self, token: str | None = None, **options: Any) -> Visitor:
        token = await self.token() if token is None else token
        return Visitor(self.app, subprotocols=["kernl-rt.1", f"token.{token}"], **options)


async def settle(visitor: Visitor) -> None:
    with anyio.fail_after(120):
        await visitor.run()


# -- the page ---------------------------------------------------------------------------------------------------------


async def test_the_page_and_its_files() -> None:
    world = World()
    index = await request(world.app, "GET", "/")
    assert index.status == 200
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    policy = index.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for answer in (index, await request(world.app, "GET", "/app.js"), await request(world.app, "GET", "/healthz")):
        assert answer.status == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
    script = await request(world.app, "GET", "/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    again = await request(world.app, "GET", "/app.js", [("if-none-match", script.headers["etag"])])
    assert (again.status, again.body) == (304, b"")
    for path in ("/..%2f__init__.py", "/../__init__.py", "/page/app.js", "/app.py", "//etc/passwd"):
        assert (await request(world.app, "GET", path)).status == 404
    assert (await request(world.app, "POST", "/")).status == 405


# -- who is admitted --------------------------------------------------------------------------------------------------

FOREIGN = {
    "missing": [],
    "foreign": ["https://evil.com"],
    "null": ["null"],
    "suffix": [ORIGIN + ".evil.com"],
    "prefix": ["https://evil.com/" + ORIGIN],
    "scheme": [ORIGIN.replace("https", "http")],
    "port": [ORIGIN + ":8443"],
    "case": [ORIGIN.upper()],
    "path": [ORIGIN + "/"],
    "subdomain": [ORIGIN.replace("voice.", "x.voice.")],
    "user": [ORIGIN.replace("https://", "https://x@")],
    "two": [ORIGIN, "https://evil.com"],
    "empty": [""],
    "comma": [ORIGIN + ", https://evil.com"],
}


@pytest.mark.parametrize("origins", FOREIGN.values(), ids=FOREIGN)
async def test_a_foreign_origin_is_refused_before_anything_is_dialled(origins: list[str]) -> None:
    async with World().started() as world:
        for can_answer in (True, False):
            visitor = await world.visitor(origins=origins, can_answer=can_answer)
            await settle(visitor)
            assert visitor.status == 403
        answer = await request(world.app, "POST", "/session-token", [("origin", origin) for origin in origins])
        assert answer.status == 403
        assert b"token" not in answer.body
        assert world.dials == 0


async def test_without_a_good_token_nobody_is_let_in() -> None:
    async with World().started() as world:
        good = await world.token()
        flipped = ("B" if good[20] != "B" else "C").join((good[:20], good[21:]))
        for offered in (
            [],
            ["kernl-rt.1"],
            [f"token.{good}"],
            ["kernl-rt.1", "token."],
            ["kernl-rt.1", f"token.{flipped}"],
            ["kernl-rt.1", f"token.{good}", f"token.{good}"],
            ["kernl-rt.1", "token." + "A" * 5_000],
            ["kernl-rt.1", "token.ÄÖ"],
            ["kernl-rt.2", f"token.{good}"],
        ):
            visitor = Visitor(world.app, subprotocols=offered)
            await settle(visitor)
            assert visitor.status == 403
        assert world.dials == 0


async def test_a_token_lets_in_one_of_two_that_come_at_once() -> None:
    async with World().started() as world:
        token = await world.token()
        visitors = [await world.visitor(token) for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            for visitor in visitors:
                tasks.start_soon(settle, visitor)
            for visitor in visitors:
                await visitor.answered.wait()
            assert sorted(visitor.status for visitor in visitors) == [101, 403]
            for visitor in visitors:
                visitor.leave()
        late = await world.visitor(token)
        await settle(late)
        assert late.status == 403


async def test_who_is_not_authorized_gets_no_token() -> None:
    async def never(request: Request) -> bool:
        return request.headers.get("authorization") == "Bearer me"

    world = World(authorize=never)
    headers = [("origin", ORIGIN)]
    assert (await request(world.app, "POST", "/session-token", headers)).status == 403
    headers.append(("authorization", "Bearer me"))
    assert (await request(world.app, "POST", "/session-token", headers)).status == 200
    assert (await request(world.app, "GET", "/session-token", headers)).status == 405


# -- the handshake ----------------------------------------------------------------------------------------------------


async def test_a_call() -> None:
    async with World("hello").started() as world:
        visitor = await world.visitor()
        page = Page(visitor)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, visitor)
            await visitor.hello()
            tasks.start_soon(page.run)
            ready = await page.wait_told("ready")
            assert ready["agent"] == "Watson"
            assert visitor.subprotocol == "kernl-rt.1"
            health = await request(world.app, "GET", "/healthz")
            assert health.json() == {"status": "ok", "live": 1, "free": 49}
            await page.speak(SOUND)
            assert (await page.wait_told("transcript", role="user", final=True))["text"] == "hello"
            await page.wait_told("transcript", role="agent", final=True)
            await page.say("bye")
        assert visitor.code == 1000
        assert (await request(world.app, "GET", "/healthz")).json()["live"] == 0
        assert world.dials == 1


@pytest.mark.parametrize(("after", "admitted"), [(4.9, True), (5.1, False)])
async def test_hello_within_five_seconds(after: float, admitted: bool) -> None:
    async with World().started() as world:
        visitor = await world.visitor()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, visitor)
            await visitor.answered.wait()
            await anyio.sleep(after)
            if admitted:
                await visitor.hello()
                assert json.loads((await visitor.receive())[0])["type"] == "ready"
                visitor.leave()
        assert visitor.code == (1001 if admitted else 1008)
        assert world.dials == admitted


@pytest.mark.parametrize(
    "first",
    [
        b"\0\0" * 480,
        "no JSON",
        "[" * 60_000,
        '{"type":"bye"}',
        '{"type":"hello","version":2,"input_rates":[24000],"output_rates":[24000]}',
        '{"type":"hello","version":1,"input_rates":[],"output_rates":[24000]}',
        '{"type":"hello","version":1,"input_rates":[12345],"output_rates":[24000]}',
        '{"type":"hello","version":1,"input_rates":["24000"],"output_rates":[24000]}',
        '"\\ud800"',
    ],
)
async def test_a_bad_hello_is_the_end_of_the_call(first: str | bytes) -> None:
    async with World().started() as world:
        visitor = await world.visitor()
        await visitor.send(first)
        await settle(visitor)
        assert visitor.code == 1008
        assert world.dials == 0


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "code"), [(64 * 1024, 1001), (64 * 1024 + 1, 1009)])
@pytest.mark.parametrize("text", [True, False])
async def test_a_message_of_64_kib_and_no_more(size: int, code: int, text: bool) -> None:
    async with World().started() as world:
        visitor = await world.visitor()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, visitor)
            await visitor.hello()
            assert json.loads((await visitor.receive())[0])["type"] == "ready"
            await visitor.send("ä" * (size // 2) + "a" * (size % 2) if text else bytes(size))
            await anyio.sleep(1)
            if code == 1001:
                assert not visitor.closed.is_set()
                visitor.leave()
        assert visitor.code == code


@pytest.mark.parametrize(("count", "code"), [(499, 1001), (500, 1008)])
async def test_a_hundred_messages_a_second_and_no_more(count: int, code: int) -> None:
    """The hello is one of five seconds' five hundred: five hundred pass, and the next is one too many."""
    async with World().started() as world:
        visitor = await world.visitor()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, visitor)
            await visitor.hello()
            for _ in range(count):
                await visitor.send('{"type":"nonsense"}')
            await anyio.sleep(0.001)
            if code == 1001:
                assert not visitor.closed.is_set()
                visitor.leave()
        assert visitor.code == code


@pytest.mark.parametrize(("pace", "code"), [(1.9, 1001), (2.2, 1008)])
async def test_sound_at_twice_the_pace_and_no_more(pace: float, code: int) -> None:
    async with World().started() as world:
        visitor = await world.visitor()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, visitor)
            await visitor.hello()
            size = int(4_800 * pace) // 2 * 2
            for _ in range(1_000):  # two minutes
                if not visitor.closed.is_set():
                    await visitor.send(bytes(size))
                    await anyio.sleep(0.1)
            if code == 1001:
                assert not visitor.closed.is_set()
                visitor.leave()
        assert visitor.code == code


async def test_one_call_too_many_is_refused() -> None:
    async with World(max_sessions=2).started() as world:
        spare = await world.token()
        visitors = [await world.visitor() for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            for visitor in visitors:
                tasks.start_soon(settle, visitor)
                await visitor.hello()
                assert json.loads((await visitor.receive())[0])["type"] == "ready"
            answer = await request(world.app, "POST", "/session-token", [("origin", ORIGIN)])
            assert (answer.status, answer.headers["retry-after"]) == (503, "10")
            third = await world.visitor(spare)
            await settle(third)
            assert third.status == 503
            assert world.dials == 2
            visitors[0].leave()
            await anyio.sleep(1)
            fourth = await world.visitor(spare)  # its token was not used up
            tasks.start_soon(settle, fourth)
            await fourth.hello()
            assert json.loads((await fourth.receive())[0])["type"] == "ready"
            fourth.leave()
            visitors[1].leave()


async def test_a_thousand_slow_hellos_cost_little_and_keep_nobody_out() -> None:
    """A thousand connections with good tokens say no hello, to a server with five lines."""
    async with World(max_sessions=5).started() as world:
        tokens = [await world.token() for _ in range(1_022)]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                warm = await world.visitor(tokens.pop())
                tasks.start_soon(settle, warm)
                await warm.answered.wait()
                warm.leave()
                await anyio.sleep(0.01)
                gc.collect()
                tracemalloc.start()
                before, _ = tracemalloc.get_traced_memory()
                slow_ones = [await world.visitor(tokens.pop()) for _ in range(1_000)]
                for visitor in slow_ones:
                    tasks.start_soon(settle, visitor)
                await anyio.sleep(0.5)
                size, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert size - before < 20 * 2**20, "with what the clients of this test need"
                assert world.dials == 0
                good = await world.visitor(tokens.pop())
                page = Page(good)  # type: ignore[arg-type]
                tasks.start_soon(settle, good)
                tasks.start_soon(page.run)
                began = anyio.current_time()
                await good.answered.wait()
                late = [await world.visitor(tokens.pop()) for _ in range(20)]
                for visitor in late:  # who comes after it sends others away
                    tasks.start_soon(settle, visitor)
                await anyio.sleep(0.1)
                await good.hello()
                await page.wait_told("ready")
                assert anyio.current_time() - began < 1
                assert world.dials == 1
                await anyio.sleep(10)
                assert {visitor.code for visitor in slow_ones} == {1008, 1013}
                assert sum(visitor.code == 1013 for visitor in slow_ones) == 521
                assert not good.closed.is_set()
                good.leave()


async def test_a_page_whose_line_was_taken_while_it_said_hello() -> None:
    async with World(max_sessions=1).started() as world:
        late, first = [await world.visitor() for _ in range(2)]
        page = Page(late)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, late)
            tasks.start_soon(page.run)
            await late.answered.wait()
            tasks.start_soon(settle, first)
            await first.hello()
            assert json.loads((await first.receive())[0])["type"] == "ready"
            await late.hello()
            assert (await page.wait_told("error"))["message"] == "All lines are busy."
            await late.closed.wait()
            assert late.code == 1013
            assert world.dials == 1
            first.leave()


async def test_a_call_has_a_longest_time() -> None:
    async with World(max_minutes=1).started() as world:
        visitor = await world.visitor()
        page = Page(visitor)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, visitor)
            tasks.start_soon(page.run)
            await visitor.hello()
            await page.wait_told("ready")
            began = anyio.current_time()
            assert (await page.wait_told("error"))["code"] == "time_limit"
            await visitor.closed.wait()
            assert 59 < anyio.current_time() - began < 62
        assert visitor.code == 1000


async def test_push_to_talk_turns_the_providers_turns_off() -> None:
    async with World("hello", push_to_talk=True).started() as world:
        visitor = await world.visitor()
        page = Page(visitor)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, visitor)
            tasks.start_soon(page.run)
            await visitor.hello()
            assert (await page.wait_told("ready"))["push_to_talk"] is True
            await page.say("talk", pressed=True)
            await page.speak(SOUND)
            assert not page.told("transcript")
            await page.say("talk", pressed=False)
            await page.wait_told("transcript", role="user", final=True)
            visitor.leave()


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_draining_refuses_new_calls_and_ends_the_old_ones_in_time() -> None:
    world = World()
    async with Drain(10, signals=()) as drain:
        world = World(calls=Calls(world.answer, drain=drain))
        async with world.started(), anyio.create_task_group() as tasks:
            visitor = await world.visitor()
            spare = await world.token()
            tasks.start_soon(settle, visitor)
            await visitor.hello()
            assert json.loads((await visitor.receive())[0])["type"] == "ready"
            drain.start()
            health = await request(world.app, "GET", "/healthz")
            assert (health.status, health.json()) == (503, {"status": "draining", "live": 1, "free": 0})
            refused = await world.visitor(spare)
            await settle(refused)
            assert refused.status == 503
            began = anyio.current_time()
            await visitor.closed.wait()
            assert 9 < anyio.current_time() - began < 12
            assert visitor.code == 1000


async def test_the_servers_shutdown_ends_calls_in_time() -> None:
    world = World(drain_seconds=3)
    async with anyio.create_task_group() as tasks:
        async with world.started():
            visitor = await world.visitor()
            tasks.start_soon(settle, visitor)
            await visitor.hello()
            assert json.loads((await visitor.receive())[0])["type"] == "ready"
            began = anyio.current_time()
        assert 2 < anyio.current_time() - began < 6
        await visitor.closed.wait()


async def test_a_model_that_cannot_be_reached(caplog: pytest.LogCaptureFixture) -> None:
    def session(agent: RealtimeAgent[Any], channel: RealtimeChannel) -> RealtimeSession[Any]:
        raise ConnectRefusedError("nobody listens at wss://secret-host")

    async with World(calls=Calls(World().answer, session=session)).started() as world:
        visitor = await world.visitor()
        page = Page(visitor)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(page.run)
            await visitor.hello()
            await settle(visitor)
        assert visitor.code == 1011
        assert page.told("error")[0]["code"] == "unavailable"
        assert "secret-host" not in str(page.messages)
        assert "secret-host" in caplog.text


# -- credentials ------------------------------------------------------------------------------------------------------


class Minting(RealtimeModel):
    provider = "test"
    name = "mint"

    def __init__(self) -> None:
        self.key = "sk-the-long-key"
        self.asked: list[int | None] = []
        self.fails = False

    def check(self, config: SessionConfig) -> None:
        raise AssertionError

    def connect(self, *args: Any, **options: Any) -> Any:
        raise AssertionError

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        self.asked.append(expires_after)
        if self.fails:
            raise ConnectRefusedError(f"refused {self.key}")
        return Credential("ek_short", datetime(2026, 1, 1, tzinfo=UTC))


async def everybody(request: Request) -> bool:
    return request.headers.get("cookie") == "me"


async def test_credentials_are_off_unless_asked_for_and_never_for_everybody() -> None:
    assert (await request(World().app, "POST", "/credential", [("origin", ORIGIN)])).status == 404
    with pytest.raises(MisconfiguredError, match="authorize="):
        World(credentials_for=Minting())


async def test_a_credential_is_short_lived_and_is_not_the_key() -> None:
    model = Minting()
    world = World(credentials_for=model, authorize=everybody)
    good = [("origin", ORIGIN), ("cookie", "me")]
    answer = await request(world.app, "POST", "/credential", good)
    assert answer.json() == {
        "secret": "ek_short",
        "expires_at": "2026-01-01T00:00:00+00:00",
        "provider": "test",
        "model": "mint",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert model.asked == [60]
    for bad in ([("cookie", "me")], [("origin", "https://evil.com"), ("cookie", "me")], [("origin", ORIGIN)]):
        assert (await request(world.app, "POST", "/credential", bad)).status == 403
    assert (await request(world.app, "GET", "/credential", good)).status == 405
    assert model.asked == [60]
    model.fails = True
    failed = await request(world.app, "POST", "/credential", good)
    assert failed.status == 502
    assert model.key.encode() not in failed.body
    statuses = [(await request(world.app, "POST", "/credential", good)).status for _ in range(9)]
    assert statuses == [502] * 8 + [429]


async def test_mistakes_are_named() -> None:
    for origin in ("*", "null", "https://example.com/", "example.com", "https://Example.com", "https://x.com:443", ""):
        with pytest.raises(MisconfiguredError, match=r"origin|usual port"):
            app(World().answer, origins=[origin])
    with pytest.raises(MisconfiguredError, match="one text"):
        app(World().answer, origins=ORIGIN)
    with pytest.raises(MisconfiguredError, match="max_sessions"):
        app(World().answer, origins=[ORIGIN], max_sessions=0)
    with pytest.raises(MisconfiguredError, match="RealtimeAgent"):
        app("agent", origins=[ORIGIN])  # type: ignore[arg-type]
