"""Whose request it is: each carrier's signature, and every byte that could be another."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings, strategies as st
from twilio.request_validator import RequestValidator

from kernl_rt.channels.telnyx import TelnyxSignature
from kernl_rt.channels.twilio import TwilioSignature
from kernl_rt.channels.vonage import VonageSignature
from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError

TOKEN = "12345678901234567890123456789012"
HERE = "https://voice.example.com"
STREAM = "/twilio/stream"
FORM = {"CallSid": "CA1", "From": "+15005550006", "To": "+15005550001", "Digits": "", "Caller Name": "Ä & ö = ?"}

validator = RequestValidator(TOKEN)
checked = TwilioSignature(TOKEN, HERE)


def twilio(signature: str | None, *, settings: str | None = None) -> list[tuple[bytes, bytes]]:
    headers = [(b"host", b"voice.example.com")]
    if signature is not None:
        headers.append((b"X-Twilio-Signature", signature.encode("latin-1")))
    if settings is not None:
        headers.append((b"x-twilio-webhooks-signature-settings", settings.encode()))
    return headers


def signed(url: str, fields: dict[str, str] | None = None, algorithm: str | None = None) -> str:
    return str(validator.compute_signature(url, fields or {}, algorithm))


# -- Twilio: webhooks --------------------------------------------------------------------------------------------------


def test_the_example_of_twilios_documentation() -> None:
    """https://www.twilio.com/docs/usage/security: address, fields, token "12345" and their signature."""
    example = TwilioSignature("12345", "https://mycompany.com")
    body = urlencode(
        {
            "CallSid": "CA1234567890ABCDE",
            "Caller": "+14158675309",
            "Digits": "1234",
            "From": "+14158675309",
            "To": "+18005551212",
        }
    ).encode()
    headers = twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=")
    assert example.allows_webhook("/myapp.php", headers, body, query="foo=1&bar=2")
    assert not example.allows_webhook("/myapp.php", headers, body, query="foo=1&bar=3")


words = st.text(st.characters(codec="utf-8"), max_size=20)


@given(fields=st.dictionaries(words, words, max_size=6), path=st.sampled_from(["/", "/a", "/a/b/"]), port=st.booleans())
def test_twilios_own_validator_agrees(fields: dict[str, str], path: str, port: bool) -> None:
    url = f"{HERE}{':443' if port else ''}{path}"
    headers = twilio(signed(url, fields))
    assert validator.validate(HERE + path, fields, signed(url, fields))
    assert checked.allows_webhook(path, headers, urlencode(fields).encode())


@given(path=st.sampled_from(["/x", "/y"]), query=st.dictionaries(words, words, max_size=3), lie=st.booleans())
def test_it_agrees_on_addresses_with_a_query(path: str, query: dict[str, str], lie: bool) -> None:
    raw = urlencode(query)
    url = f"{HERE}{path}" + (f"?{raw}" if raw else "")
    signature = signed(url + ("x" if lie else ""), FORM)
    body = urlencode(FORM).encode()
    assert checked.allows_webhook(path, twilio(signature), body, query=raw) == validator.validate(url, FORM, signature)


def test_a_field_given_twice_is_signed_with_both_values() -> None:
    class Many(dict[str, list[str]]):
        def getall(self, name: str) -> list[str]:
            return self[name]

    fields = Many(a=["2", "1", "2"], b=["x"])
    signature = str(validator.compute_signature(f"{HERE}/x", fields))
    assert checked.allows_webhook("/x", twilio(signature), b"a=2&b=x&a=1&a=2")


def test_a_json_body_is_signed_by_its_digest() -> None:
    body = json.dumps({"CallSid": "CA1", "é": "\u2028"}).encode()
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = signed(f"{HERE}/x?{query}")
    assert validator.validate(f"{HERE}/x?{query}", body.decode(), signature)
    assert checked.allows_webhook("/x", twilio(signature), body, query=query)
    for index in range(len(body)):
        assert not checked.allows_webhook("/x", twilio(signature), flipped(body, index), query=query)
    assert not checked.allows_webhook("/x", twilio(signature), b"", query=query)
    twice = f"{query}&{query}"
    assert not checked.allows_webhook("/x", twilio(signed(f"{HERE}/x?{twice}")), body, query=twice)


