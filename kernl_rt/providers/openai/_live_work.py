"""Work that the Live model hands over: to the client, or to a model behind it that calls tools.

The inner stream of events is the Responses API's. Its calls are told once their response is over, because only then may
they be answered: the last answer is followed by ``response.create``, which makes the model behind go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from kernl_rt import events as ev
from kernl_rt.events import ServerEvent
from kernl_rt.items import FunctionCall
from kernl_rt.providers._fields import COUNT, OBJECT, TEXT, Misfit
from kernl_rt.providers.openai._live_spans import Spans
from kernl_rt.providers.openai._live_wire import INNER, Call, Inner, Item, Nested, Written

__all__ = ["OpenCall", "Work"]

#: Responses that may be under way at once; a peer that begins more has forgotten the oldest.
_MOST = 64


@define
class OpenCall:
    """A call that has no answer yet. ``group`` is the inner response that made it; ``None`` for delegated work."""

    name: str
    group: str | None


@define
class _Response:
    calls: list[tuple[FunctionCall, dict[str, Any]]] = field(factory=list)


class Work:
    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._running: dict[str, _Response] = {}
        #: Calls of any response that are being written: their item ids and call ids.
        self._written: dict[str, str] = {}
        self._open: dict[str, OpenCall] = {}
        #: What we have asked the model behind to go on with, and it has not begun.
        self._continuing: set[str] = set()

    def _tell(self) -> None:
        self._spans.work(bool(self._running or self._continuing))

    # -- answers

    def delegated(self, delegation_id: str, name: str) -> None:
        self._open[delegation_id] = OpenCall(name, None)

    def answered(self, call_id: str) -> tuple[OpenCall | None, bool]:
        """The call that is answered, if it is known here; and whether it was the last of its response."""
        call = self._open.pop(call_id, None)
        last = call is not None and call.group is not None and all(c.group != call.group for c in self._open.values())
        return call, last

    def goes_on(self, event_id: str) -> None:
        self._continuing.add(event_id)
        self._tell()

    def refused(self, event_id: str | None) -> None:
        """The provider refused what we said."""
        if event_id in self._continuing:
            self._continuing.discard(event_id)
            self._tell()

    # -- the inner stream

    def nested(self, said: Nested) -> list[ServerEvent]:
        """
        Raises:
            Misfit: an inner event is not what the table says.
        """
        kind = TEXT.decode(said.event.get("type")) if "type" in said.event else ""
        struct = INNER.get(kind)
        about: dict[str, Any] = {"delegation_id": said.delegation_id} if said.delegation_id is not None else {}
        whole = ev.DelegationEvent(kind, said.event, said.delegation_id, event_id=said.event_id, extra=said.extra)
        if struct is None:
            return [whole]
        try:
            inner = struct.decode(said.event)
        except Misfit as misfit:
            raise misfit.under(kind) from None
        extra = {**about, **inner.extra}
        if isinstance(inner, Inner):
            return [whole, *self._life(kind, inner.response, extra, said.client_event_id)]
        if isinstance(inner, Item):
            return self._item(kind, inner, extra) or [whole]
        if isinstance(inner, Call):
            call_id = self._written.get(inner.item_id)
            if call_id is None:
                return [whole]
            place: dict[str, Any] = {"output_index": inner.output_index, "extra": extra}
            return [ev.ToolDelta(call_id, inner.delta, inner.item_id, **place)]
        assert isinstance(inner, Written)
        where: dict[str, Any] = {"item_id": inner.item_id, "output_index": inner.output_index, "extra": extra}
        where["content_index"] = inner.content_index
        done = kind.endswith(".done")
        return [ev.TextDone(inner.text, **where) if done else ev.TextDelta(inner.text, **where)]

    def _life(
        self, kind: str, response: Mapping[str, Any], extra: dict[str, Any], blamed: str | None
    ) -> list[ServerEvent]:
        name = TEXT.decode(response.get("id"))
        if kind == "response.created":
            while len(self._running) >= _MOST:
                del self._running[next(iter(self._running))]
            self._running[name] = _Response()
            if self._continuing:
                self._continuing.discard(blamed or next(iter(self._continuing)))
                self._spans.ask()
            self._tell()
            return self._spans.taken()
        ended = self._running.pop(name, None) or _Response()
        out: list[ServerEvent] = []
        if kind == "response.failed":
            out.append(_failure(response, extra))
        else:
            out += self._calls(ended.calls, name)
        self._tell()
        if (usage := _usage(response.get("usage"))) is not None:
            out.append(ev.UsageReported(usage, extra=extra))
        return out

    def _calls(self, calls: list[tuple[FunctionCall, dict[str, Any]]], group: str) -> list[ServerEvent]:
        for call, extra in calls:
            self._open[call.call_id or ""] = OpenCall(call.name, group)
            self._spans.call(call, extra)
        if calls:
            self._spans.close("completed")
        return self._spans.taken()

    def _item(self, kind: str, inner: Item, extra: dict[str, Any]) -> list[ServerEvent]:
        if inner.item.get("type") != "function_call":
            return []
        item_id, call_id = TEXT.decode(inner.item.get("id")), TEXT.decode(inner.item.get("call_id"))
        name = TEXT.decode(inner.item.get("name"))
        if kind == "response.output_item.added":
            self._written[item_id] = call_id
            while len(self._written) > _MOST:
                del self._written[next(iter(self._written))]
            begun = FunctionCall(name, "", call_id, id=item_id, status="in_progress")
            return [ev.ToolStarted(begun, output_index=inner.output_index, extra=extra)]
        self._written.pop(item_id, None)
        arguments = TEXT.decode(inner.item.get("arguments"))
        call = FunctionCall(name, arguments, call_id, id=item_id, status="completed")
        owner = next(reversed(self._running), None)
        if owner is None:
            # Its response began before we listened: nothing will say when that is over.
            return self._calls([(call, extra)], "")
        self._running[owner].calls.append((call, extra))
        return [ev.OutputItemDone(call, output_index=inner.output_index, extra=extra)]


def _failure(response: Mapping[str, Any], extra: dict[str, Any]) -> ev.SessionError:
    error = response.get("error")
    said = error if isinstance(error, dict) else {}
    message, code = said.get("message"), said.get("code")
    return ev.SessionError(
        message if isinstance(message, str) and message else "the model behind the Live model failed to respond",
        code if isinstance(code, str) else None,
        "response.failed",
        extra=extra,
    )


def _usage(said: Any) -> ev.Usage | None:
    """The tokens of one inner response."""
    if said is None:
        return None
    counts = OBJECT.decode(said)

    def count(source: Mapping[str, Any], key: str) -> int | None:
        value = source.get(key)
        return None if value is None else int(COUNT.decode(value))

    def inside(key: str) -> Mapping[str, Any]:
        return {} if counts.get(key) is None else OBJECT.decode(counts[key])

    cached = count(inside("input_tokens_details"), "cached_tokens")
    reasoning = count(inside("output_tokens_details"), "reasoning_tokens")
    return ev.Usage(
        input_tokens=count(counts, "input_tokens"),
        output_tokens=count(counts, "output_tokens"),
        total_tokens=count(counts, "total_tokens"),
        input=None if cached is None else ev.TokenDetails(cached=cached),
        output=None if reasoning is None else ev.TokenDetails(reasoning=reasoning),
    )
