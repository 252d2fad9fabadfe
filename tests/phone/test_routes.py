"""The routes that answer the phone (S1 to S3): nothing is believed before it is proven; a stranger costs no dial."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import anyio
import jwt
import pytest
from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from phone.asgi import Answered, Headers, dial, post
from starlette.applications import Starlette
from twilio.request_validator import RequestValidator

from kernl_rt import Drain, RealtimeAgent, TurnDetection
from kernl_rt.channels._phone._channel import PhoneChannel
from kernl_rt.config import G711_ULAW, Capabilities
from kernl_rt.serve import Calls, _carriers, _phone
from kernl_rt.serve._phone import telnyx_routes, twilio_routes, vonage_routes
from kernl_rt.serve._waiting import WaitingRoom
from kernl_rt.testing import FakeCarrier, ScriptedModel
from kernl_rt.testing._carrier_words import Carrier

pytestmark = pytest.mark.anyio

TOKEN = "12345678901234567890123456789012"
SECRET = "a secret of more than thirty-two bytes"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HERE = "https://voice.example.com/app"
NOW = 1_700_000_000
CALL = "CA00000000000000000000000000000001"
VALIDATOR = RequestValidator(TOKEN)


@define
class Service:
    """The routes of one carrier, with a phone that is answered by writing down who called."""

    carrier: Carrier
    max_calls: int = 100
    linger: float = 0.0
    served: list[PhoneChannel] = field(factory=list)
    app: Starlette = field(init=False)

    def __attrs_post_init__(self) -> None:
        common: dict[str, Any] = {"public_url": HERE, "max_calls": self.max_calls}
        if self.carrier == "twilio":
            routes = twilio_routes(self.on_call, auth_token=TOKEN, **common)
        elif self.carrier == "telnyx":
            key = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
            routes = telnyx_routes(self.on_call, public_key=key, **common)
        else:
            routes = vonage_routes(self.on_call, signature_secret=SECRET, **common)
        self.app = Starlette(routes=routes)

    async def on_call(self, channel: Any) -> None:
        self.served.append(channel)
        async with channel.open(channel.input_formats[0], channel.output_formats[0]):
            await anyio.sleep(self.linger)

    # -- what a genuine carrier sends ---------------------------------------------------------------------------------

    def body(self, call_id: str = CALL) -> bytes:
        if self.carrier == "vonage":
            return json.dumps({"uuid": call_id, "from": "15005550006", "to": "15005550001"}).encode()
        return urlencode({"CallSid": call_id, "From": "+15005550006", "To": "+15005550001"}).encode()

    def signed(self, body: bytes) -> Headers:
        if self.carrier == "twilio":
            fields = dict(part.split("=") for part in body.decode().replace("%2B", "+").split("&"))
            url = f"{HERE}/twilio/voice"
            return [(b"x-twilio-signature", VALIDATOR.compute_signature(url, fields).encode())]
        if self.carrier == "telnyx":
            stamp = str(NOW).encode()
            signature = base64.b64encode(KEY.sign(stamp + b"|" + body))
            return [(b"telnyx-timestamp", stamp), (b"telnyx-signature-ed25519", signature)]
        claims = {"iat": NOW, "jti": "1", "payload_hash": hashlib.sha256(body).hexdigest()}
        return [(b"authorization", b"Bearer " + jwt.encode(claims, SECRET).encode())]

    @property
    def upgrade(self) -> Headers:
        if self.carrier == "twilio":
            url = f"wss://voice.example.com/app{self.stream_path}"
            return [(b"x-twilio-signature", VALIDATOR.compute_signature(url, {}).encode())]
        if self.carrier == "telnyx":
            return []
        return [(b"authorization", b"Bearer " + jwt.encode({"iat": NOW}, SECRET).encode())]

    @property
    def webhook_path(self) -> str:
        return f"/{self.carrier}/voice"

    @property
    def stream_path(self) -> str:
        return f"/{self.carrier}/stream"

    async def ring(self, call_id: str = CALL) -> Answered:
        body = self.body(call_id)
        return await post(self.app, self.webhook_path, body, self.signed(body))

    async def token(self, call_id: str = CALL) -> str:
        answer = await self.ring(call_id)
        assert answer.status == 200, answer
        return token_in(answer)

    async def stream(self, token: str | None, call_id: str = CALL, headers: Headers | None = None) -> FakeCarrier:
        parameters = {} if token is None else {"token": token}
        carrier = FakeCarrier(self.carrier, call_id=call_id, parameters={**parameters, "customer": "42"})
        status = await dial(self.app, self.stream_path, carrier, self.upgrade if headers is None else headers)
        carrier.wrong.append(str(status))  # the status, and whatever was wrong before it
        return carrier


def token_in(answer: Answered) -> str:
    if answer.body[:1] == b"[":
        return str(json.loads(answer.body)[0]["endpoint"][0]["headers"]["token"])
    (parameter,) = ElementTree.fromstring(answer.body).iter("Parameter")
    assert parameter.get("name") == "token"
    return str(parameter.get("value"))


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The carriers' timestamps are judged by a clock that stands still."""
    now = [float(NOW)]
    for cls in (_carriers.Telnyx, _carriers.Vonage):
        init = cls.__init__

        def with_clock(self: Any, *args: Any, init: Any = init, **options: Any) -> None:
            init(self, *args, clock=lambda: now[0], **options)

        monkeypatch.setattr(cls, "__init__", with_clock)
    return now


