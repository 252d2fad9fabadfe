"""PortAudio, through sounddevice (extra ``local``), which is imported when a device is first wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from kernl_rt.channels.local._card import BlockTime, Direction, OnBlock, OnEnd, SoundDevice
from kernl_rt.exceptions import ChannelError, MisconfiguredError

__all__ = ["PortAudioCard"]

T = TypeVar("T")

#: Says where the devices are listed, in every error about one.
LISTING = "'kernl-rt talk --devices' lists what there is"
_WORD = {"input": "microphone", "output": "loudspeaker"}
_INVALID_SAMPLE_RATE = -9997  # paInvalidSampleRate
#: Seconds that closing may take; a driver that hangs is left behind in its thread.
_CLOSE_BOUND = 2.0
#: Seconds to wait for another call of PortAudio's to end.
_LOCK_BOUND = 10.0
#: PortAudio's functions, but for the callbacks, may not be called by two threads at once.
_portaudio_lock = threading.Lock()


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MisconfiguredError("a microphone needs sounddevice: pip install 'kernl_rt[local]'") from error
    except OSError as error:
        raise MisconfiguredError(
            "sounddevice is installed, but not the PortAudio library: on Debian and Ubuntu apt install libportaudio2"
        ) from error
    return sounddevice


def _locked(function: Callable[[], T]) -> T:
    if not _portaudio_lock.acquire(timeout=_LOCK_BOUND):
        raise ChannelError("a sound device hangs in its driver: unplug it, or restart the program")
    try:
        return function()
    finally:
        _portaudio_lock.release()


class PortAudioCard:
    """Every sound card that PortAudio knows. Listing them blocks; opening and closing run in threads."""

    def devices(self) -> tuple[SoundDevice, ...]:
        sounddevice = _sounddevice()
        try:
            return _locked(lambda: _listed(sounddevice))
        except sounddevice.PortAudioError as error:
            raise ChannelError(f"the sound cards cannot be listed: {_told(error)}") from error

    async def open(
        self, direction: Direction, device: int | str | None, rate: int, block_ms: float, latency_ms: float
    ) -> PortAudioStream:
        # Not abandoned when cancelled: a device that opens a moment later would stay open.
        return await to_thread.run_sync(_locked, lambda: PortAudioStream(direction, device, rate, block_ms, latency_ms))


def _listed(sounddevice: Any) -> tuple[SoundDevice, ...]:
    hosts = sounddevice.query_hostapis()
    default_input, default_output = sounddevice.default.device
    # Where nothing else is set, the default is that of the first host API that has one.
    for host in hosts:
        default_input = host["default_input_device"] if default_input in (None, -1) else default_input
        default_output = host["default_output_device"] if default_output in (None, -1) else default_output
    return tuple(
        SoundDevice(
            index=index,
            name=info["name"],
            host=hosts[info["hostapi"]]["name"],
            inputs=info["max_input_channels"],
            outputs=info["max_output_channels"],
            default_rate=round(info["default_samplerate"]),
            is_default_input=index == default_input,
            is_default_output=index == default_output,
        )
        for index, info in enumerate(sounddevice.query_devices())
    )


def _told(error: Exception) -> str:
    """PortAudio's own words, and the driver's below them."""
    text = str(error.args[0]) if error.args else type(error).__name__
    host = error.args[2] if len(error.args) > 2 else None
    return f"{text} ({host[2]})" if host and host[2] else text


class PortAudioStream:
    """One direction of one device. Made in a worker thread."""

    def __init__(
        self, direction: Direction, device: int | str | None, rate: int, block_ms: float, latency_ms: float
    ) -> None:
        self._direction: Direction = direction
        self._sounddevice = sounddevice = _sounddevice()
        self._on_block: OnBlock | None = None
        self._on_end: OnEnd | None = None
        self._latency = latency_ms / 1000
        self._closing = False
        self._reason = ""
        word = _WORD[direction]
        try:
            info = sounddevice.query_devices(device, direction)
        except (ValueError, sounddevice.PortAudioError) as error:
            if device is None:
                raise ChannelError(f"there is no {word}: PortAudio finds no default device; {LISTING}") from error
            raise ChannelError(f"no {word} is {device!r}: {_told(error)}; {LISTING}") from error
        self.name: str = info["name"]
        try:
            self._stream = self._open(info["index"], rate, block_ms)
        except sounddevice.PortAudioError as error:
            raise ChannelError(f"the {word} {self.name!r} cannot be opened: {_told(error)}; {LISTING}") from error
        self.rate: int = round(self._stream.samplerate)
        self.latency: float = float(self._stream.latency)

    def _open(self, device: int, rate: int, block_ms: float) -> Any:
        try:
            return self._open_at(device, rate, block_ms)
        except self._sounddevice.PortAudioError as error:
            if len(error.args) < 2 or error.args[1] != _INVALID_SAMPLE_RATE:
                raise
        default = round(self._sounddevice.query_devices(device)["default_samplerate"])
        return self._open_at(device, default, block_ms)

    def _open_at(self, device: int, rate: int, block_ms: float) -> Any:
        is_input = self._direction == "input"
        make = self._sounddevice.RawInputStream if is_input else self._sounddevice.RawOutputStream
        return make(
            samplerate=rate,
            blocksize=max(round(rate * block_ms / 1000), 1),
            device=device,
            channels=1,
            dtype="int16",
            latency=self._latency,
            callback=self._called_for_input if is_input else self._called_for_output,
            finished_callback=self._finished,
        )

    async def start(self, on_block: OnBlock, on_end: OnEnd) -> None:
        self._on_block, self._on_end = on_block, on_end
        try:
            await to_thread.run_sync(_locked, self._stream.start)
        except self._sounddevice.PortAudioError as error:
            word = _WORD[self._direction]
            raise ChannelError(f"the {word} {self.name!r} cannot be started: {_told(error)}; {LISTING}") from error

    async def aclose(self) -> None:
        self._closing = True
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLOSE_BOUND):
            # Errors of a device that is gone are no news; sounddevice ignores them here.
            await to_thread.run_sync(_locked, lambda: self._stream.close(ignore_errors=True), abandon_on_cancel=True)

    # -- in PortAudio's thread ----------------------------------------------------------------------------------------

    def _called_for_input(self, data: Any, frames: int, time: Any, status: Any) -> None:
        self._call(data, BlockTime(time.currentTime, time.inputBufferAdcTime, bool(status.input_overflow)))

    def _called_for_output(self, data: Any, frames: int, time: Any, status: Any) -> None:
        self._call(data, BlockTime(time.currentTime, time.outputBufferDacTime, bool(status.output_underflow)))

    def _call(self, data: Any, time: BlockTime) -> None:
        assert self._on_block is not None
        try:
            self._on_block(memoryview(data).cast("B"), time)
        except Exception as error:
            # What is raised here would only be printed: end the stream, and let the channel raise it.
            self._reason = repr(error)
            raise self._sounddevice.CallbackAbort from error

    def _finished(self) -> None:
        if self._on_end is not None and not self._closing:
            self._on_end(self._reason)