def test_a_shared_key_signs_with_sha256() -> None:
    body = urlencode(FORM).encode()
    signature = signed(f"{HERE}/x", FORM, "HMAC_SHA256")
    assert checked.allows_webhook("/x", twilio(signature, settings="key=k1,algorithm=HMAC_SHA256"), body)
    assert not checked.allows_webhook("/x", twilio(signature), body)
    assert not checked.allows_webhook("/x", twilio(signature, settings="key=k1,algorithm=HMAC_MD5"), body)
    assert checked.allows_webhook("/x", twilio(signed(f"{HERE}/x", FORM), settings="key=k1"), body)


def flipped(data: bytes, index: int, bit: int = 0) -> bytes:
    return data[:index] + bytes([data[index] ^ (1 << bit)]) + data[index + 1 :]


def fields_of(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("latin-1"), keep_blank_values=True)


def test_every_flipped_byte_is_refused() -> None:
    body = urlencode(FORM).encode()
    signature = signed(f"{HERE}/voice?a=1", FORM)
    assert checked.allows_webhook("/voice", twilio(signature), body, query="a=1")
    raw = signature.encode()
    for bit in range(8):
        for index in range(len(raw)):
            headers = [(b"x-twilio-signature", flipped(raw, index, bit))]
            assert not checked.allows_webhook("/voice", headers, body, query="a=1")
        for index in range(len(body)):
            other = flipped(body, index, bit)
            if fields_of(other) == fields_of(body):
                continue  # %c3 is %C3
            assert not checked.allows_webhook("/voice", twilio(signature), other, query="a=1"), (index, other)
    for index in range(len("/voice")):
        assert not checked.allows_webhook(flipped(b"/voice", index).decode(), twilio(signature), body, query="a=1")
    for index in range(len("a=1")):
        assert not checked.allows_webhook("/voice", twilio(signature), body, query=flipped(b"a=1", index).decode())


@pytest.mark.parametrize(
    "headers",
    [
        [],
        twilio(None),
        twilio(""),
        twilio("=" * 28),
        twilio("Ä" * 28),
        twilio(signed(f"{HERE}/voice", FORM)) * 2,
        twilio(signed(f"{HERE}/voice", FORM)) + twilio("x"),
    ],
)
def test_no_signature_or_two_are_refused(headers: Any) -> None:
    assert not checked.allows_webhook("/voice", headers, urlencode(FORM).encode())
    assert not checked.allows_upgrade("/voice", headers)


@pytest.mark.parametrize("body", [b"\xff", b"a=%ff", "a=ä".encode(), b"&".join(b"a=1" for _ in range(1_001))])
def test_a_body_that_is_no_form_is_refused(body: bytes) -> None:
    assert not checked.allows_webhook("/voice", twilio(signed(f"{HERE}/voice")), body)


def test_another_token_is_refused() -> None:
    other = TwilioSignature(TOKEN[::-1], HERE)
    assert not other.allows_webhook("/voice", twilio(signed(f"{HERE}/voice", FORM)), urlencode(FORM).encode())


def test_what_a_request_says_of_itself_has_no_effect() -> None:
    body = urlencode(FORM).encode()
    theirs = signed("https://evil.example.net/voice", FORM)
    spoof = [
        (b"host", b"evil.example.net"),
        (b"x-forwarded-host", b"evil.example.net"),
        (b"x-forwarded-proto", b"https"),
        (b"forwarded", b"host=evil.example.net;proto=https"),
    ]
    assert not checked.allows_webhook("/voice", [*spoof, (b"x-twilio-signature", theirs.encode())], body)
    ours = signed(f"{HERE}/voice", FORM)
    assert checked.allows_webhook("/voice", [*spoof, (b"x-twilio-signature", ours.encode())], body)


# -- Twilio: upgrades --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["wss", "https"])
@pytest.mark.parametrize("ending", ["", "/"])
@pytest.mark.parametrize("port", ["", ":443"])
def test_an_upgrade_is_known_by_each_way_to_write_its_address(scheme: str, ending: str, port: str) -> None:
    signature = signed(f"{scheme}://voice.example.com{port}{STREAM}{ending}")
    assert checked.allows_upgrade(STREAM, twilio(signature))
    assert not checked.allows_upgrade(STREAM, twilio(signature[::-1]))


