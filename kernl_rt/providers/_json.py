"""JSON texts of a peer that may be hostile, read; and ours, written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kernl_rt.exceptions import MisconfiguredError, ProtocolError

__all__ = ["DEEPEST", "count_brackets", "read_object", "write_json"]

_parse: Callable[[str | bytes], Any] = msgspec.json.Decoder().decode
_write: Callable[[Any], bytes] = msgspec.json.Encoder().encode

#: The levels that a frame may have: whoever prints, compares or sends it again would recurse over it. The deepest of
#: the protocols has 9, JSON schemas of tools included some 30.
DEEPEST = 128
#: The lists and objects that a frame may have: parsing them takes up to a third of a microsecond each, in which nothing
#: else runs.
_MOST_HOLDERS = 100_000


def read_object(message: str | bytes) -> dict[str, Any]:
    """The object in a frame.

    Raises:
        ProtocolError: there is none; the text holds nothing of the frame.
    """
    brackets = count_brackets(message)
    if brackets > _MOST_HOLDERS:
        raise ProtocolError(f"the frame is nested too deeply, or holds more than {_MOST_HOLDERS} lists and objects")
    try:
        frame = _parse(message)
    except RecursionError:
        raise ProtocolError("the frame is nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the frame is not JSON: {error}") from None
    except ValueError:
        raise ProtocolError("the frame is not JSON: its text is not Unicode") from None
    if type(frame) is not dict:
        raise ProtocolError("the frame is JSON, but not an object")
    if brackets > DEEPEST and _is_deep(frame):
        raise ProtocolError("the frame is nested too deeply")
    return frame


def count_brackets(message: Any) -> int:
    """How many lists and objects a frame holds at most: fast, and brackets in texts are counted, too."""
    brackets = b"[{" if type(message) is not str else "[{"
    count: int = message.count(brackets[:1]) + message.count(brackets[1:])
    return count


def _is_deep(frame: Any) -> bool:
    level = [frame]
    for _ in range(DEEPEST):
        # What is empty has no levels below it: a frame of nothing but brackets costs no second look.
        held = [each.values() if type(each) is dict else each for each in level]
        level = [child for children in held for child in children if (type(child) in _HOLDERS and child)]
        if not level:
            return False
    return True


_HOLDERS = frozenset({dict, list})


def write_json(value: Any) -> str:
    """
    Raises:
        MisconfiguredError: there is something in it that JSON cannot say.
    """
    try:
        return _write(value).decode()
    except UnicodeEncodeError:
        # Lone surrogates (a tool's output, a broken emoji) have no UTF-8; one of them must not cost the session.
        return _write(_without_surrogates(value)).decode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise MisconfiguredError(f"a value in the event is not JSON: {type(error).__name__}") from error


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(item) for item in value]
    return value
