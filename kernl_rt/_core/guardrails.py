"""The ledger of output guardrails: which words of which reply have been checked, and by whom.

Every guardrail reads every reply on its own: it is asked again when the reply has grown by its ``threshold`` since it
was last asked, and once more at the end of each part of the reply and of the whole. While it thinks, it is not asked
again; when it is done, it is asked about the newest text, not about each one in between. So at most one check of a
guardrail and a reply is in flight, and nothing queues up.

A text is known by its ``version``, which counts how often the reply's words have changed: what has passed in version 5
says nothing about the words of version 6. Replies are known by ``key``: the response's id, or ``""`` for a provider
that gives none.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field, frozen

__all__ = ["Check", "GuardrailSettings", "Guardrails"]

#: So many replies are remembered; the result of a check of an older one means nothing any more.
_REMEMBERED = 64

Part = tuple[str, int]


@frozen
class GuardrailSettings:
    """What the machine knows of a guardrail: all but its function. ``threshold`` is in characters."""

    name: str
    threshold: int = 100
    follow_up: str | None = None
    fail_closed: bool = False


@frozen
class Check:
    """One question to one guardrail. ``version`` is that of ``text``."""

    check_id: str
    settings: GuardrailSettings
    key: str
    text: str
    version: int


@define
class _Progress:
    """How far one guardrail has come with one reply."""

    settings: GuardrailSettings
    asked: int = 0
    asked_size: int = 0
    passed: int = 0
    in_flight: str | None = None


@define
class _Watch:
    """One reply. ``final`` is the version at which a part, or the whole, was complete."""

    progress: list[_Progress]
    parts: dict[Part, str] = field(factory=dict)
    size: int = 0
    version: int = 0
    final: int = 0
    over: bool = False
    abandoned: bool = False
    tripped: bool = False

    def write(self, part: Part, text: str) -> None:
        old = self.parts.get(part, "")
        if text != old:
            self.parts[part] = text
            self.size += len(text) - len(old)
            self.version += 1

    @property
    def text(self) -> str:
        return "\n".join(self.parts.values())


class Guardrails:
    """The guardrails of one session, and the replies they read."""

    def __init__(self, settings: tuple[GuardrailSettings, ...]) -> None:
        self._settings = settings
        self._watches: OrderedDict[str, _Watch] = OrderedDict()
        self._checks: dict[str, Check] = {}
        self._count = 0

    @property
    def on(self) -> bool:
        return bool(self._settings)

    @property
    def in_flight(self) -> int:
        """Checks that have not come back, of the replies that are remembered."""
        return len(self._checks)

    # -- what the reply says ------------------------------------------------------------------------------------------

    def begin(self, key: str) -> None:
        """A reply begins. One without an id is another reply than the last one without an id."""
        if not key:
            self._forget(key)

    def grow(self, key: str, part: Part, text: str) -> list[Check]:
        """More words. Returns the checks to start."""
        watch = self._watch(key)
        watch.write(part, watch.parts.get(part, "") + text)
        return self._due(key, watch)

    def complete(self, key: str, part: Part, text: str) -> list[Check]:
        """The final words of one part of a reply; they replace what came in pieces."""
        watch = self._watch(key)
        watch.write(part, text)
        watch.final = watch.version
        return self._due(key, watch)

    def finish(self, key: str, text: str) -> list[Check]:
        """The reply is over; ``text`` is all of it, for a provider that sent no pieces."""
        watch = self._watch(key)
        if not watch.parts and text:
            watch.write(("", 0), text)
        watch.over, watch.final = True, watch.version
        return self._due(key, watch)

    def abandon(self, key: str) -> None:
        """The reply was interrupted: what was not said of it need not be checked."""
        if self.on:
            self._watch(key).abandoned = True

    # -- what the guardrails say --------------------------------------------------------------------------------------

    def returned(self, check_id: str) -> Check | None:
        """A check is done. ``None`` if its reply is long gone."""
        check = self._checks.pop(check_id, None)
        if check is not None:
            self._progress_of(check).in_flight = None
        return check

    def let_pass(self, check: Check) -> list[Check]:
        """The words of ``check`` are fine. Returns the checks to start now."""
        progress = self._progress_of(check)
        progress.passed = max(progress.passed, check.version)
        return self._due(check.key, self._watches[check.key])

    def trip(self, key: str) -> bool:
        """The reply must not be said. Returns whether that is news."""
        watch = self._watches.get(key)
        if watch is None or watch.tripped:
            return False
        watch.tripped = True
        return True

    @property
    def unfinished(self) -> list[str]:
        """Replies that are not over."""
        return [key for key, watch in self._watches.items() if not watch.over]

    # -- what is known ------------------------------------------------------------------------------------------------

    def tripped(self, key: str) -> bool:
        watch = self._watches.get(key)
        return watch is not None and watch.tripped

    def version(self, key: str) -> int:
        """The version of the reply's words so far."""
        return self._watch(key).version

    def has_passed(self, key: str, version: int) -> bool:
        """Whether every guardrail has let pass the words of ``version``, or there will be none.

        Sound that came before the first word (``version`` 0) waits for the first words.
        """
        watch = self._watches.get(key)
        if watch is None or watch.tripped:
            return False
        needed = max(version, 1)
        if watch.over:
            needed = min(needed, watch.version)
        return all(progress.passed >= needed for progress in watch.progress)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _watch(self, key: str) -> _Watch:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch([_Progress(each) for each in self._settings])
            if len(self._watches) > _REMEMBERED:
                self._forget(next(iter(self._watches)))
        return watch

    def _forget(self, key: str) -> None:
        watch = self._watches.pop(key, None)
        for progress in watch.progress if watch is not None else ():
            if progress.in_flight is not None:
                del self._checks[progress.in_flight]

    def _progress_of(self, check: Check) -> _Progress:
        return next(each for each in self._watches[check.key].progress if each.settings is check.settings)

    def _due(self, key: str, watch: _Watch) -> list[Check]:
        if watch.tripped or watch.abandoned:
            return []
        due = []
        for progress in watch.progress:
            if not watch.size:  # no words: nothing to ask
                progress.passed = progress.asked = watch.version
            grown = abs(watch.size - progress.asked_size) >= progress.settings.threshold
            complete = progress.asked < watch.final
            if progress.in_flight is None and progress.asked < watch.version and (grown or complete):
                self._count += 1
                check = Check(f"check_{self._count}", progress.settings, key, watch.text, watch.version)
                progress.asked, progress.asked_size, progress.in_flight = watch.version, watch.size, check.check_id
                self._checks[check.check_id] = check
                due.append(check)
        return due
