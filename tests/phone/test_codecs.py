"""The carriers' messages, as documented, and everything else that may come."""

from __future__ import annotations

import base64
import json
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from phone.lines import CARRIERS, LINES, ramp, wire_of

from kernl_rt.channels._phone._wire import CallStarted, CaptureClock, PhoneCounts
from kernl_rt.channels._wire import Echoed, Left
from kernl_rt.channels.telnyx._codec import TelnyxWire
from kernl_rt.channels.telnyx._order import Order
from kernl_rt.channels.twilio._codec import TwilioWire
from kernl_rt.channels.vonage._codec import VonageWire
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import AudioCaptured, DtmfPressed
from kernl_rt.exceptions import ChannelError, MisconfiguredError
from kernl_rt.testing import FakeCarrier, hostile_corpus, hostile_frames
from kernl_rt.testing._carrier_words import Carrier, Order as Said
from kernl_rt.testing.strategies import hostile_messages

SOUND = ramp(G711_ULAW, 20)
PAYLOAD = base64.b64encode(SOUND).decode()

# The examples of https://www.twilio.com/docs/voice/media-streams/websocket-messages, in this project's words.
TWILIO_START = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC1",
        "streamSid": "MZ1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"FirstName": "Jane", "LastName": "Doe"},
    },
    "streamSid": "MZ1",
}
# Those of https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket.
TELNYX_START = {
    "event": "start",
    "sequence_number": "1",
    "start": {
        "user_id": "U1",
        "call_control_id": "v2:C1",
        "call_session_id": "S1",
        "from": "+13122010094",
        "to": "+13122123456",
        "tags": ["TAG1", "TAG2"],
        "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d",
        "custom_parameters": {"customer_id": "customer_123"},
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
    },
    "stream_id": "ST1",
}


def twilio(*frames: dict[str, Any]) -> tuple[TwilioWire, list[object]]:
    wire = TwilioWire()
    found = [value for frame in frames for value in wire.decode(json.dumps(frame), 1.0)]
    return wire, found


def media(**changes: Any) -> dict[str, Any]:
    body = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": PAYLOAD, **changes.pop("media", {})}
    return {"event": "media", "sequenceNumber": "3", "media": body, "streamSid": "MZ1", **changes}


# -- Twilio ------------------------------------------------------------------------------------------------------------


def test_twilio_in() -> None:
    wire, (started, sound, key, echo, left) = twilio(
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        TWILIO_START,
        media(),
        {"event": "dtmf", "streamSid": "MZ1", "sequenceNumber": "5", "dtmf": {"track": "inbound_track", "digit": "#"}},
        {"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "my label"}},
        {"event": "stop", "sequenceNumber": "5", "streamSid": "MZ1", "stop": {"accountSid": "AC1", "callSid": "CA1"}},
    )
    assert isinstance(started, CallStarted)
    call = started.call
    assert (call.carrier, call.call_id, call.stream_id, call.account_id) == ("twilio", "CA1", "MZ1", "AC1")
    assert (call.input_format, call.output_format) == (G711_ULAW, G711_ULAW)
    assert call.parameters == {"FirstName": "Jane", "LastName": "Doe"}
    assert "Jane" not in repr(call)
    assert sound == AudioCaptured(SOUND, at=0.98)
    assert key == DtmfPressed("#", at=1.0)
    assert echo == Echoed("my label")
    assert isinstance(left, Left)
    assert wire.counts == PhoneCounts()


def test_twilio_out() -> None:
    wire, _ = twilio(TWILIO_START)
    assert [json.loads(message) for message in wire.encode_audio(SOUND)] == [
        {"event": "media", "streamSid": "MZ1", "media": {"payload": PAYLOAD}}
    ]
    assert [json.loads(message) for message in wire.encode_mark("m1")] == [
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "m1"}}
    ]
    assert [json.loads(message) for message in wire.encode_clear(1)] == [{"event": "clear", "streamSid": "MZ1"}]
    assert wire.encode_goodbye() == ()


