"""What the channel needs from a sound card: the seam under which PortAudio lies, or a stand-in for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

from attrs import frozen

__all__ = ["BlockTime", "CardStream", "Direction", "OnBlock", "OnEnd", "SoundCard", "SoundDevice"]

Direction: TypeAlias = Literal["input", "output"]


@frozen
class SoundDevice:
    """One device, as :func:`~kernl_rt.channels.local.devices` lists them.

    ``inputs`` and ``outputs`` are the sound channels it has in each direction, ``default_rate`` is in samples per
    second. ``index``, or a part of ``name`` that no other device has, is what :class:`LocalChannel` takes.
    """

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    default_rate: int
    is_default_input: bool = False
    is_default_output: bool = False


@frozen
class BlockTime:
    """``now`` and ``at`` are on the card's own clock, in seconds: the moment of the call, and the moment at which the
    block's first sample was captured, or will be heard (0 where the driver does not say). ``lost``: the card says that
    sound was lost before this block (an overflow), or silence played (an underflow).
    """

    now: float
    at: float
    lost: bool = False


#: Called by the card's thread with a buffer of PCM16 mono, which is only valid during the call: captured sound to read,
#: or room for sound to be heard, to be filled whole.
OnBlock: TypeAlias = Callable[[memoryview, BlockTime], None]
#: Called, by any thread, when the stream has ended though nobody closed it; says why, where that is known.
OnEnd: TypeAlias = Callable[[str], None]


class CardStream(Protocol):
    """A device that was opened in one direction."""

    @property
    def name(self) -> str:
        """The device's name, for people."""
        ...

    @property
    def rate(self) -> int:
        """Samples per second; may be another than was asked for, where the device cannot do that."""
        ...

    @property
    def latency(self) -> float:
        """Seconds between the device and the callback, as the driver estimates them."""
        ...

    async def start(self, on_block: OnBlock, on_end: OnEnd) -> None:
        """Begin to call. Raises ``ChannelError``."""
        ...

    async def aclose(self) -> None:
        """Stop at once, without playing out, and release the device. No call comes afterwards. Raises nothing."""
        ...


class SoundCard(Protocol):
    """Lists devices and opens them."""

    def devices(self) -> Sequence[SoundDevice]:
        """All devices. Raises ``ChannelError``."""
        ...

    async def open(
        self, direction: Direction, device: int | str | None, rate: int, block_ms: float, latency_ms: float
    ) -> CardStream:
        """Open ``device`` (``None``: the default), mono PCM16, in blocks of ``block_ms``, at ``rate`` if it can.

        ``latency_ms`` is a wish.

        Raises ``ChannelError``.
        """
        ...
