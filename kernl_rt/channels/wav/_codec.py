"""WAV files: the header read and written, samples to mono PCM16. Pure: bytes in, values out.

RIFF/WAVE as in the "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft, 1991), with
WAVE_FORMAT_EXTENSIBLE (Microsoft, "Multiple Channel Audio Data and WAVE Files"). Read are PCM of 8, 16, 24 and 32 bits,
32-bit float, and G.711; mono and stereo.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from attrs import frozen

from kernl_rt._audio import g711, pcm
from kernl_rt.exceptions import AudioFileError

__all__ = ["HEADER_SIZE", "MAX_DATA_SIZE", "WavLayout", "check_layout", "decode", "parse", "write_header"]

HEADER_SIZE = 44
#: Sizes in a WAV file are 32-bit numbers that count the header too: 24 hours at 24 kHz.
MAX_DATA_SIZE = 0xFFFF_FFFF - HEADER_SIZE & ~1

ReadAt = Callable[[int, int], bytes]

_CHUNKS_MAX = 1_000
_FORMAT_MAX = 4_096
_UNKNOWN_SIZE = 0xFFFF_FFFF  # what a program writes that cannot seek back
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
#: The last 14 bytes of a sub-format's GUID; the first two are the plain format tag.
_SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")
_SAMPLES: dict[tuple[int, int], str] = {
    (_PCM, 8): "u8",
    (_PCM, 16): "s16",
    (_PCM, 24): "s24",
    (_PCM, 32): "s32",
    (_FLOAT, 32): "f32",
    (_ALAW, 8): "g711_alaw",
    (_ULAW, 8): "g711_ulaw",
}
_CODECS = {2: "Microsoft ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 06.10", 0x50: "MPEG", 0x55: "MP3", 0xFF: "AAC"}
_CONTAINERS = {
    b"RF64": "RF64",
    b"BW64": "BW64",
    b"RIFX": "big-endian RIFF",
    b"FORM": "AIFF",
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"ID3\x03": "MP3",
    b"ID3\x04": "MP3",
}


@frozen
class WavLayout:
    """What a WAV file holds and where: ``data_size`` bytes from ``data_offset``, whole frames."""

    rate: int
    channels: int
    #: ``u8 s16 s24 s32 f32 g711_alaw g711_ulaw``
    sample_type: str
    #: Bytes of one sample of every channel.
    frame_size: int
    data_offset: int
    data_size: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.data_size / self.frame_size / self.rate


def parse(read_at: ReadAt, size: int) -> WavLayout:
    """The layout of a WAV file of ``size`` bytes; ``read_at(offset, count)`` gives the bytes there, fewer at the end.

    A data chunk without a known size (a stream written to a pipe) reaches to the end of the file.

    Raises:
        AudioFileError: it is no WAV file, it is damaged, or its kind is not read. The message says what is wrong.
    """
    head = read_at(0, 12)
    if not head:
        raise AudioFileError("the file is empty")
    if head[:4] in _CONTAINERS:
        raise AudioFileError(f"this is {_CONTAINERS[head[:4]]}, not a plain WAV file: convert it to WAV, FLAC or Ogg")
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise AudioFileError("this is not a WAV file: it does not begin with 'RIFF' and 'WAVE'")
    layout: tuple[int, int, str, int] | None = None
    offset = 12
    for _ in range(_CHUNKS_MAX):
        chunk = read_at(offset, 8)
        if len(chunk) < 8:
            what = "data" if layout is not None else "format"
            raise AudioFileError(f"the file ends without a {what} chunk: it is truncated")
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        offset += 8
        if name == b"data":
            if layout is None:
                raise AudioFileError("the sound comes before its format: the file is damaged")
            return _with_data(layout, offset, length, size)
        if name == b"fmt ":
            layout = _parse_format(read_at(offset, min(length, _FORMAT_MAX)), length)
        offset += length + length % 2
    raise AudioFileError(f"no sound within the first {_CHUNKS_MAX} chunks: the file is damaged")


def check_layout(channels: int, rate: int, frames: int = 1) -> None:
    """Refuse what is no sound that a channel can speak.

    Raises:
        AudioFileError: says what is wrong.
    """
    if channels not in (1, 2):
        raise AudioFileError(f"the file has {channels} channels: use mono or stereo")
    if not 1_000 <= rate <= 192_000:
        raise AudioFileError(f"the file says {rate} samples per second: 1,000 to 192,000 can be read")
    if not frames:
        raise AudioFileError("the file holds no sound")


def _parse_format(data: bytes, length: int) -> tuple[int, int, str, int]:
    if len(data) < 16 or len(data) < min(length, _FORMAT_MAX):
        raise AudioFileError("the format chunk is truncated")
    tag, channels, rate, _, frame_size, bits = struct.unpack_from("<HHIIHH", data)
    if tag == _EXTENSIBLE:
        if len(data) < 40 or data[26:40] != _SUBFORMAT:
            raise AudioFileError("the extensible format chunk is damaged, or names a format of its maker's own")
        tag = int.from_bytes(data[24:26], "little")
    check_layout(channels, rate)
    sample_type = _SAMPLES.get((tag, bits))
    if sample_type is None:
        known = {_PCM: "PCM", _FLOAT: "float", _ALAW: "A-law", _ULAW: "mu-law"}
        what = known.get(tag) or f"compressed or unknown ({_CODECS.get(tag, f'format tag {tag:#06x}')})"
        raise AudioFileError(f"the sound is {what} of {bits} bits: use PCM of 8, 16, 24 or 32 bits, or 32-bit float")
    if frame_size != channels * bits // 8:
        raise AudioFileError(f"the header contradicts itself: {channels} × {bits} bits in frames of {frame_size} bytes")
    return rate, channels, sample_type, frame_size


def _with_data(layout: tuple[int, int, str, int], offset: int, length: int, size: int) -> WavLayout:
    rate, channels, sample_type, frame_size = layout
    there = max(size - offset, 0)
    if length == _UNKNOWN_SIZE:
        length = there
    if length > there:
        raise AudioFileError(f"the file is truncated: {there} of {length} bytes of sound are there")
    length -= length % frame_size
    if not length:
        raise AudioFileError("the file holds no sound")
    return WavLayout(rate, channels, sample_type, frame_size, offset, length)


def decode(layout: WavLayout, frames: bytes) -> bytes:
    """Whole frames of the file as mono PCM16 at the file's rate."""
    match layout.sample_type:
        case "g711_alaw" | "g711_ulaw" as law:
            samples = g711.decode(frames, law)
        case "u8" | "s16" | "s24" | "s32" | "f32" as sample_type:
            samples = pcm.to_pcm16(frames, sample_type)
        case other:
            raise AudioFileError(f"samples of type {other!r} are not read")
    return pcm.mix_down(samples, layout.channels)


def write_header(rate: int, data_size: int) -> bytes:
    """The 44 bytes before ``data_size`` bytes of mono PCM16."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", HEADER_SIZE - 8 + data_size, b"WAVE"),
        *(b"fmt ", 16, _PCM, 1, rate, rate * 2, 2, 16),
        *(b"data", data_size),
    )