def test_twilio_drops_and_counts() -> None:
    wire, found = twilio(
        media(),  # before the start (fault 36)
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "m"}},
        TWILIO_START,
        TWILIO_START,
        media(streamSid="MZ2"),  # another stream's
        media(media={"track": "outbound"}),
        media(media={"payload": "!"}),
        media(media={"payload": ""}),
        media(media={"payload": 5}),
        {"event": "media", "media": ["x"], "streamSid": "MZ1"},
        {"event": "dtmf", "streamSid": "MZ1", "dtmf": {"digit": "12"}},
        {"event": "dtmf", "streamSid": "MZ1", "dtmf": {"digit": "E"}},
        {"event": "mark", "streamSid": "MZ1", "mark": {}},
        {"event": "custom", "streamSid": "MZ1"},
        {"event": ["media"]},
        {"event": "stop", "streamSid": "MZ1"},
        media(),  # after the stop
    )
    assert [type(value) for value in found] == [CallStarted, Left]
    assert wire.counts == PhoneCounts(malformed=8, unknown=2, early=2, foreign=2, repeated=1)


def test_a_gap_in_the_sequence_is_counted() -> None:
    wire, found = twilio(TWILIO_START, *[media(media={"chunk": str(chunk)}) for chunk in (1, 2, 5, 6, 9)])
    assert len(found) == 6
    assert wire.counts.lost == 4


