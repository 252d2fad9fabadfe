"""A server that replays a recorded conversation to whoever talks to it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from kernl_rt.abc import MessageStream

#: Client frames that the recorded server waited for. Audio is not counted: nobody sends it in the same pieces.
_AWAITED = ("session.update", "conversation.item.create", "response.create", "input_audio_buffer.commit")


class Replay:
    """``frames`` in order: what was received is sent, and what was sent is waited for, by type and number."""

    def __init__(self, path: Path) -> None:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.frames = [each for each in document["interactions"] if each.get("kind", "message") == "message"]
        self.sent: list[dict[str, Any]] = []
        self.finished = False

    def received(self, type: str) -> list[dict[str, Any]]:
        """What the recorded server said, of one type."""
        frames = [frame["data"] for frame in self.frames if frame["direction"] == "received"]
        return [data for data in frames if data["type"] == type]

    def said(self, type: str) -> list[dict[str, Any]]:
        """What the recorded client said, of one type."""
        frames = [frame["data"] for frame in self.frames if frame["direction"] == "sent"]
        return [data for data in frames if data["type"] == type]

    async def serve(self, stream: MessageStream, request: object) -> None:
        wanted: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        for frame in self.frames:
            data = frame["data"]
            if frame["direction"] == "received":
                await stream.send(json.dumps(data))
            elif data["type"] in _AWAITED:
                wanted[data["type"]] += 1
                while seen[data["type"]] < wanted[data["type"]]:
                    for message in await stream.receive():
                        self.sent.append(json.loads(message))
                        seen[self.sent[-1]["type"]] += 1
        self.finished = True
        while True:
            self.sent.extend(json.loads(message) for message in await stream.receive())
