"""The microphone and the loudspeaker of this machine, through PortAudio (extra ``local``: sounddevice).

Sound cards call back, in threads of their own that must never wait. Here they only copy a block into, or out of, a
bounded ring, and ring a bell in the event loop; all else happens in the session's tasks.

Rates. The devices are asked for the session's rate, and most systems convert it themselves. One that refuses is opened
at its own (44.1 or 48 kHz, usually), and the sound converted with soxr (extra ``audio``).

Positions. What was heard is what was handed to the device less what its clock says is still in its buffer. That buffer,
10 to 50 ms usually, cannot be taken back by ``clear``: it plays to its end, and does not count as heard.

Echo. Nothing here cancels it: use headphones, a conference speaker that does so itself, or ``half_duplex=True``.

Failures. A device that stops, or gives no sign for five seconds, raises ``ChannelError`` from ``receive`` and ``send``.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernl_rt.channels.local._card import (
    BlockTime as BlockTime,
    CardStream as CardStream,
    SoundCard as SoundCard,
    SoundDevice as SoundDevice,
)
from kernl_rt.channels.local._channel import (
    LocalChannel as LocalChannel,
    LocalChannelStatistics as LocalChannelStatistics,
)
from kernl_rt.channels.local._portaudio import PortAudioCard


def devices() -> Sequence[SoundDevice]:
    """Every device that PortAudio finds, in its order. Blocks, for some milliseconds, usually.

    PortAudio looks once in a program's life: a device that is plugged in later is seen after a restart.

    Raises:
        MisconfiguredError: sounddevice or the PortAudio library is not installed.
        ChannelError: PortAudio cannot list them.
    """
    return PortAudioCard().devices()