@pytest.mark.parametrize(
    "change",
    [
        {"callSid": ""},
        {"callSid": None},
        {"mediaFormat": None},
        {"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}},
        {"mediaFormat": {"encoding": "audio/x-alaw", "sampleRate": 8000, "channels": 1}},
        {"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}},
    ],
)
def test_a_call_that_cannot_be_served_says_why(change: dict[str, Any]) -> None:
    start: Any = TWILIO_START["start"]
    with pytest.raises(ChannelError, match=r"Twilio"):
        twilio({**TWILIO_START, "start": {**start, **change}})
    with pytest.raises(ChannelError, match=r"Twilio"):
        twilio({**TWILIO_START, "start": "x", "streamSid": "MZ1"})


# -- Telnyx ------------------------------------------------------------------------------------------------------------


def telnyx_media(chunk: int, sound: bytes = SOUND) -> str:
    payload = base64.b64encode(sound).decode()
    body = {"track": "inbound", "chunk": str(chunk), "timestamp": str(20 * (chunk - 1)), "payload": payload}
    return json.dumps({"event": "media", "sequence_number": "4", "media": body, "stream_id": "ST1"})


def test_telnyx_in() -> None:
    wire = TelnyxWire()
    assert wire.decode(json.dumps({"event": "connected", "version": "1.0.0"}), 0.0) == ()
    (started,) = wire.decode(json.dumps(TELNYX_START), 0.0)
    assert isinstance(started, CallStarted)
    call = started.call
    assert (call.carrier, call.call_id, call.stream_id) == ("telnyx", "v2:C1", "ST1")
    assert (call.from_number, call.to_number, call.account_id) == ("+13122010094", "+13122123456", "U1")
    assert call.parameters == {"customer_id": "customer_123"}
    assert wire.decode(telnyx_media(1), 1.0) == [AudioCaptured(SOUND, at=0.98)]
    key = {"event": "dtmf", "stream_id": "ST1", "occurred_at": "2026-01-01T00:00:00Z", "sequence_number": "5",
           "dtmf": {"digit": "1"}}  # fmt: skip
    assert wire.decode(json.dumps(key), 2.0) == (DtmfPressed("1", at=2.0),)
    mark = {"event": "mark", "sequence_number": "4", "stream_id": "ST1", "mark": {"name": "x"}}
    assert wire.decode(json.dumps(mark), 2.0) == (Echoed("x"),)
    error = {"event": "error", "stream_id": "ST1", "payload": {"code": 100002, "title": "unknown_error"}}
    assert wire.decode(json.dumps(error), 2.0) == ()
    stop = {"event": "stop", "sequence_number": "5", "stop": {"user_id": "U1", "call_control_id": "v2:C1"},
            "stream_id": "ST1"}  # fmt: skip
    (left,) = wire.decode(json.dumps(stop), 2.0)
    assert isinstance(left, Left)
    assert wire.counts == PhoneCounts(errors=1)


def test_telnyx_out() -> None:
    wire = TelnyxWire()
    wire.decode(json.dumps(TELNYX_START), 0.0)
    said = (*wire.encode_audio(SOUND), *wire.encode_mark("m"), *wire.encode_clear(1))
    assert [json.loads(message) for message in said] == [
        {"event": "media", "stream_id": "ST1", "media": {"payload": PAYLOAD}},
        {"event": "mark", "stream_id": "ST1", "mark": {"name": "m"}},
        {"event": "clear", "stream_id": "ST1"},
    ]  # fmt: skip
    (short,) = wire.encode_audio(SOUND[:7])
    assert base64.b64decode(json.loads(short)["media"]["payload"]) == SOUND[:7] + b"\xff" * 153


def test_telnyx_l16_is_in_network_order() -> None:
    wire = TelnyxWire(PCM16_16K)
    start: Any = TELNYX_START["start"]
    linear = {"encoding": "L16", "sample_rate": 16000, "channels": 1}
    wire.decode(json.dumps({**TELNYX_START, "start": {**start, "media_format": linear}}), 0.0)
    (sound,) = wire.decode(telnyx_media(1, b"\x01\x02\x03\x04"), 1.0)
    assert isinstance(sound, AudioCaptured)
    assert sound.audio == b"\x02\x01\x04\x03"
    (message,) = wire.encode_audio(b"\x02\x01" * 320)
    assert base64.b64decode(json.loads(message)["media"]["payload"]) == b"\x01\x02" * 320
    assert wire.decode(telnyx_media(2, b"\x01\x02\x03"), 1.0) == ()
    assert wire.counts.malformed == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [(("PCMU", 8000, 1), G711_ULAW), (("PCMA", 8000, 1), G711_ALAW), (("L16", 24000, 1), PCM16_24K),
     (("OPUS", 16000, 1), None), (("G722", 8000, 1), None), (("PCMU", 16000, 1), None), (("PCMU", 8000, 2), None),
     (("L16", 11025, 1), None), (("", 0, 0), None)],
)  # fmt: skip
def test_telnyx_formats(said: tuple[str, int, int], expected: AudioFormat | None) -> None:
    start: Any = TELNYX_START["start"]
    announced = dict(zip(("encoding", "sample_rate", "channels"), said, strict=True))
    message = json.dumps({**TELNYX_START, "start": {**start, "media_format": announced}})
    wire = TelnyxWire()
    if expected is None:
        with pytest.raises(ChannelError, match="PCMU, PCMA or L16"):
            wire.decode(message, 0.0)
        return
    wire.decode(message, 0.0)
    assert (wire.input_format, wire.output_format) == (expected, G711_ULAW)


def test_telnyx_takes_no_other_format() -> None:
    with pytest.raises(MisconfiguredError, match="L16"):
        TelnyxWire(AudioFormat("pcm16", 44_100))


# -- order -------------------------------------------------------------------------------------------------------------


@given(st.permutations(range(1, 9)), st.integers(0, 3))
def test_order_is_restored_within_its_bound(numbers: list[int], lost: int) -> None:
    order: Order[int] = Order(hold=8)
    sent = [number for number in numbers if number > lost]
    got = [item for number in sent for item in order.push(number, number, 0.0)] + order.flush()
    assert got == sorted(sent)
    assert order.lost == (lost if sent else 0)
    assert order.repeated == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 0.05)), max_size=60))
