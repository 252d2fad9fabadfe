"""Running the user's guardrails, each check in a task of its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup

from kernl_rt._core import actions, inputs
from kernl_rt._core.guardrails import GuardrailSettings
from kernl_rt._session.driver import Driver
from kernl_rt.context import Context
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.guardrail import Guardrail

__all__ = ["DEFAULT_HOLD_BACK", "GuardrailRunner", "checked_guardrails", "checked_hold_back", "guardrail_settings"]

#: Seconds that a reply's sound waits at most for its words to pass.
DEFAULT_HOLD_BACK = 2.0
#: The reason of a check that gives none.
NO_REASON = "not allowed"


def checked_guardrails(guardrails: object) -> tuple[Guardrail[Any], ...]:
    """
    Raises:
        MisconfiguredError: something else than guardrails, or two of one name.
    """
    made = tuple(guardrails) if isinstance(guardrails, (list, tuple, set, frozenset)) else (guardrails,)
    for each in made:
        if not isinstance(each, Guardrail):
            raise MisconfiguredError(
                f"guardrails= takes a list of Guardrail, not a {type(each).__name__}: Guardrail('polite', check)"
            )
    names = [each.name for each in made]
    for name in names:
        if names.count(name) > 1:
            raise MisconfiguredError(f"two guardrails are named {name!r}: rename one")
    return made


def checked_hold_back(hold_back: object, guardrails: Sequence[Guardrail[Any]]) -> float | None:
    """How long sound may wait, in seconds; ``None`` where it does not.

    Raises:
        MisconfiguredError: not a time, or nothing to wait for.
    """
    if hold_back is False:
        return None
    if hold_back is True:
        hold_back = DEFAULT_HOLD_BACK
    if not isinstance(hold_back, (int, float)) or not 0 < hold_back < float("inf"):
        raise MisconfiguredError(f"hold_back={hold_back!r} must be True, False or seconds above 0")
    if not guardrails:
        raise MisconfiguredError("hold_back waits for guardrails: pass guardrails=[…] too, or leave it out")
    return float(hold_back)


def guardrail_settings(guardrails: Sequence[Guardrail[Any]]) -> tuple[GuardrailSettings, ...]:
    """What the machine needs to know of the guardrails."""
    return tuple(GuardrailSettings(each.name, each.threshold, each.follow_up, each.fail_closed) for each in guardrails)


class GuardrailRunner:
    """Takes checks from the driver, runs each, and feeds what came of it."""

    def __init__(self, driver: Driver, guardrails: Sequence[Guardrail[Any]], context: Context[Any]) -> None:
        self._driver = driver
        self._guardrails: Mapping[str, Guardrail[Any]] = {each.name: each for each in guardrails}
        self._context = context

    def dispatch(self, group: TaskGroup) -> None:
        """Start the checks that wait, each as a task of ``group``."""
        queue = self._driver.to_guardrails
        while queue:
            check = queue.pop(0)
            group.start_soon(self._run, check, name=f"kernl_rt guardrail {check.guardrail}")

    async def _run(self, check: actions.StartCheck) -> None:
        """One check, and its one result. What it raises is told, and does not harm the session."""
        guardrail = self._guardrails[check.guardrail]
        reason: str | None = None
        error: Exception | None = None
        try:
            with anyio.fail_after(guardrail.timeout):
                verdict: Any = guardrail.check(check.text, self._context)
                if inspect.isawaitable(verdict):
                    verdict = await self._driver.watchdog.watched("guardrail", guardrail.name, verdict)
            reason = _reason(verdict)
        except Exception as exc:
            error = exc
        self._driver.feed(inputs.CheckReturned(check.check_id, reason, error))


def _reason(verdict: object) -> str | None:
    if verdict is None or verdict is False or verdict == "":
        return None
    if verdict is True:
        return NO_REASON
    if isinstance(verdict, str):
        return verdict
    raise TypeError(f"a check returns None, True, False or a reason as text, not a {type(verdict).__name__}")
