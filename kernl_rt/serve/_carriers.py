"""What each carrier needs of the routes: how it signs, how it names a call, how it is told to open a stream."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import quoteattr

from kernl_rt.abc import MessageStream
from kernl_rt.channels._phone._channel import PhoneChannel
from kernl_rt.channels.telnyx import TelnyxChannel, TelnyxSignature
from kernl_rt.channels.twilio import TwilioChannel, TwilioSignature
from kernl_rt.channels.twilio._signature import check_public_url
from kernl_rt.channels.vonage import VonageChannel, VonageSignature
from kernl_rt.channels.vonage._codec import RATES
from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.serve._stream_tokens import Announced

__all__ = ["PhoneCarrier", "Telnyx", "Twilio", "Vonage"]

Headers = Iterable[tuple[bytes, bytes]]

TOKEN = "token"


class PhoneCarrier(ABC):
    """One carrier, configured."""

    name: str
    media_type: str
    #: Of what a call sends, in bytes a second: twice what real time takes.
    bytes_per_second: float

    def __init__(self, public_url: str, path: str) -> None:
        if not path.startswith("/") or path.endswith("/"):
            raise MisconfiguredError(f"the path {path!r} must begin with a slash and not end with one")
        self.public_url = check_public_url(public_url)
        self.path = path
        self.webhook_path = f"{path}/voice"
        self.stream_path = f"{path}/stream"
        self.stream_url = "wss" + self.public_url.removeprefix("https") + self.stream_path

    @abstractmethod
    def sent_webhook(self, headers: Headers, query: str, body: bytes) -> bool:
        """Whether the carrier sent it."""

    def asked_for_upgrade(self, headers: Headers) -> bool:
        """Whether the carrier asked for it, as far as the upgrade can tell: the token is looked at in any case."""
        return True

    @abstractmethod
    def read_webhook(self, body: bytes) -> Announced | None:
        """The call that a genuine webhook announces."""

    @abstractmethod
    def answer(self, announced: Announced, token: str) -> str:
        """The document that makes the carrier open the stream."""

    @abstractmethod
    async def accept(self, stream: MessageStream, timeout: float) -> PhoneChannel:
        """As :meth:`TwilioChannel.accept <kernl_rt.channels.twilio.TwilioChannel.accept>`."""


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=1_000))
    except ValueError:
        return {}


def _announced_by_form(body: bytes) -> Announced | None:
    form = _form(body)
    call_id = form.get("CallSid", "")
    return Announced(call_id, form.get("From", ""), form.get("To", "")) if call_id else None


def _stream_xml(url: str, attributes: str, token: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Response><Connect><Stream url={quoteattr(url)}{attributes}>"
        f"<Parameter name={quoteattr(TOKEN)} value={quoteattr(token)}/>"
        "</Stream></Connect></Response>"
    )


class Twilio(PhoneCarrier):
    """TwiML; both the webhook and the upgrade are signed."""

    name = "twilio"
    media_type = "text/xml"
    bytes_per_second = 2 * 50 * 448.0  # 20 ms in base64, and the JSON around it

    def __init__(self, public_url: str, path: str, auth_token: str | Secret) -> None:
        super().__init__(public_url, path)
        self._signature = TwilioSignature(auth_token, public_url)

    def sent_webhook(self, headers: Headers, query: str, body: bytes) -> bool:
        return self._signature.allows_webhook(self.webhook_path, headers, body, query=query)

    def asked_for_upgrade(self, headers: Headers) -> bool:
        return self._signature.allows_upgrade(self.stream_path, headers)

    def read_webhook(self, body: bytes) -> Announced | None:
        return _announced_by_form(body)

    def answer(self, announced: Announced, token: str) -> str:
        return _stream_xml(self.stream_url, "", token)

    async def accept(self, stream: MessageStream, timeout: float) -> PhoneChannel:
        return await TwilioChannel.accept(stream, timeout=timeout)


class Telnyx(PhoneCarrier):
    """TeXML; the webhook is signed, the upgrade is not: the token alone lets a stream in."""

    name = "telnyx"
    media_type = "text/xml"
    bytes_per_second = 2 * 50 * 448.0  # 20 ms in base64, and the JSON around it

    def __init__(self, public_url: str, path: str, public_key: str, clock: Callable[[], float] = time.time) -> None:
        super().__init__(public_url, path)
        self._signature = TelnyxSignature(public_key)
        self._clock = clock

    def sent_webhook(self, headers: Headers, query: str, body: bytes) -> bool:
        return self._signature.allows_webhook(headers, body, now=self._clock())

    def read_webhook(self, body: bytes) -> Announced | None:
        return _announced_by_form(body)

    def answer(self, announced: Announced, token: str) -> str:
        # 'codec' is of the sound that comes; Telnyx transcodes between PCMU and PCMA, and announces what it does.
        attributes = ' codec="PCMU" bidirectionalMode="rtp" bidirectionalCodec="PCMU" bidirectionalSamplingRate="8000"'
        return _stream_xml(self.stream_url, attributes, token)

    async def accept(self, stream: MessageStream, timeout: float) -> PhoneChannel:
        return await TelnyxChannel.accept(stream, timeout=timeout)


class Vonage(PhoneCarrier):
    """NCCO; both the webhook and the upgrade are signed."""

    name = "vonage"
    media_type = "application/json"

    def __init__(
        self,
        public_url: str,
        path: str,
        signature_secret: str | Secret,
        rate: int = 16_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(public_url, path)
        if rate not in RATES:
            raise MisconfiguredError(f"Vonage sends no sound at {rate!r} Hz: use 8000, 16000 or 24000")
        self._signature = VonageSignature(signature_secret)
        self._rate = rate
        self._clock = clock
        self.bytes_per_second = 2 * (rate * 2 + 2_000.0)

    def sent_webhook(self, headers: Headers, query: str, body: bytes) -> bool:
        return self._signature.allows_webhook(headers, body, now=self._clock())

    def asked_for_upgrade(self, headers: Headers) -> bool:
        return self._signature.allows_upgrade(headers, now=self._clock())

    def read_webhook(self, body: bytes) -> Announced | None:
        try:
            call: Any = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(call, dict):
            return None
        uuid, caller, called = (call.get(key, "") for key in ("uuid", "from", "to"))
        if not (isinstance(uuid, str) and isinstance(caller, str) and isinstance(called, str) and uuid):
            return None
        return Announced(uuid, caller, called)

    def answer(self, announced: Announced, token: str) -> str:
        endpoint = {
            "type": "websocket",
            "uri": self.stream_url,
            "content-type": f"audio/l16;rate={self._rate}",
            "headers": {"call_id": announced.call_id, TOKEN: token},
            "authorization": {"type": "vonage"},
        }
        return json.dumps([{"action": "connect", "endpoint": [endpoint]}])

    async def accept(self, stream: MessageStream, timeout: float) -> PhoneChannel:
        return await VonageChannel.accept(stream, timeout=timeout)
