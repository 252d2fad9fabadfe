"""Everything that a program may print, searched for words that must not be printed."""

from __future__ import annotations

import base64
import io
import json
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs
import cattrs

#: Of ours and of whatever we depend on; those that exist already are found by themselves.
LOGGERS = (
    *("kernl_rt", "websockets", "websockets.client", "websockets.server", "picows", "httpx", "httpcore", "trio"),
    *("httpcore.connection", "httpcore.http11", "trio-websocket", "wsproto", "h11", "anyio", "asyncio", "ssl"),
)


class Canaries:
    """The words. They are kept where no traceback's variables show them."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return "<canaries>"

    def found_in(self, text: str) -> list[str]:
        """The number of each word that the text holds, plain, in base64, or in half."""
        found = []
        for number, word in enumerate(self._words):
            forms = (word, word[len(word) // 3 :], base64.b64encode(word.encode()).decode()[:-4])
            if any(form in text for form in forms):
                found.append(f"canary {number}")
        return found


class Watch:
    """Collects what was printed; ``check`` looks through it."""

    def __init__(self, canaries: Canaries) -> None:
        self.canaries = canaries
        self.texts: list[tuple[str, str]] = []
        self.records = 0

    def add(self, where: str, text: str) -> None:
        self.texts.append((where, text))

    def error(self, error: BaseException) -> None:
        """Message, repr, and the tracebacks with every variable, also of what it hides (``raise … from None``)."""
        pending, seen = [error], set()
        while pending:
            each = pending.pop()
            if id(each) in seen:
                continue
            seen.add(id(each))
            name = type(each).__name__
            self.add(f"{name}: str, repr, attributes", f"{each!s}\n{each!r}\n{vars(each)!r}\n{each.args!r}")
            told = traceback.TracebackException.from_exception(each, capture_locals=True)
            self.add(f"{name}: traceback with variables", "".join(told.format()))
            pending += [inner for inner in (each.__cause__, each.__context__) if inner is not None]
            if isinstance(each, BaseExceptionGroup):
                pending += each.exceptions

    def value(self, value: object, name: str) -> None:
        """A value and all that can be reached from it by public names."""
        pending: list[tuple[str, object, int]] = [(name, value, 0)]
        seen: set[int] = set()
        keep: list[object] = []
        while pending:
            path, each, depth = pending.pop()
            if id(each) in seen or isinstance(each, (int, float, bool, bytes, type(None))):
                continue
            seen.add(id(each))
            keep.append(each)
            self.add(f"repr of {path}", f"{each!r}\n{each!s}\n{each:}" if type(each).__format__ else f"{each!r}")
            if depth < 6:
                pending += [(f"{path}.{key}", inner, depth + 1) for key, inner in _parts(each)]

    def event(self, event: object) -> None:
        """An event, printed and dumped the ways that programs dump attrs values."""
        self.value(event, type(event).__name__)
        if attrs.has(type(event)):
            self.add("attrs.asdict", repr(attrs.asdict(event)))
            dumped = cattrs.Converter().unstructure(event)
            self.add("cattrs", repr(dumped))
            self.add("JSON", json.dumps(dumped, default=str, skipkeys=True))
        if isinstance(cause := getattr(event, "cause", None), BaseException):
            self.error(cause)

    def check(self) -> None:
        hits = [(where, found, text) for where, text in self.texts if (found := self.canaries.found_in(text))]
        shown = "\n".join(f"{where}: {found}: {_around(self.canaries, text)}" for where, found, text in hits[:10])
        assert not hits, f"{len(hits)} of {len(self.texts)} texts show a canary:\n{shown}"


def _around(canaries: Canaries, text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if canaries.found_in(line)]
    return " | ".join(line[:160] for line in lines[:3])


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        yield from ((str(index), inner) for index, inner in enumerate(value[:50]))
    elif type(value).__module__.startswith("kernl_rt"):
        for name in dir(value):
            if name.startswith("_") or callable(getattr(type(value), name, None)):
                continue
            try:
                yield name, getattr(value, name)
            except Exception:
                continue  # a property that is not there yet


class _Collector(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self.watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self.watch.records += 1
        stream = io.StringIO()
        stream.write(self.format(record) + "\n" + repr(record.args) + "\n" + repr(vars(record)))
        self.watch.add(f"log of {record.name} at {record.levelname}", stream.getvalue())


@contextmanager
def watching(canaries: Canaries, level: int = logging.DEBUG) -> Iterator[Watch]:
    """Listen to every logger there is, and to warnings; at the end, check."""
    watch = Watch(canaries)
    handler = _Collector(watch)
    names = {*LOGGERS, *logging.root.manager.loggerDict}
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in sorted(names))]
    before = [(each, each.level, each.disabled, each.propagate) for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(level)
        each.disabled = False
        each.propagate = False
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield watch
        for warning in warned:
            watch.add("warning", f"{warning.message!s} {warning!r}")
    finally:
        for each, its_level, disabled, propagate in before:
            each.removeHandler(handler)
            each.setLevel(its_level)
            each.disabled = disabled
            each.propagate = propagate
    watch.check()
