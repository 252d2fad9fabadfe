"""One-time tokens that tie a media stream to the webhook that announced it.

A carrier's webhook is answered with a token; the stream must bring it, for the same call, once, within a minute. The
ids of calls are remembered much longer: a recorded webhook that is played again gets no second token.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import anyio
from attrs import frozen

from kernl_rt.channels._lapsing import Lapsing
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Announced", "StreamTokens"]


@frozen
class Announced:
    """A call that a webhook has announced. The numbers are claims, not proofs."""

    call_id: str
    from_number: str = ""
    to_number: str = ""


class StreamTokens:
    """Mints and redeems. Tokens live for ``ttl`` seconds; a call's id is remembered for ``remember`` seconds.

    At most ``most`` of either are kept; beyond, the oldest is forgotten, so that memory stays bounded.
    """

    def __init__(
        self,
        *,
        ttl: float = 60.0,
        remember: float = 24 * 3_600.0,
        most: int = 100_000,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        if not 0 < ttl <= remember or most < 1:
            raise MisconfiguredError("tokens must live for a while, and ids be remembered for longer")
        self._clock = clock
        # By digest: that a token is there is not told by how long the look-up takes.
        self._pending: Lapsing[bytes, Announced] = Lapsing(ttl, most)
        self._seen: Lapsing[str, None] = Lapsing(remember, most)

    @property
    def pending(self) -> int:
        """Tokens that were minted and not shown, and still live."""
        self._pending.forget(self._clock())
        return len(self._pending)

    def mint(self, announced: Announced) -> str | None:
        """A new token for a call; ``None`` where this call has had one: the webhook is being replayed."""
        now = self._clock()
        self._pending.forget(now)
        self._seen.forget(now)
        if not announced.call_id or announced.call_id in self._seen:
            return None
        self._seen.put(announced.call_id, None, now)
        token = secrets.token_urlsafe(32)
        self._pending.put(_digest(token), announced, now)
        return token

    def redeem(self, token: str, call_id: str) -> Announced | None:
        """The call that ``token`` was minted for, if it is ``call_id``'s. A token that was shown is used up."""
        self._pending.forget(self._clock())
        announced = self._pending.pop(_digest(token))
        return announced if announced is not None and _same(announced.call_id, call_id) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _same(one: str, two: str) -> bool:
    return secrets.compare_digest(*(text.encode("utf-8", "surrogatepass") for text in (one, two)))
