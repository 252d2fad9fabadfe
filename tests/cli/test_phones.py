"""The carriers that ``kernl-rt serve`` answers."""

from __future__ import annotations

import base64
from argparse import ArgumentParser, Namespace

import pytest
from starlette.routing import Route, WebSocketRoute

from kernl_rt import RealtimeAgent
from kernl_rt.cli._parser import parse
from kernl_rt.cli._phones import add_phone_options, phone_lines, phone_routes
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.serve import Calls
from kernl_rt.testing import ScriptedModel

SECRETS = {
    "TWILIO_AUTH_TOKEN": "12345678901234567890123456789012",
    "TELNYX_PUBLIC_KEY": base64.b64encode(bytes(32)).decode(),
    "VONAGE_SIGNATURE_SECRET": "a secret of more than thirty-two bytes",
}
URL = "https://voice.example.com/"


@pytest.fixture
def calls() -> Calls:
    return Calls(RealtimeAgent(id="a", name="A", instructions="Be brief.", model=ScriptedModel()), max_sessions=3)


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)


def arguments(line: str) -> Namespace:
    parser = ArgumentParser()
    add_phone_options(parser)
    return parser.parse_args(line.split())


def test_serve_knows_them() -> None:
    said = parse(f"serve --twilio --telnyx --vonage --public-url {URL}".split())
    assert (said.twilio, said.telnyx, said.vonage, said.public_url) == (True, True, True, URL)
    assert not parse(["serve"]).twilio


def test_no_carrier_no_route(calls: Calls) -> None:
    assert phone_routes(arguments(""), calls) == []
    assert phone_lines(arguments("")) == []


def test_each_carrier_has_its_routes(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    said = arguments(f"--twilio --telnyx --vonage --public-url {URL}")
    routes = phone_routes(said, calls)
    assert [route.path for route in routes if isinstance(route, Route)] == [
        "/twilio/voice",
        "/telnyx/voice",
        "/vonage/voice",
    ]
    assert [route.path for route in routes if isinstance(route, WebSocketRoute)] == [
        "/twilio/stream",
        "/telnyx/stream",
        "/vonage/stream",
    ]
    assert phone_lines(said)[0] == "Twilio: webhook POST https://voice.example.com/twilio/voice"


@pytest.mark.parametrize("carrier", ["twilio", "telnyx", "vonage"])
def test_what_is_missing_is_named(carrier: str, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MisconfiguredError, match="--public-url"):
        phone_routes(arguments(f"--{carrier}"), calls)
    (variable,) = [name for name in SECRETS if name.startswith(carrier.upper())]
    with pytest.raises(MisconfiguredError, match=variable):
        phone_routes(arguments(f"--{carrier} --public-url {URL}"), calls)
    monkeypatch.setenv(variable, SECRETS[variable])
    with pytest.raises(MisconfiguredError, match="public URL"):
        phone_routes(arguments(f"--{carrier} --public-url http://voice.example.com"), calls)