def test_order_never_runs_back_and_holds_little(arrivals: list[tuple[int, float]]) -> None:
    order: Order[int] = Order()
    now, got = 0.0, []
    for number, pause in arrivals:
        now += pause
        got += order.push(number, number, now)
        assert len(order._held) <= order.hold
    got += order.flush()
    assert got == sorted(set(got))
    assert len(got) + order.repeated == len(arrivals)


def test_what_is_late_is_not_awaited_for_long() -> None:
    order: Order[int] = Order()
    assert order.push(1, 1, 0.0) == [1]
    assert order.push(3, 3, 0.02) == []
    assert order.push(4, 4, 0.11) == []
    assert order.push(5, 5, 0.13) == [3, 4, 5]
    assert order.push(2, 2, 0.14) == []
    assert (order.lost, order.repeated) == (1, 1)
    assert order.push(10_000, 0, 0.2) == [0]  # it counts anew
    assert order.push(10_001, 1, 0.2) == [1]
    assert order.lost == 1


# -- Vonage ------------------------------------------------------------------------------------------------------------


def vonage(**changes: Any) -> VonageWire:
    wire = VonageWire()
    hello = {"event": "websocket:connected", "content-type": "audio/l16;rate=16000", "call_id": "c1", "a": "b"}
    wire.decode(json.dumps({**hello, **changes}), 0.0)
    return wire


def test_vonage_in() -> None:
    wire = vonage()
    assert wire.call is not None
    assert (wire.call.call_id, wire.call.input_format, wire.call.output_format) == ("c1", PCM16_16K, PCM16_16K)
    assert wire.call.parameters == {"call_id": "c1", "a": "b"}
    sound = ramp(PCM16_16K, 20)
    assert wire.decode(sound, 1.0) == (AudioCaptured(sound),)
    (key,) = wire.decode('{"event":"websocket:dtmf","digit":"5","duration":260}', 1.0)
    assert key == DtmfPressed("5", at=1.0)
    assert wire.decode('{"event":"websocket:notify","payload":{"mark":"m1"}}', 1.0) == (Echoed("m1"),)
    assert wire.decode('{"event":"websocket:cleared"}', 1.0) == ()
    assert wire.counts == PhoneCounts()


def test_vonage_out() -> None:
    wire = vonage()
    assert wire.encode_audio(bytes(640)) == (bytes(640),)
    assert wire.encode_audio(b"\1\0") == (b"\1\0" + bytes(638),)
    assert [json.loads(message) for message in (*wire.encode_mark("m1"), *wire.encode_clear(1))] == [
        {"action": "notify", "payload": {"mark": "m1"}},
        {"action": "clear"},
    ]


def test_vonage_sound_that_looks_like_a_text_is_sound() -> None:
    wire = vonage()
    looks = b'{"event":' + bytes(631)
    assert wire.decode(looks, 1.0) == (AudioCaptured(looks),)
    text = '{"event":"websocket:dtmf","digit":"5"}'
    assert wire.decode(text.encode(), 1.0) == (DtmfPressed("5", at=1.0),)


def test_vonage_drops_and_counts() -> None:
    wire = VonageWire()
    early = (b"\0\0", '{"event":"websocket:dtmf","digit":"5"}')
    later = ('{"event":"websocket:connected"}', b"", b"\0", "x", '{"event":"websocket:dtmf","digit":"55"}',
             '{"event":"websocket:notify","payload":7}', '{"event":"websocket:moved"}')  # fmt: skip
    assert not [value for message in early for value in wire.decode(message, 0.0)]
    wire.decode('{"event":"websocket:connected","content-type":"audio/l16; rate=8000"}', 0.0)
    assert not [value for message in later for value in wire.decode(message, 0.0)]
    assert wire.counts == PhoneCounts(malformed=5, unknown=1, early=2, repeated=1)


@pytest.mark.parametrize(
    "said", [None, 7, "", "audio/l16", "audio/l16;rate=44100", "audio/l16;rate=１６０００", "audio/opus"]
)
def test_vonage_formats(said: Any) -> None:
    with pytest.raises(ChannelError, match="16000"):
        vonage(**{"content-type": said})


