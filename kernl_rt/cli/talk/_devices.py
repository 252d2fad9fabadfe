"""The microphones and loudspeakers of this machine, for people."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import to_thread

from kernl_rt.channels.local import SoundDevice, devices
from kernl_rt.exceptions import ChannelError

__all__ = ["ELSEWHERE", "check_devices", "find_devices", "listing", "print_devices"]

#: What can be done on a machine without a sound card.
ELSEWHERE = "'kernl-rt demo' needs no sound card, and 'kernl-rt serve' uses the microphone of a browser"


async def print_devices() -> int:
    """List them; 1 where there is none."""
    found = await find_devices()
    print("\n".join(listing(found)) or f"no microphone and no loudspeaker was found; {ELSEWHERE}")
    return 0 if found else 1


async def find_devices() -> Sequence[SoundDevice]:
    """Every device. Asking PortAudio may take a while, and must not hold up the loop."""
    return await to_thread.run_sync(devices)


def check_devices(found: Sequence[SoundDevice]) -> None:
    """
    Raises:
        ChannelError: there is no microphone, or no loudspeaker, and what can be done instead.
    """
    missing = [word for word, has in (("microphone", _inputs(found)), ("loudspeaker", _outputs(found))) if not has]
    if missing:
        raise ChannelError(f"this machine has no {' and no '.join(missing)}: {ELSEWHERE}")


def listing(found: Sequence[SoundDevice]) -> list[str]:
    """Lines: first the microphones, then the loudspeakers, the default ones marked with an arrow."""
    lines: list[str] = []
    for title, option, chosen in (
        ("microphones", "--input", [(device, device.is_default_input) for device in _inputs(found)]),
        ("loudspeakers", "--output", [(device, device.is_default_output) for device in _outputs(found)]),
    ):
        if chosen:
            lines.append(f"{title} ({option} NUMBER, or a part of the name):")
        for device, is_default in chosen:
            arrow = "→" if is_default else " "
            lines.append(f" {arrow} {device.index:>3}  {device.name}  ({device.host}, {device.default_rate} Hz)")
    return lines


def _inputs(found: Sequence[SoundDevice]) -> list[SoundDevice]:
    return [device for device in found if device.inputs]


def _outputs(found: Sequence[SoundDevice]) -> list[SoundDevice]:
    return [device for device in found if device.outputs]
