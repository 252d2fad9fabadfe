"""The engine's replies as OpenAI's Live API shows them: sound and words on the timeline, calls as work handed over.

Work goes to a Responses backend, whose events are nested, or to the client, for whom one hidden function stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pybase64

from kernl_rt.simulator._protocols._live_timeline import Messages, Timeline

__all__ = ["Replies"]


class Replies:
    """One session's. ``tell`` takes the words of a reply that was given, ``fail`` why one was not."""

    def __init__(
        self,
        messages: Messages,
        timeline: Timeline,
        *,
        client_works: Callable[[], bool],
        tell: Callable[[str], None],
        fail: Callable[[str], None],
    ) -> None:
        self._messages = messages
        self._timeline = timeline
        self._client_works = client_works
        self._tell = tell
        self._fail = fail
        #: The engine's reply that runs.
        self.running: str | None = None
        #: The next reply is one that the client asked the backend for.
        self.backend_next = False
        #: Delegations to the client, and the engine's calls behind them.
        self.handed: dict[str, str] = {}
        self._nested: str | None = None
        self._text = ""

    def write(self, kind: str, frame: Mapping[str, Any]) -> None:
        """One frame of the engine's, ``response.*``."""
        if kind == "response.output_audio_transcript.delta":
            self._timeline.speak(frame["delta"])
            self._text += frame["delta"]
        elif kind == "response.output_audio.delta":
            self._timeline.speak(pybase64.b64decode(frame["delta"], validate=True))
        elif kind == "response.created":
            self.running, self._text = frame["response"]["id"], ""
            self._nested = None
            if self.backend_next:
                self.backend_next = False
                self._nest_response()
        elif kind == "response.done":
            self._end_reply(frame["response"])
        elif frame.get("item", {}).get("type") == "function_call" or kind.startswith("response.function_call"):
            self._write_call(kind, frame)

    def _write_call(self, kind: str, frame: Mapping[str, Any]) -> None:
        if self._client_works():
            if kind == "response.output_item.done":
                name = self._messages.name("del")
                self.handed[name] = frame["item"]["call_id"]
                self._delegate({"id": name, "target": "client", "type": "delegation"})
            return
        if self._nested is None:
            name = self._messages.name("del")
            self._delegate({"id": name, "target": "responses", "type": "delegation", "response_id": self.running})
            self._nest_response(name)
        inner = {key: value for key, value in frame.items() if key not in ("event_id", "response_id", "name")}
        self._nest(**inner)

    def _delegate(self, delegation: Mapping[str, Any]) -> None:
        self._messages.say("session.delegation.created", delegation=delegation, offset_ms=int(self._timeline.spoken_ms))

    def _nest_response(self, delegation_id: str = "") -> None:
        self._nested = delegation_id
        self._nest(type="response.created", response={"id": self.running, "status": "in_progress", "output": []})

    def _nest(self, **event: Any) -> None:
        about: dict[str, Any] = {"delegation_id": self._nested} if self._nested else {}
        self._messages.say("response.event", event={**event, "sequence_number": self._messages.next()}, **about)

    def _end_reply(self, response: Mapping[str, Any]) -> None:
        if response["status"] == "cancelled":
            self._timeline.fall_silent()
        elif self._text:
            self._tell(self._text)
        if self._nested is not None:
            if self._text:
                place = {"item_id": f"msg_{self.running}", "output_index": 0, "content_index": 0}
                self._nest(type="response.output_text.done", text=self._text, **place)
            status = response["status"] if response["status"] in ("completed", "failed") else "incomplete"
            ended: dict[str, Any] = {
                "id": self.running,
                "status": status,
                "output": [],
                "usage": _tokens(response["usage"] or {}),
            }
            self._nest(type=f"response.{status}", response=ended)
        elif response["status"] == "failed":
            error = (response.get("status_details") or {}).get("error") or {}
            self._fail(error.get("message") or "The model failed.")
        self.running = self._nested = None


def _tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    counts = {key: usage.get(key, 0) for key in ("input_tokens", "output_tokens", "total_tokens")}
    return {
        **counts,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
