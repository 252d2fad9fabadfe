"""The words of a conversation with their times, as far as they were heard."""

from __future__ import annotations

import json
from typing import Any, Literal

from attrs import asdict, frozen

from kernl_rt._recording.journal import VERSION
from kernl_rt._recording.story import Reply, Story

__all__ = ["Entry", "entries", "transcript"]


@frozen
class Entry:
    """Something that was said or done. ``start`` and ``end`` are seconds since the recording began.

    ``end`` is ``None`` where it is not known, or not yet. ``name`` is the agent's id, or the tool's name.
    """

    start: float
    end: float | None
    who: Literal["human", "agent", "tool"]
    text: str
    name: str = ""
    interrupted: bool = False
    item_id: str | None = None


def entries(story: Story) -> list[Entry]:
    """Everything in the order in which it began. What nobody heard is not among it."""
    found = [*_messages(story), *_tools(story)]
    return sorted(found, key=lambda entry: entry.start)


def _messages(story: Story) -> list[Entry]:
    spoken = {said.item_id: said for said in story.utterances}
    replies = {reply.item_id: reply for reply in story.replies}
    found = [_spoken(reply) for reply in story.replies if reply.heard and reply.item_id not in story.removed]
    for item_id, message in story.messages.items():
        if message.role == "user":
            said = spoken.get(item_id)
            start, end = (message.at, None) if said is None else (said.start, said.end)
            found.append(Entry(start, end, "human", message.text, item_id=item_id))
        elif message.role == "assistant":
            reply = replies.get(item_id)
            if reply is None or not (reply.received_bytes or reply.heard):  # it was written, not spoken
                found.append(Entry(message.at, None, "agent", message.text, message.agent, item_id=item_id))
    found += [
        Entry(said.start, said.end, "human", said.text, item_id=said.item_id)
        for said in story.utterances
        if said.item_id not in story.messages and said.item_id not in story.removed
    ]
    return [entry for entry in found if entry.text]


def _spoken(reply: Reply) -> Entry:
    cut = reply.interrupted_at is not None
    start, end = reply.heard[0][0], reply.heard[-1][1]
    return Entry(start, end, "agent", reply.words_heard, reply.agent, cut, reply.item_id)


def _tools(story: Story) -> list[Entry]:
    return [Entry(run.start, run.end, "tool", run.outcome or "running", run.name) for run in story.tools]


def transcript(story: Story) -> str:
    """The file ``transcript.json``."""
    whole: dict[str, Any] = {
        "version": VERSION,
        "title": story.title,
        "started": story.started,
        "seconds": round(story.seconds, 3),
        "complete": story.complete,
        "entries": [_plain(entry) for entry in entries(story)],
    }
    text = json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
    # Half a surrogate pair, which JSON on a wire can hold, has no UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(entry: Entry) -> dict[str, Any]:
    values = asdict(entry)
    values["start"] = round(entry.start, 3)
    values["end"] = None if entry.end is None else round(entry.end, 3)
    return {name: value for name, value in values.items() if not (value is None or value is False or value == "")}