@pytest.fixture(params=["twilio", "telnyx", "vonage"])
def service(request: pytest.FixtureRequest) -> Service:
    return Service(request.param)


# -- a call ------------------------------------------------------------------------------------------------------------


async def test_a_genuine_call_is_served(service: Service) -> None:
    carrier = await service.stream(await service.token())
    assert carrier.wrong == ["101"]
    (channel,) = service.served
    assert channel.call_id == CALL
    assert dict(channel.call.parameters).get("customer") == "42"
    assert "token" not in channel.call.parameters
    assert channel.call.from_number.lstrip("+") in ("15005550006", "13122010094")
    assert channel.call.carrier == service.carrier


async def test_the_answers(service: Service) -> None:
    answer = await service.ring()
    text = answer.body.decode()
    assert f"wss://voice.example.com/app{service.stream_path}" in text
    assert "?" not in text.replace("<?xml", "").replace("?>", "")  # Twilio would drop a query
    if service.carrier == "vonage":
        (action,) = json.loads(text)
        (endpoint,) = action["endpoint"]
        assert (action["action"], endpoint["type"]) == ("connect", "websocket")
        assert endpoint["content-type"] == "audio/l16;rate=16000"
        assert endpoint["headers"]["call_id"] == CALL
        assert endpoint["authorization"] == {"type": "vonage"}
        return
    root = ElementTree.fromstring(text)
    assert [element.tag for element in root.iter()] == ["Response", "Connect", "Stream", "Parameter"]
    (stream,) = root.iter("Stream")
    if service.carrier == "telnyx":
        assert (stream.get("bidirectionalMode"), stream.get("bidirectionalCodec")) == ("rtp", "PCMU")
    assert len(token_in(answer)) >= 32


# -- S1: the webhook ---------------------------------------------------------------------------------------------------


async def test_s1_a_webhook_without_its_signature_is_refused(service: Service) -> None:
    body = service.body()
    good = service.signed(body)
    wrong: list[tuple[bytes, Headers]] = [(body, []), (b"", good), (body + b"&a=1", good)]
    wrong += [(body, [(name, value[:-8] + b"AAAAAAA=")]) for name, value in good]
    for sent, headers in wrong:
        assert (await post(service.app, service.webhook_path, sent, headers)).status == 403
    assert (await post(service.app, service.webhook_path, body, good)).status == 200


async def test_s1_other_methods_are_not_answered(service: Service) -> None:
    body = service.body()
    assert (await post(service.app, service.webhook_path, body, service.signed(body), method="GET")).status == 405


