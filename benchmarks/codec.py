"""How long OpenAI's codec takes, against the least a Python program must do: parse the JSON, decode the base64.

Run ``python benchmarks/codec.py``. Trust the ratios: the microseconds are those of the machine it ran on. The floor is
the standard library's; the codec also checks every field and makes the event.
"""

from __future__ import annotations

import base64
import json
import timeit
from collections.abc import Callable
from typing import Any

from kernl_rt import events as ev
from kernl_rt.providers.openai import OpenAICodec

_PLACE: dict[str, Any] = {
    "event_id": "event_E6U0x5zQRGJVzr6MR41ud",
    "response_id": "resp_E6U0xfWhN878XBMhc0LKn",
    "item_id": "item_E6U0xWSFIFri2uw2kTLLq",
    "output_index": 0,
    "content_index": 0,
}
_SOUND = bytes(range(256)) * 32


def microseconds(call: Callable[[], object], count: int = 5_000) -> float:
    """The best of nine rounds."""
    return min(timeit.repeat(call, number=count, repeat=9)) / count * 1e6


def floor(text: bytes, key: str | None) -> object:
    frame = json.loads(text)
    return base64.b64decode(frame[key]) if key else frame


def compare(name: str, text: bytes, ours: Callable[[], object], key: str | None) -> None:
    mine, least = microseconds(ours), microseconds(lambda: floor(text, key))
    print(f"{name:38} {mine:7.2f} us   floor {least:7.2f} us   ratio {mine / least:5.2f}")


def main() -> None:
    codec = OpenAICodec()
    sound = base64.b64encode(_SOUND).decode()
    delta = {"type": "response.output_audio.delta", **_PLACE, "delta": sound}
    words = {"type": "response.output_audio_transcript.delta", **_PLACE, "delta": "Hello", "obfuscation": "kX1yigxefJb"}
    append = ev.AudioInputAppend(_SOUND[:1920])

    for name, frame, key in (("audio delta of 8 KiB", delta, "delta"), ("transcript delta", words, None)):
        text = json.dumps(frame, separators=(",", ":"))
        data = text.encode()
        compare(f"decode {name} (text)", data, lambda text=text: codec.decode(text), key)  # type: ignore[misc]
        compare(f"decode {name} (bytes)", data, lambda data=data: codec.decode(data), key)  # type: ignore[misc]

    mine = microseconds(lambda: codec.encode(append))
    least = microseconds(
        lambda: json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(append.audio).decode()})
    )
    print(f"{'encode append of 40 ms':38} {mine:7.2f} us   floor {least:7.2f} us   ratio {mine / least:5.2f}")


if __name__ == "__main__":
    main()
