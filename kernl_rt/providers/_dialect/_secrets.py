"""``POST …/realtime/client_secrets``, which is the same in every dialect."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kernl_rt.config import Credential, Secret
from kernl_rt.exceptions import ProtocolError

__all__ = ["mint", "minted"]


async def mint(
    url: str,
    headers: Mapping[str, str | Secret],
    session: Mapping[str, Any],
    seconds: int | None,
    *,
    anchor: str | None = "created_at",
) -> Credential:
    """A secret that opens such sessions, for ``seconds`` from the ``anchor``; the service decides where ``None``.

    Raises:
        ConnectError: the service refused; the subclass says why.
        ProtocolError: the answer holds no secret.
    """
    from kernl_rt._transport.http import post_json

    body: dict[str, Any] = {"session": session}
    if seconds is not None:
        body["expires_after"] = {"anchor": anchor, "seconds": seconds} if anchor else {"seconds": seconds}
    credential = minted(await post_json(url, headers=headers, json=body, timeout=30.0))
    if isinstance(credential, ProtocolError):
        raise credential
    return credential


def minted(answer: Mapping[str, Any]) -> Credential | ProtocolError:
    """Returns the error, because the variables of a frame that raises are shown by some, and here one is the secret."""
    value, expires_at = answer.get("value"), answer.get("expires_at")
    if not isinstance(value, str) or not value:
        return ProtocolError("the answer of client_secrets holds no value")
    if not isinstance(expires_at, (int, float)) or isinstance(expires_at, bool):
        return ProtocolError("the answer of client_secrets does not say when the secret expires")
    try:
        moment = datetime.fromtimestamp(expires_at, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return ProtocolError("the answer of client_secrets says an expiry that is no date")
    session = answer.get("session")
    said = {key: item for key, item in session.items() if key != "client_secret"} if isinstance(session, dict) else {}
    return Credential(value, moment, extra={"session": said} if said else {})