async def test_s1_a_spoofed_host_has_no_effect() -> None:
    service = Service("twilio")  # the one carrier that signs the address
    body = service.body()
    evil = VALIDATOR.compute_signature(
        "https://evil.example.net/twilio/voice", {"CallSid": CALL, "From": "+15005550006", "To": "+15005550001"}
    )
    spoof = [(b"host", b"evil.example.net"), (b"x-forwarded-host", b"evil.example.net")]
    headers = [*spoof, (b"x-twilio-signature", evil.encode())]
    assert (await post(service.app, service.webhook_path, body, headers)).status == 403
    assert (await post(service.app, service.webhook_path, body, [*spoof, *service.signed(body)])).status == 200


async def test_s1_a_body_is_bounded_before_anybody_is_believed(service: Service) -> None:
    exact = service.body() + b"&x=" if service.carrier != "vonage" else service.body()
    exact += b" " * (64 * 1024 - len(exact))
    assert (await post(service.app, service.webhook_path, exact, [])).status == 403
    assert (await post(service.app, service.webhook_path, exact + b" ", [])).status == 413
    endless = [(0.0, b"x" * 1024)] * 10_000
    assert (await post(service.app, service.webhook_path, endless, [])).status == 413


async def test_s1_a_body_that_does_not_come_is_not_awaited(service: Service) -> None:
    began = anyio.current_time()
    assert (await post(service.app, service.webhook_path, [(3.0, b"a"), (3.0, b"b")], [])).status == 408
    assert anyio.current_time() - began == pytest.approx(5.0)
    body = service.body()
    slow = [(2.0, body[:5]), (2.5, body[5:])]
    assert (await post(service.app, service.webhook_path, slow, service.signed(body))).status == 200


async def test_a_webhook_that_names_no_call_is_refused() -> None:
    service = Service("vonage")
    for body in (
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"[" * 60_000,
        b'{"uuid": 1}',
        b'{"uuid": ""}',
        b'{"uuid":"a","from":[]}',
    ):
        assert (await post(service.app, service.webhook_path, body, service.signed(body))).status == 400
    form = Service("twilio")
    body = b"From=x"
    assert (await post(form.app, form.webhook_path, body, form.signed(body))).status == 400


async def test_an_old_webhook_is_refused(wall_clock: list[float]) -> None:
    for carrier in ("telnyx", "vonage"):
        service = Service(carrier)  # type: ignore[arg-type]
        wall_clock[0] = NOW + 301
        assert (await service.ring()).status == 403
        wall_clock[0] = NOW + 299
        assert (await service.ring()).status == 200


# -- S2: the upgrade ---------------------------------------------------------------------------------------------------


async def test_s2_an_unsigned_upgrade_is_refused_and_nobody_is_dialled() -> None:
    for name in ("twilio", "vonage"):
        service = Service(name)  # type: ignore[arg-type]
        token = await service.token()
        wrong: list[Headers] = [[], *([(header, value[:-8] + b"AAAAAAA=")] for header, value in service.upgrade)]
        for headers in wrong:
            assert (await service.stream(token, headers=headers)).wrong == ["403"]
        assert not service.served
        assert (await service.stream(token)).wrong == ["101"]  # none of them has used the token up


@pytest.mark.parametrize(
    "url",
    [
        "wss://evil.example.net/app/twilio/stream",
        "wss://voice.example.com/twilio/stream",
        "wss://voice.example.com/app/twilio/voice",
    ],
)
async def test_s2_a_signature_for_another_address_is_refused(url: str) -> None:
    service = Service("twilio")
    token = await service.token()
    signature = VALIDATOR.compute_signature(url, {}).encode()
    spoof = [(b"host", b"evil.example.net"), (b"x-forwarded-host", b"evil.example.net")]
    carrier = await service.stream(token, headers=[*spoof, (b"x-twilio-signature", signature)])
    assert carrier.wrong == ["403"]
    assert not service.served


