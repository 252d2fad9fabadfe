"""The parts of RFC 6455 that neither library does for us. Pure."""

from __future__ import annotations

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Assembler", "Violation", "check_close_code", "clip_reason", "valid_close_code"]

TEXT, BINARY, CONTINUATION = 1, 2, 0


class Violation(Exception):
    """The peer broke the protocol; the link is to be closed with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


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
