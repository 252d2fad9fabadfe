"""``Secret``: every way to print, copy or write a value, and none shows it."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import cattrs
import msgspec
import pytest

from kernl_rt.config import ConnectOptions, Credential, McpServer, Secret, SessionConfig
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers import openai
from kernl_rt.providers._access import check_secure

CANARY = "sk-canary-Yw83mBq72Kx0zL5t"
SECRET = Secret(CANARY)


@attrs.frozen
class Holder:
    secret: Secret = SECRET


def logged(value: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    record = logging.LogRecord("n", logging.DEBUG, "p", 1, "%s %r", (value, value), None)
    handler.emit(record)
    return stream.getvalue()


def raised(value: object) -> str:
    try:
        raise ValueError(value)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


SHOWN: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!r} {value!s} {value!a}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "str.format": lambda value: "{} {0!r}".replace("{}", "{0}").format(value),
    "pprint": pprint.pformat,
    "in a list": lambda value: repr([value, {"k": value}, (value,)]),
    "log": logged,
    "exception": raised,
    "json with default=str": lambda value: json.dumps({"k": value}, default=str),
    "copy": lambda value: repr(copy.copy(value)),
    "deepcopy": lambda value: repr(copy.deepcopy(value)),
    "attrs.asdict": lambda value: repr(attrs.asdict(Holder())),
    "attrs.astuple": lambda value: repr(attrs.astuple(Holder())),
    "attrs.evolve": lambda value: repr(attrs.evolve(Holder())),
    "cattrs": lambda value: repr(cattrs.Converter().unstructure(Holder())),
    "cattrs, JSON": lambda value: json.dumps(cattrs.Converter().unstructure(Holder()), default=str),
    "msgspec": lambda value: msgspec.json.encode({"k": value}, enc_hook=str),
    "exception group": lambda value: raised(ExceptionGroup("g", [ValueError(value)])),
    "the model": lambda value: repr(openai.realtime("m", api_key=value, headers={"api-key": CANARY})),
    "credential": lambda value: repr(Credential(value, datetime(2030, 1, 1, tzinfo=UTC), extra={"k": CANARY})),
    "MCP": lambda value: repr(SessionConfig(tools=[McpServer("l", url="u", authorization=value)])),
    "options": lambda value: repr(ConnectOptions(headers={"api-key": CANARY})),
}


@pytest.mark.parametrize("how", SHOWN)
@pytest.mark.parametrize("value", [SECRET, Secret(SECRET)], ids=["plain", "nested"])
def test_security_12_a_secret_is_not_shown(how: str, value: Secret) -> None:
    text = str(SHOWN[how](value))
    assert CANARY not in text
    assert CANARY[6:] not in text


@pytest.mark.parametrize(
    "write",
    [
        *(pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode, vars),
        lambda value: getattr(value, "__getstate__")(),  # noqa: B009
        lambda value: json.dumps([value]),
        lambda value: msgspec.json.encode({"k": [value]}),
    ],
    ids=["pickle", "json", "msgspec", "msgpack", "vars", "getstate", "in a list", "in a mapping"],
)
@pytest.mark.parametrize("value", [SECRET])
def test_security_12_a_secret_is_not_written(write: Callable[[object], object], value: object) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        write(value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_security_12_nor_pickled_by_any_protocol(protocol: int) -> None:
    for value in (SECRET, Holder(), openai.realtime("m", api_key=SECRET)):
        with pytest.raises((TypeError, pickle.PicklingError)):
            pickle.dumps(value, protocol)


def test_a_secret_is_a_value() -> None:
    assert Secret(CANARY) == SECRET
    assert SECRET != CANARY
    assert hash(SECRET) == hash(Secret(CANARY))
    assert copy.deepcopy(SECRET) is SECRET
    assert copy.copy(SECRET) is SECRET
    assert SECRET.reveal() == CANARY
    assert not Secret("")


# -- where a key may go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["http://example.com/v1", "ws://10.0.0.1/v1", "http://localhost.evil.com/v1"])
@pytest.mark.anyio
async def test_security_14_a_key_does_not_cross_a_network_in_the_open(base: str) -> None:
    model = openai.realtime("m", api_key=CANARY, base_url=base)
    with pytest.raises(MisconfiguredError, match="insecure=True"):
        async with model.connect(SessionConfig(), ConnectOptions()):
            raise AssertionError("it connected")
    with pytest.raises(MisconfiguredError, match="insecure=True"):
        await model.authenticate()


@pytest.mark.parametrize(
    ("base", "insecure"),
    [
        *((base, False) for base in ("http://localhost:1/v1", "ws://127.0.0.1:1/v1", "http://[::1]:1/v1")),
        ("http://example.com/v1", True),
        ("https://example.com/v1", False),
    ],
)
def test_security_14_but_may_stay_on_this_machine(base: str, insecure: bool) -> None:
    model = openai.realtime("m", api_key=CANARY, base_url=base, insecure=insecure)
    check_secure(model.url(), insecure=model.insecure, factory="realtime")


@pytest.mark.parametrize(
    "base", ["ftp://h/v1", "file:///etc/passwd", "javascript:alert(1)", "//h/v1", "h/v1", "wss:/h"]
)
def test_security_14_other_schemes_are_refused(base: str) -> None:
    with pytest.raises(MisconfiguredError, match="scheme"):
        openai.realtime("m", api_key=CANARY, base_url=base).url()