@pytest.mark.parametrize(
    "url",
    [
        f"wss://voice.example.net{STREAM}",
        f"wss://voice.example.com.evil.net{STREAM}",
        f"ws://voice.example.com{STREAM}",
        f"wss://voice.example.com:80{STREAM}",
        f"wss://voice.example.com{STREAM}?a=1",
        f"wss://voice.example.com{STREAM}//",
        "wss://voice.example.com/twilio/other",
        "wss://voice.example.com/",
    ],
)
def test_an_upgrade_for_another_address_is_refused(url: str) -> None:
    assert not checked.allows_upgrade(STREAM, twilio(signed(url)))


def test_every_flipped_byte_of_an_upgrades_signature_is_refused() -> None:
    raw = signed(f"wss://voice.example.com{STREAM}").encode()
    for index in range(len(raw)):
        for bit in range(8):
            assert not checked.allows_upgrade(STREAM, [(b"x-twilio-signature", flipped(raw, index, bit))])


def test_a_port_and_a_prefix_of_the_public_address_count() -> None:
    at_8443 = TwilioSignature(TOKEN, "https://voice.example.com:8443/app/")
    for address in ("wss://voice.example.com:8443/app/s", "https://voice.example.com/app/s/"):
        assert at_8443.allows_upgrade("/s", twilio(signed(address)))
    assert not at_8443.allows_upgrade("/s", twilio(signed("wss://voice.example.com:443/app/s")))
    assert not at_8443.allows_upgrade("/s", twilio(signed("wss://voice.example.com:8443/s")))


@pytest.mark.parametrize(
    "url",
    ["", "voice.example.com", "http://voice.example.com", "wss://voice.example.com", "https://", "https://a:b@c.d",
     "https://voice.example.com/?a=1", "https://voice.example.com/#a", "https://voice.example.com:0x1"],
)  # fmt: skip
def test_an_address_that_no_carrier_calls_is_refused(url: str) -> None:
    with pytest.raises(MisconfiguredError, match="public URL"):
        TwilioSignature(TOKEN, url)


def test_no_secret_is_refused_and_none_is_shown() -> None:
    with pytest.raises(MisconfiguredError, match="auth token"):
        TwilioSignature("", HERE)
    with pytest.raises(MisconfiguredError, match="signature secret"):
        VonageSignature("")
    assert TOKEN not in repr(vars(checked))
    assert TwilioSignature(Secret(TOKEN), HERE).allows_upgrade("/s", twilio(signed(f"{HERE}/s")))


# -- Telnyx ------------------------------------------------------------------------------------------------------------

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TELNYX = TelnyxSignature(base64.b64encode(KEY.public_key().public_bytes_raw()).decode())
NOW = 1_700_000_000


def telnyx(body: bytes, at: int = NOW, stamp: bytes | None = None) -> list[tuple[bytes, bytes]]:
    stamp = str(at).encode() if stamp is None else stamp
    signature = base64.b64encode(KEY.sign(stamp + b"|" + body))
    return [(b"Telnyx-Signature-Ed25519", signature), (b"telnyx-timestamp", stamp)]


def test_telnyx() -> None:
    body = b'{"data":{}}'
    assert TELNYX.allows_webhook(telnyx(body), body, now=NOW)
    assert TELNYX.allows_webhook(telnyx(body), body, now=NOW + 300)
    assert not TELNYX.allows_webhook(telnyx(body), body, now=NOW + 301)
    assert not TELNYX.allows_webhook(telnyx(body), body, now=NOW - 301)
    assert not TELNYX.allows_webhook(telnyx(body) * 2, body, now=NOW)
    for index in range(len(body)):
        assert not TELNYX.allows_webhook(telnyx(body), flipped(body, index), now=NOW)
    (name, raw), stamp = telnyx(body)
    for index in range(len(raw)):
        for bit in range(8):
            assert not TELNYX.allows_webhook([(name, flipped(raw, index, bit)), stamp], body, now=NOW)
    for at in range(len(stamp[1])):
        assert not TELNYX.allows_webhook([(name, raw), (stamp[0], flipped(stamp[1], at))], body, now=NOW)
    assert not TELNYX.allows_webhook([stamp], body, now=NOW)
    assert not TELNYX.allows_webhook([(name, raw)], body, now=NOW)


@pytest.mark.parametrize("stamp", [b"", b"-1", b"1.7e9", b"9" * 400, "１７".encode(), b" 1700000000"])
def test_telnyx_without_a_time_is_refused(stamp: bytes) -> None:
    assert not TELNYX.allows_webhook(telnyx(b"x", stamp=stamp), b"x", now=NOW)


