"""The application over ASGI, in virtual time: who is admitted, what is refused, who gets a credential."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from serve.clients import ORIGIN, Visitor, request
from serve.worlds import SOUND, World, paging, settle, visiting
from starlette.requests import Request

from kernl_rt import Credential, SessionConfig
from kernl_rt.abc import RealtimeModel
from kernl_rt.exceptions import ConnectRefusedError, MisconfiguredError
from kernl_rt.serve import app

pytestmark = pytest.mark.anyio

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
        async with paging(visitor) as page:
            assert page.told("ready")[0]["agent"] == "Watson"
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
        async with visiting(visitor):
            await visitor.answered.wait()
            await anyio.sleep(after)
            if admitted:
                await visitor.greet()
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
