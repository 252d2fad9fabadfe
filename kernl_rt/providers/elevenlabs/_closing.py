"""What the service's errors and closes mean: which of them is the configuration's fault, and what would mend it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

__all__ = ["Refusal", "expired", "meaning", "refusal_of"]


@frozen
class Refusal:
    """``code`` is a word that all providers share, or else the service's own; ``fix`` is part of the message."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    fix: str = ""


_EXPIRED = re.compile(r"max\w*[ _-]*(conversation[ _-]*|call[ _-]*)?duration", re.IGNORECASE)
_WORDS = (
    (re.compile(r"override", re.I), "override_error"),
    (re.compile(r"dynamic[ _]variable", re.I), "missing_dynamic_variable"),
    (
        re.compile(r"signature|signed.url|authenticat|unauthori[sz]ed|not authori[sz]ed|api.key", re.I),
        "invalid_api_key",
    ),
    (re.compile(r"quota|credit|billing|payment", re.I), "insufficient_quota"),
    (re.compile(r"concurren|rate.?limit|too many|queue", re.I), "rate_limit_exceeded"),
    (re.compile(r"not found|does not exist|no such agent", re.I), "model_not_found"),
    (re.compile(r"permission|forbidden|allowlist|not allowed", re.I), "permission_denied"),
)
_FIXES = {
    "missing_dynamic_variable": "say agent(…, dynamic_variables={…}) with every variable that the agent's prompt names",
    "invalid_api_key": "a private agent needs a signed URL: say api_key=…, set ELEVENLABS_API_KEY, or credential=…",
    "model_not_found": "look the agent's id up at ElevenLabs",
}
#: The service closes with 1008 for what a client did wrong, with 1011 for what it did wrong itself.
_INPUT_ERROR, _INTERNAL_ERROR = 1008, 1011


def expired(reason: str) -> bool:
    """Whether the conversation ended because it lasted as long as it may."""
    return _EXPIRED.search(reason) is not None


def _code_for(text: str) -> str | None:
    return next((code for pattern, code in _WORDS if pattern.search(text)), None)


def refusal_of(kind: str | None, said: str, close: int | None, overrides: Mapping[str, str]) -> Refusal:
    """An error that the service reports. ``overrides`` are those of this session: path on the wire, our word for it."""
    code = _code_for(f"{kind or ''} {said}")
    said = said or (kind or "an error").replace("_", " ")
    if code == "override_error":
        return _override(said, kind, overrides)
    fix = _FIXES.get(code or "", "")
    type = "server_error" if close == _INTERNAL_ERROR else kind
    return Refusal(f"ElevenLabs: {said}" + (f"; {fix}" if fix else ""), code or kind, type, None, fix)


def _override(said: str, kind: str | None, overrides: Mapping[str, str]) -> Refusal:
    named = [path for path in overrides if re.search(rf"\b{re.escape(path.rpartition('.')[2])}\b", said)]
    paths = named or list(overrides)
    words = sorted({overrides[path] for path in paths})
    which = f" (here: {', '.join(paths)})" if paths else ""
    leave = f", or leave {', '.join(words)} out of the session" if words else ""
    fix = f"allow the override{which} in the agent's security settings at ElevenLabs{leave}"
    param = paths[0] if len(paths) == 1 else None
    return Refusal(f"ElevenLabs refused an override: {said}; {fix}", "override_error", kind, param, fix)


def meaning(code: int, reason: str, overrides: Mapping[str, str]) -> Refusal | None:
    """Why the service hung up, as far as its close says so."""
    if code == _INTERNAL_ERROR:
        return Refusal(f"ElevenLabs: {reason or 'an internal error'}", "server_error", "server_error")
    word = _code_for(reason)
    if word is None and code != _INPUT_ERROR:
        return None
    return refusal_of(None, reason or "the first message was refused (close code 1008)", code, overrides)
