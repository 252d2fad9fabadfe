"""What the model must not say: functions that read its replies while they grow."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeAlias

from attrs import field, frozen

from kernl_rt.context import Context
from kernl_rt.exceptions import MisconfiguredError

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

__all__ = ["FOLLOW_UP", "Check", "Guardrail", "Verdict"]

T_contra = TypeVar("T_contra", contravariant=True, default=Any)

#: What a check says: ``None`` or ``False`` where the text may be said; a reason, or ``True``, where it may not.
Verdict: TypeAlias = str | bool | None
#: A function of the text so far and the context, plain or ``async def``.
Check: TypeAlias = Callable[[str, Context[T_contra]], Verdict | Awaitable[Verdict]]

#: What the model is told after a trip, unless the guardrail says otherwise.
FOLLOW_UP = "guardrail {name} tripped: {reason}"


@frozen
class Guardrail(Generic[T_contra]):
    """A function that reads each reply and stops it where it must not be said: an *output guardrail*.

    ``check(text, context)`` gets the whole of a reply's words so far (transcript or text; parts are joined by a line
    break). It is asked each time the reply has grown by ``threshold`` characters since it was last asked, and once when
    the words are complete; never twice at the same time for one reply, and then about the newest text. It returns
    ``None`` or ``False`` where all is well, else the reason as text, or ``True``. A plain function is called in the
    event loop and must not block; an ``async def`` function is cancelled after ``timeout`` seconds.

    When it trips, the reply is cancelled at the provider, the channel is cleared, nothing more of it is played or
    reported, and a ``guardrail`` event tells of it. A reply trips once, whatever other checks say. Then ``follow_up``,
    a text with ``{name}`` and ``{reason}`` in it, is told to the model as a system message, and a reply to it is asked
    for; ``None`` leaves it at silence. A reply that is over but still plays is silenced, with no message (but with one
    where ``hold_back`` kept its end from being heard and no other reply has begun).

    A check that raises, takes too long or returns something else is an ``error`` event; it counts as not tripped, with
    ``fail_closed=True`` as tripped.
    """

    name: str
    check: Check[T_contra] = field(repr=False)
    threshold: int = 100
    follow_up: str | None = field(default=FOLLOW_UP, kw_only=True)
    fail_closed: bool = field(default=False, kw_only=True)
    timeout: float = field(default=10.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """
        Raises:
            MisconfiguredError: names what is empty, of the wrong type, or out of range.
        """
        if not isinstance(self.name, str) or not self.name.strip():
            raise MisconfiguredError(f"a guardrail's name must be text, not {self.name!r}")
        where = f"guardrail {self.name!r}"
        if not callable(self.check):
            raise MisconfiguredError(f"{where}: check must be a function of the text and the context")
        if not _is_number(self.threshold) or not self.threshold >= 1:
            raise MisconfiguredError(f"{where}: threshold={self.threshold!r} must be at least 1 character")
        if not _is_number(self.timeout) or not self.timeout > 0:
            raise MisconfiguredError(f"{where}: timeout={self.timeout!r} must be seconds above 0")
        if not isinstance(self.fail_closed, bool):
            raise MisconfiguredError(f"{where}: fail_closed={self.fail_closed!r} must be True or False")
        if self.follow_up is not None:
            _check_follow_up(where, self.follow_up)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_follow_up(where: str, follow_up: object) -> None:
    fix = "write {name} and {reason} where they belong, and {{ for a brace; or None for no message"
    if not isinstance(follow_up, str) or not follow_up.strip():
        raise MisconfiguredError(f"{where}: follow_up={follow_up!r} must be text: {fix}")
    try:
        follow_up.format(name="", reason="")
    except (LookupError, ValueError, AttributeError):
        raise MisconfiguredError(f"{where}: follow_up={follow_up!r} is no template: {fix}") from None
