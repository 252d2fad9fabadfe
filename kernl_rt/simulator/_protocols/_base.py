"""What a protocol of the simulator is: how it is reached, and how its messages are the engine's frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from kernl_rt._transport.serve import Request

__all__ = ["Protocol", "Translation"]


class Translation(ABC):
    """One client's messages to the engine's frames and back. Pure: time comes in as ``now``, in seconds.

    The engine speaks OpenAI's GA protocol: ``read`` gives what an OpenAI client would have sent, ``write`` takes what
    OpenAI would send. Ids that the wire does not have are counted.
    """

    @abstractmethod
    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        """The frames for the engine, any JSON values, in one message of the client's.

        Raises:
            ValueError: the message is none of this protocol; the text is what the client is told.
        """

    @abstractmethod
    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str | bytes]:
        """The messages that tell the client of one frame of the engine's; none where its protocol has none."""

    def answers(self) -> Sequence[str | bytes]:
        """What the last ``read`` brought that the engine has nothing to do with: an acknowledgement, a pong."""
        return ()

    def poll(self, now: float) -> Sequence[str | bytes]:
        """What is due by itself: an application ping, a warning before the end."""
        return ()

    @property
    def deadline(self) -> float | None:
        """When ``poll`` will have something to say; ``None`` for never."""
        return None

    @property
    def closing(self) -> tuple[int, str] | None:
        """The close code and reason, once this protocol wants the link closed, as after a fault."""
        return None

    def close(self, code: int, reason: str) -> tuple[int, str]:
        """The close code and reason with which this protocol says what the engine ends with."""
        return code, reason


class Protocol(ABC):
    """How clients of one provider reach the simulator."""

    #: WebSocket subprotocols that are agreed to.
    subprotocols: Sequence[str] = ()
    #: What stands behind the server's address in the URL that ``serve`` gives.
    base: str = ""
    #: Where client secrets are minted; ``None`` for nowhere.
    secrets_path: str | None = "/v1/realtime/client_secrets"
    #: Where signed addresses are given out; ``None`` for nowhere.
    signed_path: str | None = None

    def signed(self, request: Request, signature: str) -> Any:
        """The body, any JSON value, of the answer that gives out an address signed with ``signature``."""
        raise NotImplementedError

    @abstractmethod
    def session_path(self, path: str) -> bool:
        """Whether sessions are opened at this path."""

    @abstractmethod
    def key_of(self, request: Request) -> str | None:
        """The key that a request carries, wherever this provider wants it."""

    @abstractmethod
    def model_of(self, request: Request) -> str | None:
        """The model that a request names; ``None`` where it is named later, or has to be and is not."""

    #: Whether a request must name a model.
    names_model: bool = True

    def minting(self, asked: Any) -> Any:
        """The body of a request to mint a credential, any JSON value, in OpenAI's words.

        Raises:
            Refusal: it holds what this protocol does not take.
        """
        return asked

    @abstractmethod
    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        """For one client. ``duration`` is how long its session may last, in seconds."""
