"""Speaks one text with libespeak-ng, in a process of its own: ``python _espeak_worker.py VOICE WORDS_PER_MINUTE``.

Text comes in as UTF-8 on standard input; 16-bit samples go out on standard output, after one line with their rate.
Run as a file, never imported: the library is under the GPL and has global state, and neither belongs into the process
of a program that uses kernl_rt. It imports nothing of kernl_rt.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_short, c_uint, c_void_p, string_at

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_RATE = 1
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(c_int, POINTER(c_short), c_int, c_void_p)


def _speak(text: bytes, voice: str, rate: int) -> None:
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    hertz = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, c_char_p(data), 0)
    if hertz <= 0:
        raise SystemExit("libespeak-ng could not be initialised")
    output = sys.stdout.buffer
    output.write(b"%d\n" % hertz)

    def collect(samples, count, events):  # type: ignore[no-untyped-def]
        if samples and count > 0:
            output.write(string_at(samples, count * 2))
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(c_char_p(voice.encode())) != 0:
        raise SystemExit(f"libespeak-ng knows no voice {voice!r}")
    library.espeak_SetParameter(_RATE, rate, 0)
    size = ctypes.c_size_t(len(text) + 1)
    library.espeak_Synth(c_char_p(text), size, c_uint(0), 0, c_uint(0), c_uint(_UTF8), byref(c_uint(0)), None)
    library.espeak_Synchronize()
    output.flush()


if __name__ == "__main__":
    _speak(sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2]))
