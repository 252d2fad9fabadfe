"""What we write to Azure OpenAI is valid by the official SDK's types: they are OpenAI's, and strict about keys."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings

from kernl_rt.providers.azure import AzureCodec
from tests.providers.test_openai_oracle import CLIENT, EVENTS, assert_valid


@settings(max_examples=150)
@given(EVENTS)
def test_what_we_write_is_valid_and_reads_back(event: Any) -> None:
    codec = AzureCodec()
    text = codec.encode(event)
    assert_valid(CLIENT, json.loads(text))
    assert json.loads(codec.encode(codec.decode_client(text))) == json.loads(text)
