"""The parts of RFC 6455 that neither library does for us. Pure."""

from __future__ import annotations

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Assembler", "Slicer", "Violation", "check_close_code", "clip_reason", "valid_close_code"]

TEXT, BINARY, CONTINUATION = 1, 2, 0


class Violation(Exception):
    """The peer broke the protocol; the link is to be closed with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Slicer:
    """Bytes of a server in, its frames out, each whole.

    Nearly all of them are messages in one piece, whose header is 2, 4 or 10 bytes and of which nothing has to be known
    but the length (RFC 6455 section 5.2). Those are given as their opcode and payload; of anything else (control
    frames, fragments, what must not be, what is over ``limit``) the bytes are given with the opcode ``None``, for
    somebody who knows the whole protocol.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        #: The size of the frame that begins there, once it is known.
        self._wanted = 0
        #: The rest of a frame that is over the limit, or no frame at all, is not waited for.
        self._spoilt = False

    def feed(self, data: bytes) -> list[tuple[int | None, bytes]]:
        if self._spoilt:
            return [(None, data)]
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []  # looked at once it is whole, not with each piece of it
            data = bytes(self._rest)
            self._rest.clear()
        self._wanted = 0
        frames: list[tuple[int | None, bytes]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            first, size, begin = data[at], data[at + 1], at + 2
            if size == 126:
                begin += 2
            elif size == 127:
                begin += 8
            if begin > end:
                break
            if size >= 126:
                size = int.from_bytes(data[at + 2 : begin], "big")
            if size > self._limit or data[at + 1] > 127:
                self._spoilt = True
                frames.append((None, data[at:]))
                return frames
            if begin + size > end:
                self._wanted = begin + size - at
                break
            if first in _WHOLE:
                frames.append((first & 15, data[begin : begin + size]))
            else:
                frames.append((None, data[at : begin + size]))
            at = begin + size
        self._rest += data[at:]
        return frames


#: The first bytes of a whole text, and of whole bytes: the final bit, no reserved bits.
_WHOLE = frozenset({0x81, 0x82})


class Assembler:
    """Frames in, whole messages out. Text is checked, and stays UTF-8 bytes: whoever parses JSON wants bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._opcode = CONTINUATION
        #: A bytearray, not a list: endless empty fragments must not cost memory.
        self._parts = bytearray()

    def feed(self, opcode: int, data: bytes, fin: bool) -> bytes | None:
        """The message that this frame completes, if it does.

        Raises:
            Violation: 1002 for a frame out of turn, 1007 for invalid UTF-8, 1009 over the limit.
        """
        if opcode == CONTINUATION:
            if self._opcode == CONTINUATION:
                raise Violation(1002, "unexpected continuation frame")
        elif self._opcode != CONTINUATION:
            raise Violation(1002, "expected a continuation frame")
        if len(self._parts) + len(data) > self._limit:
            raise Violation(1009, f"the message is larger than {self._limit} bytes")
        if not fin or opcode == CONTINUATION:
            self._parts += data
            if not fin:
                self._opcode = opcode or self._opcode
                return None
            opcode, self._opcode = self._opcode, CONTINUATION
            data = bytes(self._parts)
            self._parts.clear()
        if opcode == TEXT and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                raise Violation(1007, "a text message is not valid UTF-8") from None
        return data


def valid_close_code(code: int) -> bool:
    """May ``code`` stand in a close frame? (RFC 6455 section 7.4 and IANA's registry)"""
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def check_close_code(code: int) -> None:
    if not valid_close_code(code):
        allowed = "1000 to 1003, 1007 to 1014, 3000 to 4999"
        raise MisconfiguredError(f"{code!r} is no close code that may be sent: use {allowed}")


def clip_reason(reason: str) -> str:
    """``reason`` cut to the 123 bytes that fit into a close frame (RFC 6455 section 5.5)."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")
