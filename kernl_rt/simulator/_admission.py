"""The HTTP side: who may open a session, and the short-lived credentials that open one."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import field, frozen

from kernl_rt._transport.serve import Reply, Request
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._protocols import Protocol
from kernl_rt.simulator._requests import check_session
from kernl_rt.simulator._schema import Refusal, choice, integer, record
from kernl_rt.simulator._session import Session

__all__ = ["Admission", "Grant"]

_DEFAULT_SECONDS = 600
_MOST_SECRETS = 10_000
_SIGNED_SECONDS = 900
_check_expiry = record({"anchor": choice("created_at"), "seconds": integer(10, 7_200)})


@frozen
class Grant:
    """What a credential allows: sessions that begin with ``session``, until ``expires_at`` (Unix time)."""

    expires_at: float
    session: Mapping[str, Any] = field(repr=False)


def _refusal(status: int, message: str, code: str | None = None, param: str | None = None, **headers: str) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/json", **named}, msgspec.json.encode({"error": error}))


class Admission:
    """Checks requests and mints credentials. ``api_key=None`` lets everybody in; expired credentials never."""

    def __init__(self, api_key: str | None, ids: Ids, protocol: Protocol) -> None:
        self._api_key = api_key
        self._protocol = protocol
        self._ids = ids
        self._grants: dict[str, Grant] = {}

    def grant_of(self, request: Request) -> Grant | None:
        """What an ephemeral credential in this request allows; ``None`` where it is an ordinary key."""
        return self._grants.get(self._protocol.key_of(request) or "")

    def answer(self, request: Request, *, full: bool) -> Reply | None:
        """``None`` lets a WebSocket pass; else the answer. ``full``: as many sessions run as may."""
        if request.path.rstrip("/") == self._protocol.secrets_path and not request.upgrade:
            return self._unauthorised(request, ephemeral=False) or self._mint(request)
        if request.path.rstrip("/") == self._protocol.signed_path and not request.upgrade:
            return self._unauthorised(request, ephemeral=False) or self._sign(request)
        if not self._protocol.session_path(request.path.rstrip("/")):
            return _refusal(404, f"Invalid URL ({request.method} {request.path})")
        if not request.upgrade:
            return _refusal(400, "This path takes WebSocket upgrades only.")
        refused = self._unauthorised(request, ephemeral=True)
        if refused is not None:
            return refused
        if full:
            return _refusal(429, "Too many sessions at once.", "rate_limit_exceeded", retry_after="1")
        named = self._protocol.model_of(request) or request.query.get("intent") == "transcription"
        if self._protocol.names_model and not named and self.grant_of(request) is None:
            return _refusal(400, "You must provide a model parameter.", "missing_model", "model")
        return None

    def _unauthorised(self, request: Request, *, ephemeral: bool) -> Reply | None:
        key = self._protocol.key_of(request)
        if key is not None and key.startswith("ek_"):
            grant = self._grants.get(key)
            if ephemeral and grant is not None and grant.expires_at > time.time():
                return None
            return _refusal(401, "The ephemeral credential is unknown or has expired.", "invalid_api_key")
        if self._api_key is None:
            return None
        if key is None:
            return _refusal(401, "Missing bearer authentication in header.")
        if not hmac.compare_digest(key.encode(), self._api_key.encode()):
            return _refusal(401, "Incorrect API key provided.", "invalid_api_key")
        return None

    def _mint(self, request: Request) -> Reply:
        if request.method != "POST":
            return _refusal(405, "Use POST to create a client secret.", allow="POST")
        try:
            asked = msgspec.json.decode(request.body or b"{}")
        except (msgspec.DecodeError, RecursionError):
            return _refusal(400, "The body is not valid JSON.", "invalid_json")
        try:
            return self._minted(self._protocol.minting(asked))
        except Refusal as refused:
            return _refusal(400, refused.message, refused.code, refused.param)

    def _sign(self, request: Request) -> Reply:
        if request.method != "GET":
            return _refusal(405, "Use GET to be given a signed address.", allow="GET")
        now = time.time()
        self._forget_expired(now)
        signature = self._ids.new("ek", 32)
        self._grants[signature] = Grant(now + _SIGNED_SECONDS, {"type": "realtime"})
        body = msgspec.json.encode(self._protocol.signed(request, signature))
        return Reply(200, {"content-type": "application/json"}, body)

    def _minted(self, asked: Any) -> Reply:
        record({"session": check_session, "expires_after": _check_expiry})(asked, "")
        now = time.time()
        wanted: Mapping[str, Any] = asked.get("session") or {"type": "realtime"}
        seconds = (asked.get("expires_after") or {}).get("seconds", _DEFAULT_SECONDS)
        shown = Session(self._ids.new("sess"), wanted.get("model") or "simulator", 0, kind=wanted["type"])
        shown.update(wanted, has_spoken=False)
        self._forget_expired(now)
        value = self._ids.new("ek", 32)
        self._grants[value] = Grant(now + seconds, wanted)
        body = {"value": value, "expires_at": int(now + seconds), "session": shown.shown()}
        return Reply(200, {"content-type": "application/json"}, msgspec.json.encode(body))

    def _forget_expired(self, now: float) -> None:
        for value, grant in list(self._grants.items()):
            if grant.expires_at <= now or len(self._grants) >= _MOST_SECRETS:
                del self._grants[value]
