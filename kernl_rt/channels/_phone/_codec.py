"""The messages that Twilio's and Telnyx's media streams have in common; each carrier's own codec says the rest.

Both send JSON objects with an ``event``, and sound in base64. A stream begins with ``connected`` and ``start``; before
it, sound is dropped, after ``stop`` everything is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pybase64

from kernl_rt.channels._phone._wire import (
    CallStarted,
    CaptureClock,
    PhoneCall,
    PhoneCounts,
    read_audio,
    read_key,
    read_object,
    read_text,
    write_object,
)
from kernl_rt.channels._wire import Echoed, Left, Message
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured, DtmfPressed
from kernl_rt.exceptions import ChannelError

__all__ = ["MediaStreamWire"]

Found = Sequence[object]


class MediaStreamWire:
    """One call, from the carrier's first message. ``call`` is ``None`` until its ``start`` has come."""

    #: The key of the stream's id, in messages both ways.
    stream_key: ClassVar[str]
    frame_ms: float = 20.0

    def __init__(self) -> None:
        self.call: PhoneCall | None = None
        self.counts: PhoneCounts = PhoneCounts()
        self.clock: CaptureClock = CaptureClock()
        self._stopped = False
        self._readers: dict[str, Callable[[dict[str, Any], float], Found]] = {
            "connected": self._on_connected,
            "start": self._on_start,
            "media": self._on_media,
            "dtmf": self._on_dtmf,
            "mark": self._on_mark,
            "stop": self._on_stop,
        }

    @property
    def input_format(self) -> AudioFormat:
        return self._started.input_format

    @property
    def output_format(self) -> AudioFormat:
        return self._started.output_format

    @property
    def _started(self) -> PhoneCall:
        if self.call is None:
            raise ChannelError("the carrier has not said 'start' yet: the call's formats are not known")
        return self.call

    # -- reading ------------------------------------------------------------------------------------------------------

    def decode(self, message: Message, now: float) -> Found:
        """As :meth:`kernl_rt.channels._wire.Wire.decode`; the call itself comes as :class:`CallStarted`, once."""
        frame = read_object(message)
        if frame is None or type(event := frame.get("event")) is not str:
            self.counts.malformed += 1
            return ()
        read = self._readers.get(event)
        if read is None or self._stopped:
            self.counts.unknown += 1
            return ()
        return read(frame, now)

    def _on_connected(self, frame: dict[str, Any], now: float) -> Found:
        return ()

    def _on_start(self, frame: dict[str, Any], now: float) -> Found:
        if self.call is not None:
            self.counts.repeated += 1
            return ()
        self.call = self.read_start(frame, frame.get("start"))
        return (CallStarted(self.call),)

    def read_start(self, frame: dict[str, Any], start: Any) -> PhoneCall:
        """The call that ``start`` describes. Raises ``ChannelError`` where it cannot be served."""
        raise NotImplementedError

    def _on_media(self, frame: dict[str, Any], now: float) -> Found:
        if not self._is_ours(frame):
            return ()
        media = frame.get("media")
        if read_text(media, "track") not in ("", "inbound", "inbound_track"):
            self.counts.foreign += 1
            return ()
        audio = read_audio(media, "payload")
        if not audio:
            self.counts.malformed += 1
            return ()
        return self.on_sound(audio, media, now)

    def on_sound(self, audio: bytes, media: Any, now: float) -> Found:
        """``audio`` came in the message ``media``."""
        raise NotImplementedError

    def captured(self, audio: bytes, timestamp_ms: int | None, now: float) -> AudioCaptured:
        return AudioCaptured(audio, self.clock.at(timestamp_ms, self.input_format.ms(len(audio)), now))

    def _on_dtmf(self, frame: dict[str, Any], now: float) -> Found:
        if not self._is_ours(frame):
            return ()
        key = read_key(frame.get("dtmf"), "digit")
        if key is None:
            self.counts.malformed += 1
            return ()
        return (DtmfPressed(key, at=now),)

    def _on_mark(self, frame: dict[str, Any], now: float) -> Found:
        if not self._is_ours(frame):
            return ()
        name = read_text(frame.get("mark"), "name")
        if not name:
            self.counts.malformed += 1
            return ()
        return (Echoed(name),)

    def _on_stop(self, frame: dict[str, Any], now: float) -> Found:
        if not self._is_ours(frame):
            return ()
        self._stopped = True
        return (Left(),)

    def _is_ours(self, frame: dict[str, Any]) -> bool:
        if self.call is None:
            self.counts.early += 1
            return False
        if read_text(frame, self.stream_key) != self.call.stream_id:
            self.counts.foreign += 1
            return False
        return True

    # -- writing ------------------------------------------------------------------------------------------------------

    def encode_audio(self, audio: bytes) -> Sequence[Message]:
        return (self._message("media", {"payload": pybase64.b64encode(audio).decode()}),)

    def encode_mark(self, name: str) -> Sequence[Message]:
        return (self._message("mark", {"name": name}),)

    def encode_clear(self, clears: int) -> Sequence[Message]:
        return (self._message("clear", None),)

    def encode_goodbye(self) -> Sequence[Message]:
        """Nothing: the carriers know no such message; closing the link ends the stream."""
        return ()

    def _message(self, event: str, body: dict[str, str] | None) -> str:
        frame: dict[str, Any] = {"event": event, self.stream_key: self._started.stream_id}
        if body is not None:
            frame[event] = body
        return write_object(frame)
