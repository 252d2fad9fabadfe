"""The simulator's beta form by itself: rates, and what it makes of hostile clients."""

from __future__ import annotations

import base64
import json
from itertools import islice
from typing import Any

import pytest

from kernl_rt.simulator import Engine, Reply
from kernl_rt.simulator._protocols._voice_live import Beta
from kernl_rt.testing import hostile_corpus, hostile_frames
from tests.providers.voice_live_frames import ITEMS, SESSION

SENT: list[dict[str, Any]] = [
    {"type": "session.update", "session": {k: v for k, v in SESSION.items() if k not in ("id", "agent", "expires_at")}},
    {"type": "session.update", "session": {"turn_detection": None, "input_audio_format": None, "modalities": ["text"]}},
    {
        "type": "session.update",
        "session": {"input_audio_sampling_rate": 8000, "voice": {"type": "openai", "name": "ash"}},
    },
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(999)).decode()},
    {"type": "conversation.item.create", "item": ITEMS[1]},
    {"type": "conversation.item.create", "item": ITEMS[0]},
    {"type": "response.create"},
    {"type": "response.create", "response": {"commit": False, "input_items": [ITEMS[1]], "max_output_tokens": 9999}},
    {"type": "response.create", "response": {"modalities": ["text"], "metadata": {"k": "v"}}},
]


def test_the_frames_are_understood() -> None:
    for frame in SENT[:3]:
        beta = Beta(voice_live=True)
        assert beta.read(json.dumps(frame), 0.0), beta.answers()


@pytest.mark.parametrize("voice_live", [True, False], ids=["voice-live", "preview"])
@pytest.mark.parametrize("seed", range(3))
def test_a_hostile_client_breaks_nothing(seed: int, voice_live: bool) -> None:
    """Whatever comes, the engine gets JSON values it can judge, and all that it says can be written."""
    beta, engine, now = Beta(voice_live=voice_live), Engine(now=0.0), 0.0
    told = 0
    for frame in [*hostile_corpus().values(), *islice(hostile_frames(seed, SENT), 800)]:
        now += 0.01
        try:
            read = beta.read(frame, now)
        except ValueError:
            continue  # what the client is told is in it
        for each in read:
            engine.receive(each, now)
        for job in engine.jobs():
            if hasattr(job, "response_id"):
                engine.reply(job.response_id, Reply("Hm.", audio=bytes(4_800)), now)
        said = [*beta.answers(), *(text for told_frame in engine.poll(now) for text in beta.write(told_frame, now))]
        for text in said:
            assert json.loads(text)["type"]
        told += len(said)
    assert told > 200
