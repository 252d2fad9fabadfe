"""What the optional parts can do here: the sound card, the kinds of files, the server, the phone. For ``doctor``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from kernl_rt.channels.local import SoundDevice, devices
from kernl_rt.exceptions import RealtimeError

__all__ = ["extras", "sound_card"]


def extras() -> list[str]:
    """A line or more for each; that something is missing is no error. Blocks, for some hundred milliseconds."""
    lines = sound_card(devices)
    for title, extra, modules, told in (
        ("files", "files", ("soundfile",), _sound_files),
        ("rates", "audio", ("soxr",), lambda: "other sample rates are converted"),
        ("turns", "vad", ("webrtcvad",), lambda: "speech is noticed here, without the network"),
        ("server", "serve", ("anycorn", "starlette"), lambda: "'kernl-rt serve' works"),
        ("phone", "phone", ("cryptography", "jwt"), lambda: "carriers' signatures are checked"),
    ):
        lines.append(f"{title:<10} {_tried(modules, told, extra)}")
    return lines


def sound_card(list_devices: Callable[[], Sequence[SoundDevice]]) -> list[str]:
    """The devices that ``kernl-rt talk`` would use, or why it cannot."""
    try:
        found = list_devices()
    except RealtimeError as error:
        return [f"{'sound card':<10} not usable: {error}"]
    microphone = next((device for device in found if device.is_default_input), None)
    loudspeaker = next((device for device in found if device.is_default_output), None)
    if microphone is None and loudspeaker is None:
        return [f"{'sound card':<10} none was found: use 'kernl-rt demo', or 'kernl-rt serve' and a browser"]
    return [
        f"{'sound card':<10} microphone {_shown(microphone)}, loudspeaker {_shown(loudspeaker)}",
        f"{'':<10} {len(found)} devices: 'kernl-rt talk --devices' lists them",
    ]


def _shown(device: SoundDevice | None) -> str:
    return "none" if device is None else f"{device.name!r} ({device.default_rate} Hz)"


def _tried(modules: Sequence[str], told: Callable[[], str], extra: str) -> str:
    """What importing the modules shows: installed is not yet usable, where a C library is missing."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            return f"{module} is not installed  →  pip install 'kernl_rt[{extra}]'"
        except (ImportError, OSError) as error:
            return f"{module} cannot be loaded: {error}"
    return told()


def _sound_files() -> str:
    soundfile: Any = importlib.import_module("soundfile")
    there = soundfile.available_formats()
    kinds = ["WAV", *(kind for kind in ("FLAC", "OGG") if kind in there)]
    return f"{', '.join(kinds)}, by {soundfile.__libsndfile_version__}"
