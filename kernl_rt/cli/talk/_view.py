"""What a person reads while talking: both sides, the tools, how long it took."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Protocol

from kernl_rt.events import (
    InputTranscript,
    Interrupted,
    LatencyMeasured,
    OutputTranscript,
    OutputTranscriptDelta,
    ResponseCreated,
    SessionError,
    SpeechStarted,
    StatusChanged,
    ToolCalled,
    ToolFinished,
)

__all__ = ["ECHO_HINT", "PlainScreen", "RichScreen", "Screen", "View", "screen"]

ECHO_HINT = "the agent seems to hear itself: use headphones, or --half-duplex"
#: Replies in a row that were interrupted at their beginning, after which the room is suspected. Milliseconds heard.
_SUSPICIOUS, _BEGINNING_MS = 3, 2_500

_STYLES = {"you": "bold cyan", "agent": "bold green", "tool": "yellow", "error": "bold red"}


class Screen(Protocol):
    """Shows lines, and what is being said just now."""

    def line(self, who: str, text: str) -> None:
        """A line that stays."""
        ...

    def partial(self, who: str, text: str) -> None:
        """What ``who`` is saying, so far; ``""``: nothing."""
        ...

    def close(self) -> None: ...


class PlainScreen:
    """Lines only; errors go to standard error."""

    def line(self, who: str, text: str) -> None:
        if who == "error":
            print(f"kernl-rt: {text}", file=sys.stderr, flush=True)
        else:
            print(f"{who + ':' if who else '':<7}{text}", flush=True)

    def partial(self, who: str, text: str) -> None:
        """Not shown: a line cannot be taken back here."""

    def close(self) -> None:
        """Nothing is left to be shown."""


class RichScreen:
    """Colours, and a last line that changes while somebody speaks. Draws when called; it has no thread."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def line(self, who: str, text: str) -> None:
        self._console.print(self._styled(who, text))

    def partial(self, who: str, text: str) -> None:
        shown = self._styled(who, text)
        shown.stylize("dim italic")
        self._live.update(shown if text else "", refresh=True)

    def close(self) -> None:
        self._live.update("", refresh=True)
        self._live.stop()

    @staticmethod
    def _styled(who: str, text: str) -> Any:
        from rich.text import Text

        name = Text(f"{who + ':' if who else '':<7}", style=_STYLES.get(who, "dim"))
        return name.append(text, style="" if who in ("you", "agent", "error") else "dim")


def screen(*, plain: bool) -> Screen:
    """The one that fits where the output goes."""
    wanted = sys.stdout.isatty() and not plain
    return RichScreen() if wanted and importlib.util.find_spec("rich") is not None else PlainScreen()


class View:
    """Takes the session's events and tells the screen."""

    def __init__(self, screen: Screen, *, half_duplex: bool) -> None:
        self._screen = screen
        self._saying = ""
        self._may_echo = not half_duplex
        self._was_interrupted = False
        self._in_a_row = 0

    def take(self, event: Any) -> None:
        told = _TOLD.get(type(event))
        if told is not None:
            told(self, event)

    def _input(self, event: InputTranscript) -> None:
        self._screen.line("you", event.text.strip() or "(nothing that could be understood)")

    def _speaking(self, event: SpeechStarted) -> None:
        self._screen.partial("you", "…")

    def _output_begins(self, event: OutputTranscriptDelta) -> None:
        self._saying += event.text
        self._screen.partial("agent", self._saying)

    def _output(self, event: OutputTranscript) -> None:
        self._saying = ""
        self._screen.partial("", "")
        self._screen.line("agent", event.text)

    def _called(self, event: ToolCalled) -> None:
        self._screen.line("tool", f"{event.name}({event.arguments}) …")

    def _finished(self, event: ToolFinished) -> None:
        took = f" after {event.duration:.2f} s" if event.duration is not None else ""
        what = f"→ {event.output!r}" if event.outcome == "result" else event.outcome
        self._screen.line("tool", f"{event.name} {what}{took}")

    def _latency(self, event: LatencyMeasured) -> None:
        if event.to_first_heard is not None:
            self._screen.line("", f"({1000 * event.to_first_heard:,.0f} ms from your last word to the first sound)")

    def _interrupted(self, event: Interrupted) -> None:
        self._saying = ""
        self._screen.partial("", "")
        if event.reason != "speech":
            return
        self._screen.line("", f"(interrupted after {event.heard_ms:,} ms)")
        self._was_interrupted = True
        if event.heard_ms > _BEGINNING_MS:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._may_echo and self._in_a_row >= _SUSPICIOUS:
            self._may_echo = False
            self._screen.line("", ECHO_HINT)

    def _response(self, event: ResponseCreated) -> None:
        if not self._was_interrupted:
            self._in_a_row = 0
        self._was_interrupted = False

    def _status(self, event: StatusChanged) -> None:
        if event.status == "reconnecting":
            self._screen.line("", "(the link is lost; connecting again …)")
        elif event.previous == "reconnecting" and event.status != "closed":
            self._screen.line("", "(connected again)")

    def _error(self, event: SessionError) -> None:
        self._screen.line("error", event.message)


_TOLD: dict[type, Callable[[View, Any], None]] = {
    InputTranscript: View._input,
    SpeechStarted: View._speaking,
    OutputTranscriptDelta: View._output_begins,
    OutputTranscript: View._output,
    ToolCalled: View._called,
    ToolFinished: View._finished,
    LatencyMeasured: View._latency,
    Interrupted: View._interrupted,
    ResponseCreated: View._response,
    StatusChanged: View._status,
    SessionError: View._error,
}
