"""What phone carriers say and understand, as their documentation has it, from their side."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from attrs import frozen

from kernl_rt.config import G711_ULAW, AudioFormat

__all__ = ["FORMATS", "WORDS", "Carrier", "Order", "Words", "WrongMessage"]

Carrier: TypeAlias = Literal["twilio", "telnyx", "vonage"]
Message = str | bytes


class WrongMessage(Exception):
    """The carrier does not know such a message, and would end the stream."""


@frozen
class Order:
    """What the carrier was told: to play ``audio``, to echo the mark ``name``, or to clear."""

    verb: Literal["audio", "mark", "clear"]
    audio: bytes = b""
    name: str = ""


class Words(ABC):
    """One carrier's messages, for one stream."""

    def __init__(self, call_id: str, audio_format: AudioFormat, parameters: Mapping[str, str]) -> None:
        self.call_id = call_id
        self.audio_format = audio_format
        self.parameters: dict[str, str] = dict(parameters)
        self.stream_id: str = f"stream-of-{call_id}"
        self._sequence = 0
        self._chunk = 0

    @abstractmethod
    def greeting(self) -> list[Message]:
        """The first messages."""

    @abstractmethod
    def media(self, audio: bytes, at_ms: int) -> Message:
        """The caller's sound."""

    @abstractmethod
    def key(self, key: str) -> Message: ...

    @abstractmethod
    def mark(self, name: str) -> Message:
        """A mark, echoed."""

    def cleared(self, marks: list[str]) -> list[Message]:
        """The answer to a clear: ``marks`` were outstanding."""
        return [self.mark(name) for name in marks]

    def farewell(self) -> list[Message]:
        """The last messages before the link is closed."""
        return []

    @abstractmethod
    def read(self, message: Message) -> Order:
        """Understand a message of the application. Raises :class:`WrongMessage`."""

    def numbered(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    def chunk(self) -> str:
        self._chunk += 1
        return str(self._chunk)

    def skip(self) -> None:
        """A media message is lost on its way: its numbers are used up."""
        self.numbered()
        self.chunk()


def _json(message: Message) -> dict[str, Any]:
    if not isinstance(message, str):
        raise WrongMessage("a binary message")
    try:
        frame = json.loads(message)
    except ValueError:
        raise WrongMessage("no JSON") from None
    if not isinstance(frame, dict):
        raise WrongMessage("no object")
    return frame


def _sound(payload: Any) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (TypeError, ValueError):
        raise WrongMessage("a payload that is no base64") from None


class TwilioWords(Words):
    key_of_stream = "streamSid"

    def greeting(self) -> list[Message]:
        start = {
            "streamSid": self.stream_id,
            "accountSid": "AC00000000000000000000000000000000",
            "callSid": self.call_id,
            "tracks": ["inbound"],
            "customParameters": self.parameters,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [json.dumps(connected), self.say("start", start)]

    def say(self, event: str, body: Mapping[str, Any]) -> str:
        frame = {"event": event, "sequenceNumber": self.numbered(), event: body, self.key_of_stream: self.stream_id}
        return json.dumps(frame)

    def media(self, audio: bytes, at_ms: int) -> Message:
        payload = base64.b64encode(audio).decode()
        return self.say(
            "media", {"track": "inbound", "chunk": self.chunk(), "timestamp": str(at_ms), "payload": payload}
        )

    def key(self, key: str) -> Message:
        return self.say("dtmf", {"track": "inbound_track", "digit": key})

    def mark(self, name: str) -> Message:
        return self.say("mark", {"name": name})

    def farewell(self) -> list[Message]:
        return [self.say("stop", {"accountSid": "AC00000000000000000000000000000000", "callSid": self.call_id})]

    def read(self, message: Message) -> Order:
        frame = _json(message)
        event = frame.get("event")
        if frame.get(self.key_of_stream) != self.stream_id:
            raise WrongMessage("another stream")
        if event == "clear" and set(frame) == {"event", self.key_of_stream}:
            return Order("clear")
        body = frame.get(event) if isinstance(event, str) else None
        if set(frame) != {"event", self.key_of_stream, event} or not isinstance(body, dict):
            raise WrongMessage(f"the event {event!r}")
        if event == "media" and set(body) == {"payload"}:
            return Order("audio", audio=_sound(body["payload"]))
        if event == "mark" and set(body) == {"name"} and isinstance(body["name"], str) and body["name"]:
            return Order("mark", name=body["name"])
        raise WrongMessage(f"the event {event!r}")


class TelnyxWords(TwilioWords):
    key_of_stream = "stream_id"

    def greeting(self) -> list[Message]:
        pcm = self.audio_format.encoding == "pcm16"
        encoding = "L16" if pcm else {"g711_ulaw": "PCMU", "g711_alaw": "PCMA"}[self.audio_format.encoding]
        start = {
            "user_id": "3E6F995F-0000-4705-9741-53B116D28237",
            "call_control_id": self.call_id,
            "call_session_id": "ff55a038-0000-11ef-9692-02420aeffb1f",
            "from": "+13122010094",
            "to": "+13122123456",
            "client_state": "",
            "custom_parameters": self.parameters,
            "media_format": {"encoding": encoding, "sample_rate": self.audio_format.rate, "channels": 1},
        }
        return [json.dumps({"event": "connected", "version": "1.0.0"}), self.say("start", start)]

    def say(self, event: str, body: Mapping[str, Any]) -> str:
        frame = {"event": event, "sequence_number": self.numbered(), event: body, "stream_id": self.stream_id}
        return json.dumps(frame)

    def media(self, audio: bytes, at_ms: int) -> Message:
        return super().media(self._network_order(audio), at_ms)

    def key(self, key: str) -> Message:
        return self.say("dtmf", {"digit": key})

    def farewell(self) -> list[Message]:
        return [self.say("stop", {"user_id": "3E6F995F-0000-4705-9741-53B116D28237", "call_control_id": self.call_id})]

    def read(self, message: Message) -> Order:
        order = super().read(message)
        if order.verb != "audio":
            return order
        if not 20 <= self.audio_format.ms(len(order.audio)) <= 30_000:
            raise WrongMessage("sound shorter than 20 ms or longer than 30 s")
        return Order("audio", audio=self._network_order(order.audio))

    def _network_order(self, audio: bytes) -> bytes:
        if self.audio_format.encoding != "pcm16":
            return audio
        swapped = bytearray(audio)
        swapped[::2], swapped[1::2] = audio[1::2], audio[::2]
        return bytes(swapped)


class VonageWords(Words):
    def greeting(self) -> list[Message]:
        connected = {
            "event": "websocket:connected",
            "content-type": f"audio/l16;rate={self.audio_format.rate}",
            **self.parameters,
        }
        return [json.dumps(connected)]

    def media(self, audio: bytes, at_ms: int) -> Message:
        return audio

    def key(self, key: str) -> Message:
        return json.dumps({"event": "websocket:dtmf", "digit": key, "duration": 260})

    def mark(self, name: str) -> Message:
        return json.dumps({"event": "websocket:notify", "payload": json.loads(name)})

    def cleared(self, marks: list[str]) -> list[Message]:
        return [json.dumps({"event": "websocket:cleared"})]

    def read(self, message: Message) -> Order:
        if isinstance(message, bytes):
            if len(message) != self.audio_format.size(20):
                raise WrongMessage(f"sound of {len(message)} bytes, not of 20 ms")
            return Order("audio", audio=message)
        frame = _json(message)
        if frame == {"action": "clear"}:
            return Order("clear")
        if set(frame) == {"action", "payload"} and frame["action"] == "notify" and isinstance(frame["payload"], dict):
            return Order("mark", name=json.dumps(frame["payload"]))
        raise WrongMessage(f"the action {frame.get('action')!r}")


WORDS: dict[Carrier, type[Words]] = {"twilio": TwilioWords, "telnyx": TelnyxWords, "vonage": VonageWords}
#: The formats that carriers use where nothing else was asked for.
FORMATS: dict[Carrier, AudioFormat] = {
    "twilio": G711_ULAW,
    "telnyx": G711_ULAW,
    "vonage": AudioFormat("pcm16", 16_000),
}