async def test_s2_a_server_without_the_extension_says_403_too() -> None:
    service = Service("twilio")
    await service.token()
    carrier = FakeCarrier("twilio")
    assert await dial(service.app, service.stream_path, carrier, [], extension=False) == 403


async def test_s2_a_stream_that_nobody_announced_is_refused(service: Service) -> None:
    assert (await service.stream("x" * 43)).wrong == ["403"]
    assert not service.served


# -- S3: the token -----------------------------------------------------------------------------------------------------


def refused(carrier: FakeCarrier) -> bool:
    """Before the upgrade with 403; after it, where only the token was wrong, with the close code for that."""
    return carrier.wrong == ["403"] or (carrier.wrong == ["101"] and carrier.closed is not None
                                        and carrier.closed[0] == 1008)  # fmt: skip


@pytest.mark.parametrize("token", [None, "", "x" * 43, "\ud800"])
async def test_s3_a_stream_without_the_token_is_refused(service: Service, token: str | None) -> None:
    await service.token()
    assert refused(await service.stream(token))
    assert not service.served


async def test_s3_a_token_is_used_once(service: Service) -> None:
    token = await service.token()
    await service.token("CA2")  # another call is awaited meanwhile
    assert (await service.stream(token)).wrong == ["101"]
    assert refused(await service.stream(token))
    assert len(service.served) == 1


async def test_s3_of_two_at_once_one_is_served(service: Service) -> None:
    token = await service.token()
    service.linger = 5.0
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(service.stream, token)
        await anyio.sleep(3)
        assert len(service.served) == 1
    assert len(service.served) == 1


async def test_s3_a_token_is_for_its_call(service: Service) -> None:
    token = await service.token()
    await service.token("CA2")
    assert refused(await service.stream(token, "CA2"))
    assert refused(await service.stream(token))  # whoever has shown it has used it up
    assert not service.served


@pytest.mark.parametrize(("age", "lives"), [(59.0, True), (60.0, False), (3_600.0, False)])
async def test_s3_a_token_lives_for_a_minute(service: Service, age: float, lives: bool) -> None:
    token = await service.token()
    await anyio.sleep(age)
    await service.token("CA2")
    assert refused(await service.stream(token)) != lives
    assert len(service.served) == lives


async def test_s3_a_replayed_webhook_gets_no_second_token(service: Service) -> None:
    token = await service.token()
    for pause in (0.0, 61.0, 3_600.0, 22 * 3_600.0):
        await anyio.sleep(pause)
        replay = await service.ring()
        assert (replay.status, replay.body) == (403, b"Forbidden")
    await service.token("CA2")
    assert refused(await service.stream(token))


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [None, "not json", '{"event":"media"}', b"\x00" * 320])
async def test_fault_36_a_stream_that_never_starts_is_closed_after_ten_seconds(
    service: Service, first: str | bytes | None
) -> None:
    await service.token()
    carrier = FakeCarrier(service.carrier)
    carrier.words.greeting = lambda: [] if first is None else [first]  # type: ignore[method-assign]
    carrier.words.media = lambda audio, at_ms: '{"event":"media"}'  # type: ignore[method-assign]
    began = anyio.current_time()
    assert await dial(service.app, service.stream_path, carrier, service.upgrade) == 101
    assert anyio.current_time() - began == pytest.approx(10.0)
    assert carrier.closed is not None
    assert carrier.closed[0] == 1008
    assert not service.served


async def test_one_call_too_many_is_told_so(service: Service) -> None:
    service = Service(service.carrier, max_calls=1, linger=30.0)
    first, second = await service.token(), await service.token("CA2")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.stream, first)
        await anyio.sleep(1)
        assert len(service.served) == 1
        assert (await service.ring("CA3")).status == 503
        assert (await service.stream(second, "CA2")).wrong == ["503"]
    assert (await service.ring("CA4")).status == 200


