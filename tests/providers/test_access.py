"""What every provider's adapter needs before it can dial."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from kernl_rt._transport.websocket import WebSocketTransport
from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._access import check_expiry, merged_headers, names_of, transport_to
from kernl_rt.providers._keyed import KeyedModel


def test_the_callers_headers_win_whatever_the_case_of_their_names() -> None:
    ours = {"Authorization": "ours", "X-Ours": "ours"}
    model = {"authorization": "model's", "X-Model": "model's"}
    call = {"AUTHORIZATION": Secret("call's"), "x-model": "call's", "X-Call": "call's"}
    assert names_of(ours, model) == {"authorization", "x-ours", "x-model"}
    assert merged_headers(ours, model, {}) == {"X-Ours": "ours", **model}
    assert merged_headers(ours, model, call) == {"X-Ours": "ours", **call}


def test_the_patience_with_pongs_is_the_transports_unless_a_provider_says_otherwise() -> None:
    default = inspect.signature(WebSocketTransport).parameters["ping_timeout"].default
    assert inspect.signature(transport_to).parameters["ping_timeout"].default == default
    assert KeyedModel.ping_timeout == default


@pytest.mark.parametrize(
    ("seconds", "lowest", "highest", "words"),
    [
        (0, 1, None, "a number of whole seconds"),
        (1.5, 1, None, "a number of whole seconds"),
        (True, 1, 10, "1 to 10 whole seconds"),
        (11, 1, 10, "1 to 10 whole seconds"),
        (9, 10, 7200, "10 to 7200 whole seconds"),
    ],
)
def test_an_expiry_out_of_range_is_refused(seconds: Any, lowest: int, highest: int | None, words: str) -> None:
    with pytest.raises(MisconfiguredError, match=f"expires_after={seconds} is invalid: use {words}"):
        check_expiry(seconds, lowest, highest)


@pytest.mark.parametrize(("seconds", "lowest", "highest"), [(None, 1, None), (1, 1, 10), (10, 1, 10), (10**6, 1, None)])
def test_an_expiry_within_the_range_goes(seconds: int | None, lowest: int, highest: int | None) -> None:
    check_expiry(seconds, lowest, highest)