# -- all ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("carrier", "audio_format"), LINES)
def test_the_fake_carrier_understands_what_is_sent(carrier: Carrier, audio_format: AudioFormat | None) -> None:
    fake = FakeCarrier(carrier, audio_format=audio_format)
    wire = wire_of(fake)
    sound = ramp(wire.output_format, 20)
    (message,) = wire.encode_audio(sound)
    assert fake.words.read(message) == Said("audio", audio=sound)
    (message,) = wire.encode_clear(1)
    assert fake.words.read(message) == Said("clear")
    (message,) = wire.encode_mark("m7")
    (echo,) = wire.decode(fake.words.mark(fake.words.read(message).name), 0.0)
    assert echo == Echoed("m7")
    (captured,) = wire.decode(fake.words.media(sound, 0), 1.0)
    assert isinstance(captured, AudioCaptured)
    assert captured.audio == sound


def test_before_the_start_there_is_no_format() -> None:
    for wire in (TwilioWire(), TelnyxWire(), VonageWire()):
        with pytest.raises(ChannelError):
            _ = wire.input_format


def decode_all(wire: Any, message: str | bytes) -> None:
    try:
        for value in wire.decode(message, 1.0):
            assert isinstance(value, CallStarted | Echoed | Left | AudioCaptured | DtmfPressed)
    except ChannelError:
        return  # a start that cannot be served


def fresh() -> list[Any]:
    return [TwilioWire(), TelnyxWire(), VonageWire(), *(wire_of(FakeCarrier(carrier)) for carrier in CARRIERS)]


def test_the_hostile_corpus_raises_nothing_else() -> None:
    for message in hostile_corpus().values():
        for wire in fresh():
            decode_all(wire, message)


def templates() -> list[dict[str, Any]]:
    """Every documented message, of every carrier, to be damaged."""
    found = []
    for carrier in CARRIERS:
        words = FakeCarrier(carrier).words
        sound = ramp(words.audio_format, 20)
        said = [
            *words.greeting(),
            words.media(sound, 0),
            words.key("5"),
            words.mark('{"mark": "m1"}'),
            *words.farewell(),
        ]
        found += [json.loads(message) for message in said if isinstance(message, str)]
    return found


@settings(max_examples=300)
@given(hostile_messages(templates()))
def test_hostile_frames_raise_nothing_else(message: str | bytes) -> None:
    for wire in fresh():
        decode_all(wire, message)


def test_damaged_frames_raise_nothing_else() -> None:
    wires = fresh()
    for message in islice(hostile_frames(7, templates()), 5_000):
        for wire in wires:
            decode_all(wire, message)


@settings(max_examples=150)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_hostile_bytes_raise_nothing_else(message: str | bytes) -> None:
    for wire in fresh():
        decode_all(wire, message)


# -- capture times -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 0.3), min_size=2, max_size=60))
def test_a_late_message_makes_no_late_sound(delays: list[float]) -> None:
    clock = CaptureClock()
    times, now = [], 100.0
    for number, delay in enumerate(delays):
        now = max(now, 100.0 + number * 0.02 + 0.02 + delay)  # in order, as a link gives them
        times.append(clock.at(number * 20, 20.0, now))
        assert times[-1] <= now - 0.02 + 1e-9
    assert times == sorted(times)
    least = min(delays)
    assert times[-1] == pytest.approx(max(100.0 + 0.02 * (len(delays) - 1) + least, times[-1]), abs=1e-6)


def test_one_slow_message_is_told_from_a_pause() -> None:
    clock = CaptureClock()
    assert clock.at(0, 20.0, 10.02) == pytest.approx(10.0)
    assert clock.at(20, 20.0, 10.34) == pytest.approx(10.02)  # 300 ms late
    assert clock.at(40, 20.0, 10.34) == pytest.approx(10.04)
    assert clock.at(None, 20.0, 10.5) == pytest.approx(10.48)