@pytest.mark.parametrize("key", ["", "x", "AAAA", "-----BEGIN PUBLIC KEY-----"])
def test_a_telnyx_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(MisconfiguredError, match="public key"):
        TelnyxSignature(key)


# -- Vonage ------------------------------------------------------------------------------------------------------------

SECRET = "a secret of more than thirty-two bytes"
VONAGE = VonageSignature(SECRET)


def vonage(body: bytes, *, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> list[tuple[bytes, bytes]]:
    said = {"iat": NOW, "jti": "1", "iss": "Vonage", "payload_hash": hashlib.sha256(body).hexdigest(), **claims}
    said = {name: value for name, value in said.items() if value is not None}
    return [(b"Authorization", f"Bearer {jwt.encode(said, secret, algorithm)}".encode())]


def test_vonage() -> None:
    body = b'{"uuid":"1"}'
    assert VONAGE.allows_webhook(vonage(body), body, now=NOW)
    assert VONAGE.allows_upgrade(vonage(body, payload_hash=None), now=NOW)
    assert VONAGE.allows_webhook(vonage(body), body, now=NOW + 300)
    assert not VONAGE.allows_webhook(vonage(body), body, now=NOW + 301)
    assert not VONAGE.allows_upgrade(vonage(body), now=NOW - 301)
    assert not VONAGE.allows_upgrade(vonage(body, exp=NOW - 301), now=NOW)
    assert not VONAGE.allows_webhook(vonage(body, payload_hash=None), body, now=NOW)
    assert not VONAGE.allows_webhook(vonage(body, payload_hash=["x"]), body, now=NOW)
    assert not VONAGE.allows_webhook(vonage(body) * 2, body, now=NOW)
    assert not VONAGE.allows_webhook([], body, now=NOW)
    for index in range(len(body)):
        assert not VONAGE.allows_webhook(vonage(body), flipped(body, index), now=NOW)


def test_every_flipped_byte_of_a_vonage_token_is_refused() -> None:
    ((name, raw),) = vonage(b"")
    for index in range(len(b"Bearer "), len(raw)):
        other = flipped(raw, index)
        assert not VONAGE.allows_webhook([(name, other)], b"", now=NOW) or _same_token(raw, other), index


def _same_token(one: bytes, two: bytes) -> bool:
    """The last character of base64 holds bits that mean nothing: both are the same signature."""
    parts = [token.rsplit(b".", 1) for token in (one, two)]
    return parts[0][0] == parts[1][0] and len({base64.urlsafe_b64decode(part[1] + b"=") for part in parts}) == 1


@pytest.mark.parametrize("iat", [None, "x", True, [1], 1e400, float("nan")])
def test_vonage_without_a_time_is_refused(iat: Any) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"iat": iat}).encode()).rstrip(b"=").decode()
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
    mac = hmac.new(SECRET.encode(), f"{head}.{claims}".encode(), "sha256").digest()
    token = f"{head}.{claims}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert not VONAGE.allows_upgrade([(b"authorization", f"Bearer {token}".encode())], now=NOW)


def test_another_secret_or_algorithm_is_refused() -> None:
    assert not VONAGE.allows_upgrade(vonage(b"", secret=SECRET[::-1]), now=NOW)
    assert not VONAGE.allows_upgrade(vonage(b"", secret=SECRET * 2, algorithm="HS512"), now=NOW)
    unsigned = jwt.encode({"iat": NOW}, "", algorithm="none")
    assert not VONAGE.allows_upgrade([(b"authorization", f"Bearer {unsigned}".encode())], now=NOW)
    assert not VONAGE.allows_upgrade([(b"authorization", vonage(b"")[0][1].removeprefix(b"Bearer "))], now=NOW)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_hostile_headers_raise_nothing(value: bytes) -> None:
    headers = [(name, value) for name in (b"authorization", b"x-twilio-signature", b"telnyx-signature-ed25519")]
    headers.append((b"telnyx-timestamp", str(NOW).encode()))
    assert not VONAGE.allows_upgrade(headers, now=NOW)
    assert not VONAGE.allows_upgrade([(b"authorization", b"Bearer " + value)], now=NOW)
    assert not checked.allows_webhook("/x", headers, value, query=value.decode("latin-1"))
    assert not TELNYX.allows_webhook(headers, b"", now=NOW)