async def test_the_calls_of_the_application_are_held_and_counted() -> None:
    """With ``Calls``: a session for each call, as many as they have room for."""
    model = ScriptedModel(capabilities=Capabilities(input_formats=[G711_ULAW], output_formats=[G711_ULAW]))
    agent = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=model)
    async with Drain(1.0, signals=()) as drain:
        calls = Calls(agent, max_sessions=1, push_to_talk=True, drain=drain)
        service = Service("twilio")
        service.app = Starlette(routes=twilio_routes(calls, auth_token=TOKEN, public_url=HERE))
        first, second = await service.token(), await service.token("CA2")
        carrier = FakeCarrier("twilio", call_id=CALL, parameters={"token": first})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dial, service.app, service.stream_path, carrier, service.upgrade)
            await anyio.sleep(1)
            assert (calls.live, len(model.dials)) == (1, 1)
            assert model.dials[0].config.turn_detection != TurnDetection.off()  # a phone has no button
            assert (await service.ring("CA3")).status == 503
            assert (await service.stream(second, "CA2")).wrong == ["503"]
            carrier.hang_up()
        assert (calls.live, len(model.dials)) == (0, 1)


async def test_strangers_take_no_line_and_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_phone, "WaitingRoom", lambda: WaitingRoom(3))
    service = Service("telnyx", max_calls=1)
    token = await service.token()
    silent = [FakeCarrier("telnyx") for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for carrier in silent:
            carrier.words.greeting = list  # type: ignore[method-assign]
            carrier.words.media = lambda audio, at_ms: "{}"  # type: ignore[method-assign]
            tasks.start_soon(dial, service.app, service.stream_path, carrier)
        await anyio.sleep(1)
        assert (await service.stream(token)).wrong == ["101"]
        gone = [carrier.closed for carrier in silent if carrier.closed is not None]
        assert gone == [(1013, "others are waiting")]
        await anyio.sleep(8)
        assert len([carrier for carrier in silent if carrier.closed is None]) == 2
        await anyio.sleep(2)  # their ten seconds are over
        assert sorted(carrier.closed[0] for carrier in silent if carrier.closed) == [1008, 1008, 1013]


async def test_two_streams_that_start_at_once_do_not_share_a_line(service: Service) -> None:
    service = Service(service.carrier, max_calls=1, linger=5.0)
    carriers = []
    for call_id in ("CA1", "CA2"):
        parameters = {"token": await service.token(call_id)}
        carriers.append(FakeCarrier(service.carrier, call_id=call_id, parameters=parameters))
    async with anyio.create_task_group() as tasks:
        for carrier in carriers:
            tasks.start_soon(dial, service.app, service.stream_path, carrier, service.upgrade)
        await anyio.sleep(1)
        assert len(service.served) == 1
        assert [carrier.closed for carrier in carriers if carrier.closed] == [(1013, "all lines are busy")]


async def test_a_message_too_large_or_too_many_close_the_stream(service: Service) -> None:
    for flood, code in (([" " * (64 * 1024 + 1)], 1009), (["{}"] * 501, 1008)):
        service = Service(service.carrier, linger=30.0)
        token = await service.token()
        carrier = FakeCarrier(service.carrier, parameters={"token": token})
        greeting = carrier.words.greeting
        carrier.words.greeting = lambda g=greeting, f=flood: [*g(), *f]  # type: ignore[method-assign, misc]
        assert await dial(service.app, service.stream_path, carrier, service.upgrade) == 101
        assert carrier.closed is not None
        assert carrier.closed[0] == code


async def test_a_call_that_fails_harms_no_other(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(service: Service, channel: Any) -> None:
        raise LookupError("a mistake in the program")

    monkeypatch.setattr(Service, "on_call", fail)
    service = Service(service.carrier)
    carrier = await service.stream(await service.token())
    assert carrier.closed is not None
    assert carrier.closed[0] == 1011
    assert "a mistake in the program" in caplog.text


async def test_nothing_of_a_call_is_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = await service.token()
    await service.ring()  # a replay
    await service.stream(token, headers=[(b"authorization", b"Bearer x")])
    await service.stream(token, "CA9")
    assert caplog.records
    assert not re.search(r"5005550|CA0000|" + re.escape(token), caplog.text)
