"""Frames of a peer that may be hostile, read; and ours, written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kernl_rt.exceptions import MisconfiguredError, ProtocolError

__all__ = ["read_object", "write_json"]

_decode: Callable[[str | bytes], Any] = msgspec.json.Decoder().decode
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
#: How deep a frame may be nested: whoever prints, compares or sends it again would recurse over it.
_DEEPEST = 128
#: The lists and objects that a frame may have: parsing them takes time in which nothing else runs.
_MOST_HOLDERS = 100_000


def read_object(message: str | bytes) -> dict[str, Any]:
    """The object in a frame.

    Raises:
        ProtocolError: there is none; the message holds nothing of the frame.
    """
    marks: tuple[Any, Any] = ("[", "{") if isinstance(message, str) else (b"[", b"{")
    holders = sum(message.count(mark) for mark in marks)
    if holders > _MOST_HOLDERS:
        raise ProtocolError(f"the frame holds more than {_MOST_HOLDERS} lists and objects")
    try:
        frame = _decode(message)
    except RecursionError:
        raise ProtocolError("the frame is nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the frame is not JSON: {error}") from None
    except ValueError:
        raise ProtocolError("the frame is not JSON: its text is not Unicode") from None
    if type(frame) is not dict:
        raise ProtocolError("the frame is JSON, but not an object")
    if holders > _DEEPEST and _depth_exceeds(frame, _DEEPEST):
        raise ProtocolError("the frame is nested too deeply")
    return frame


def _depth_exceeds(frame: Any, limit: int) -> bool:
    level = [frame]
    for _ in range(limit):
        below = [each.values() if type(each) is dict else each for each in level]
        level = [child for children in below for child in children if type(child) in (dict, list) and child]
        if not level:
            return False
    return True


def write_json(value: Any) -> str:
    """
    Raises:
        MisconfiguredError: there is something in it that JSON cannot say.
    """
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        # Half of a surrogate pair (a tool's output, a broken emoji) has no UTF-8; it must not cost the session.
        return _encode(_mended(value)).decode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise MisconfiguredError(f"a value in the event is not JSON: {type(error).__name__}") from error


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return [_mended(item) for item in value] if isinstance(value, (list, tuple)) else value
