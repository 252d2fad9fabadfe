"""G.711: the two 8-bit laws of telephony, to and from PCM16.

ITU-T G.711 (11/88), tables 1 and 2. A sample is a sign, a segment (exponent) and four bits within the segment. Mu-law
works on 14-bit samples with a bias of 33, A-law on 13-bit samples; both by sign and magnitude. Bits are sent inverted:
all of them (mu), every other one (A).

Decoding takes two 256-byte translations, encoding one look-up in a 64 KiB table per sample, made on first use (30 ms).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import cache
from typing import Literal, TypeAlias

from kernl_rt._audio.pcm import Buffer, unpack

__all__ = ["Law", "decode", "encode"]

Law: TypeAlias = Literal["g711_ulaw", "g711_alaw"]

_BIAS = 33  # of mu-law, in 14-bit units
_MU_CLIP = 8_158  # the largest 14-bit magnitude that still fits a code


def _expand_ulaw(code: int) -> int:
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 1) + _BIAS) << (code >> 4 & 7)) - _BIAS
    return (-magnitude if code & 0x80 else magnitude) << 2


def _expand_alaw(code: int) -> int:
    code ^= 0x55
    segment = code >> 4 & 7
    magnitude = ((code & 0x0F) << 1) + 1
    if segment:
        magnitude = magnitude + 32 << segment - 1
    return (magnitude if code & 0x80 else -magnitude) << 3


def _compress_ulaw(sample: int) -> int:
    sample >>= 2
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _MU_CLIP) + _BIAS
    segment = magnitude.bit_length() - 6
    return ~(sign | segment << 4 | magnitude >> segment + 1 & 0x0F) & 0xFF


def _compress_alaw(sample: int) -> int:
    sample >>= 3
    sign = 0x80 if sample >= 0 else 0
    # A-law has no zero: its two smallest steps are -1 and +1, so a negative sample's magnitude starts at nought.
    magnitude = sample if sample >= 0 else ~sample
    segment = max(magnitude.bit_length() - 5, 0)
    return (sign | segment << 4 | magnitude >> max(segment, 1) & 0x0F) ^ 0x55


_EXPAND: dict[Law, Callable[[int], int]] = {"g711_ulaw": _expand_ulaw, "g711_alaw": _expand_alaw}
_COMPRESS: dict[Law, Callable[[int], int]] = {"g711_ulaw": _compress_ulaw, "g711_alaw": _compress_alaw}


@cache
def _decode_tables(law: Law) -> tuple[bytes, bytes]:
    """The low and the high byte of each code's PCM16 sample."""
    expand = _EXPAND[law]
    samples = [expand(code) & 0xFFFF for code in range(256)]
    return bytes(sample & 0xFF for sample in samples), bytes(sample >> 8 for sample in samples)


@cache
def _encode_table(law: Law) -> bytes:
    """The code of each sample, by the sample's 16 bits read as an unsigned number."""
    compress = _COMPRESS[law]
    return bytes(compress(bits - 0x1_0000 if bits & 0x8000 else bits) for bits in range(0x1_0000))


def decode(data: Buffer, law: Law) -> bytes:
    """G.711 to PCM16; twice as many bytes."""
    low, high = _decode_tables(law)
    plain = bytes(data)
    pcm = bytearray(2 * len(plain))
    pcm[0::2] = plain.translate(low)
    pcm[1::2] = plain.translate(high)
    return bytes(pcm)


def encode(pcm: Buffer, law: Law) -> bytes:
    """PCM16 to G.711; half as many bytes.

    Raises:
        MisconfiguredError: an odd number of bytes.
    """
    bits = array("H", unpack(pcm).tobytes())  # the same bits, unsigned, in native order
    return bytes(map(_encode_table(law).__getitem__, bits))
