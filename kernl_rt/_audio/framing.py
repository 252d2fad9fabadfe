"""Cut a stream of bytes into frames of one size."""

from __future__ import annotations

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Framer"]


class Framer:
    """Bytes in, whole frames out; what does not fill a frame waits for more, or for :meth:`flush`.

    ``silence`` is one sample of silence (``AudioFormat.silence``), repeated to fill the last frame.
    """

    def __init__(self, frame_bytes: int, silence: bytes = b"\0") -> None:
        if frame_bytes < 1 or not silence or frame_bytes % len(silence):
            raise MisconfiguredError(
                f"a frame of {frame_bytes} bytes is no whole number of {len(silence)}-byte samples: "
                "use a positive multiple of the sample width"
            )
        self.frame_bytes = frame_bytes
        self._silence = silence
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame; always less than a frame."""
        return len(self._rest)

    def push(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Add ``data`` and take every frame that is now whole."""
        whole = self.push_joined(data)
        return [whole[start : start + self.frame_bytes] for start in range(0, len(whole), self.frame_bytes)]

    def push_joined(self, data: bytes | bytearray | memoryview) -> bytes:
        """As :meth:`push`, the frames in one piece."""
        if not self._rest and len(data) % self.frame_bytes == 0:
            return bytes(data)
        self._rest += data
        end = len(self._rest) - len(self._rest) % self.frame_bytes
        whole = bytes(self._rest[:end])
        del self._rest[:end]
        return whole

    def flush(self) -> bytes:
        """What waits, filled up with silence to a whole frame; ``b""`` where nothing waits.

        A sample that was cut in two is completed with the bytes of silence that belong there.
        """
        if not self._rest:
            return b""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest + (self._silence * (self.frame_bytes // len(self._silence)))[len(rest) :]

    def clear(self) -> None:
        """Forget what waits."""
        self._rest.clear()
