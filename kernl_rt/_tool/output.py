"""A tool's result as the text that the model reads.

==========================================  ==========================================================================
``str``                                     as it is
``None``                                    ``null``. Not ``""``, which models take for a failure to answer, and not
                                            ``ok``, which would be a lie where None means "nothing found"
attrs, dataclass, TypedDict, msgspec,       JSON object (attrs leaves out private names, as msgspec does)
pydantic (``model_dump``), ``dict``
``list``, ``tuple``, ``set``, ``frozenset``  JSON array (a set in no particular order)
``bool``, ``int``, ``float``                JSON; NaN and the infinities are a :class:`ToolError`, JSON has none
an enum                                     its value
``datetime`` and its kin, UUID, Decimal     their text, plain where they stand alone
``bytes``                                   base64, as in arguments; decode text before you return it
anything else                               a :class:`ToolError`
==========================================  ==========================================================================

Lone surrogates become U+FFFD. What is longer than the limit is cut, with a marker that counts what is gone.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from kernl_rt.exceptions import ToolError

__all__ = ["error_text", "output_text"]

#: Bytes of an error's text that the model gets to read.
_LONGEST_ERROR = 2_048
#: Leaves of an exception group that are named.
_MOST_LEAVES = 5


def output_text(value: object, max_bytes: int, *, tool: str) -> str:
    """``value`` as text of at most ``max_bytes`` bytes of UTF-8.

    Raises:
        ToolError: ``value`` cannot be written as JSON.
    """
    if type(value) is str:
        return cut(value, max_bytes)
    try:
        plain = msgspec.to_builtins(value, enc_hook=_foreign, str_keys=True)
        text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as exc:
        reason = "it is nested too deep" if isinstance(exc, RecursionError) else " ".join(str(exc).split())[:200]
        raise ToolError(
            f"tool {tool!r} returned a {type(value).__name__} that cannot be written as JSON: {reason}"
        ) from exc
    return cut(text, max_bytes)


def _foreign(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        name = type(value).__name__
        raise TypeError(f"a {name} has no JSON form; return text, numbers, lists, dicts or attrs classes")
    return dump(value, mode="json")


def cut(text: str, max_bytes: int) -> str:
    """``text`` as valid Unicode, at most ``max_bytes`` bytes long in UTF-8, with a marker where something was cut."""
    # Never more characters than bytes: a text of a gigabyte is not encoded to learn that it is too long.
    head = _valid(text[: max_bytes + 1])
    encoded = head.encode()
    if len(encoded) <= max_bytes:
        return head
    room = max(0, max_bytes - len(_marker(len(text)).encode()))
    kept = encoded[:room].decode(errors="ignore")
    return kept + _marker(len(text) - len(kept))


def _marker(characters: int) -> str:
    return f" […{characters} more characters cut]"


def _valid(text: str) -> str:
    if text.isascii():
        return text
    # By way of UTF-16, where two halves of one character, read apart, come together again.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def error_text(exc: BaseException) -> str:
    """What the model is told of ``exc``, in at most 2 KiB.

    A :class:`~kernl_rt.exceptions.ToolError` is its message, anything else its type and message; of an exception group,
    each of the first five. Never a traceback, and no values of variables.
    """
    leaves = list(_leaves(exc))
    texts = [_one(leaf) for leaf in leaves[:_MOST_LEAVES]]
    if len(leaves) > _MOST_LEAVES:
        texts.append(f"and {len(leaves) - _MOST_LEAVES} more errors")
    return cut("; ".join(texts), _LONGEST_ERROR)


def _leaves(exc: BaseException) -> list[BaseException]:
    pending, leaves = [exc], []
    while pending:
        each = pending.pop()
        if isinstance(each, BaseExceptionGroup):
            pending.extend(reversed(each.exceptions))
        else:
            leaves.append(each)
    return leaves


def _one(exc: BaseException) -> str:
    name = type(exc).__name__
    try:
        message = str(exc)[: _LONGEST_ERROR + 1]
    except Exception:
        # A __str__ that raises must not cost the model its answer; the type still says something.
        return name
    if isinstance(exc, ToolError):
        return message or name
    return f"{name}: {message}" if message else name
