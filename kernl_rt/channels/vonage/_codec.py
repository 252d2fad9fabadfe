"""Vonage Voice WebSockets (https://developer.vonage.com/en/voice/voice-api/guides/websockets).

In: first ``websocket:connected`` with the sound's ``content-type`` and whatever the NCCO gave as ``headers``, then
binary messages of linear 16-bit sound, little-endian, 20 ms each; ``websocket:dtmf``, ``websocket:notify`` (what
``notify`` asked for: the sound before it was played) and ``websocket:cleared``. Out: binary messages of exactly 20 ms,
``{"action": "notify", "payload": {…}}``, ``{"action": "clear"}``. The stream ends with the link.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kernl_rt.channels._phone._wire import (
    CallStarted,
    PhoneCall,
    PhoneCounts,
    read_key,
    read_object,
    read_parameters,
    read_text,
    write_object,
)
from kernl_rt.channels._wire import Echoed, Message
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured, DtmfPressed
from kernl_rt.exceptions import ChannelError

__all__ = ["RATES", "VonageWire"]

#: Samples per second that an NCCO may ask for.
RATES = (8_000, 16_000, 24_000)

_CONTENT_TYPE = re.compile(r"audio/l16\s*;\s*rate=(\d{4,5})", re.IGNORECASE | re.ASCII)


class VonageWire:
    """One WebSocket of Vonage's. ``call`` is ``None`` until ``websocket:connected`` has come."""

    frame_ms: float = 20.0

    def __init__(self) -> None:
        self.call: PhoneCall | None = None
        self.counts: PhoneCounts = PhoneCounts()

    @property
    def input_format(self) -> AudioFormat:
        if self.call is None:
            raise ChannelError("Vonage has not said 'websocket:connected' yet: the call's format is not known")
        return self.call.input_format

    @property
    def output_format(self) -> AudioFormat:
        return self.input_format

    # -- reading ------------------------------------------------------------------------------------------------------

    def decode(self, message: Message, now: float) -> Sequence[object]:
        """As :meth:`kernl_rt.channels._wire.Wire.decode`; the call itself comes as :class:`CallStarted`, once."""
        # A text may come as UTF-8 bytes, and sound may begin with any byte: only a text that is an event is one.
        if isinstance(message, str):
            return self._read_event(message, now)
        if message[:1] == b"{" and b'"event"' in message and read_object(message) is not None:
            return self._read_event(message, now)
        if self.call is None:
            self.counts.early += 1
            return ()
        if not message or len(message) % 2:
            self.counts.malformed += 1
            return ()
        return (AudioCaptured(message),)

    def _read_event(self, message: Message, now: float) -> Sequence[object]:
        frame = read_object(message)
        if frame is None or type(event := frame.get("event")) is not str:
            self.counts.malformed += 1
            return ()
        if event == "websocket:connected":
            return self._start(frame)
        if self.call is None:
            self.counts.early += 1
            return ()
        found: object = None
        if event == "websocket:dtmf":
            key = read_key(frame, "digit")
            found = DtmfPressed(key, at=now) if key else None
        elif event == "websocket:notify":
            name = read_text(frame.get("payload"), "mark")
            found = Echoed(name) if name else None
        elif event == "websocket:cleared":
            return ()
        else:
            self.counts.unknown += 1
            return ()
        if found is None:
            self.counts.malformed += 1
            return ()
        return (found,)

    def _start(self, frame: dict[str, Any]) -> Sequence[object]:
        if self.call is not None:
            self.counts.repeated += 1
            return ()
        said = read_text(frame, "content-type")
        matched = _CONTENT_TYPE.fullmatch(said.strip())
        rate = int(matched[1]) if matched else 0
        if rate not in RATES:
            raise ChannelError(
                f"Vonage announced sound as {said[:60]!r}: ask for audio/l16;rate=8000, 16000 or 24000 in the NCCO"
            )
        parameters = {**read_parameters(frame.get("headers")), **read_parameters(frame)}
        for known in ("event", "content-type"):
            parameters.pop(known, None)
        call_id = parameters.get("call_id") or parameters.get("uuid") or ""
        linear = AudioFormat("pcm16", rate)
        self.call = PhoneCall("vonage", call_id, call_id, linear, linear, parameters=parameters)
        return (CallStarted(self.call),)

    # -- writing ------------------------------------------------------------------------------------------------------

    def encode_audio(self, audio: bytes) -> Sequence[Message]:
        # Vonage plays whole messages of 20 ms only.
        missing = self.output_format.size(self.frame_ms) - len(audio)
        return (audio + bytes(missing) if missing > 0 else audio,)

    def encode_mark(self, name: str) -> Sequence[Message]:
        return (write_object({"action": "notify", "payload": {"mark": name}}),)

    def encode_clear(self, clears: int) -> Sequence[Message]:
        return (write_object({"action": "clear"}),)

    def encode_goodbye(self) -> Sequence[Message]:
        """Nothing: Vonage knows no such message; closing the link ends the stream."""
        return ()
