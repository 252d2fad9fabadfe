"""Writes docs/state-diagrams.md from the tables that the program runs by.

    python docs/make_state_diagrams.py

The session's status, a tool call and a reply have a table. The arbiter of replies has none: each of its operations is
tried in each of its states, and what came of it is drawn. A test compares the page with a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from kernl_rt._core.arbiter import ALREADY_ACTIVE, PATIENCE, SUSPICION, Arbiter, Wish
from kernl_rt._core.lifecycle import STATUS
from kernl_rt._core.toolcalls import CALL
from kernl_rt.testing._grammar import REPLY

__all__ = ["PAGE", "arbiter_edges", "page"]

PAGE = Path(__file__).resolve().parent / "state-diagrams.md"

#: From, trigger, to.
Edge: TypeAlias = tuple[str, str, str]

_HEAD = """\
# State diagrams

<!-- Written by docs/make_state_diagrams.py. Change the tables, not this page. -->

Every arrow is a row of a table that the program runs by, or was seen by driving it: what is not drawn cannot happen.
`docs/make_state_diagrams.py` writes this page, and a test compares it with the program.
"""


def table_edges(table: dict[tuple[str, str], str]) -> list[Edge]:
    return [(source, trigger, target) for (source, trigger), target in table.items()]


# -- the arbiter: driven ----------------------------------------------------------------------------------------------

_REPLY = "resp"
_REQUEST = "event"


def _idle() -> Arbiter:
    return Arbiter()


def _asked() -> Arbiter:
    arbiter = Arbiter()
    arbiter.wish(Wish())
    arbiter.next(_REQUEST, 0.0, idle=True)
    return arbiter


def _running() -> Arbiter:
    arbiter = _asked()
    arbiter.created(_REPLY)
    return arbiter


def _ask(arbiter: Arbiter) -> None:
    arbiter.wish(Wish())
    arbiter.next(_REQUEST, 1.0, idle=True)


def _suspected(arbiter: Arbiter) -> None:
    arbiter.refused(None, None, "no", 1.0)
    arbiter.expire(1.0 + SUSPICION)


_STATES: dict[str, Callable[[], Arbiter]] = {"idle": _idle, "asked": _asked, "running": _running}
_OPERATIONS: dict[str, Callable[[Arbiter], object]] = {
    "wish": _ask,
    "created": lambda arbiter: arbiter.created(_REPLY),
    "done": lambda arbiter: arbiter.done(_REPLY),
    "done of another": lambda arbiter: arbiter.done("another"),
    "refused": lambda arbiter: arbiter.refused(_REQUEST, "invalid_value", "no", 1.0),
    "lost the race": lambda arbiter: arbiter.refused(_REQUEST, ALREADY_ACTIVE, "no", 1.0),
    f"error without a name, then {SUSPICION:g} s of silence": _suspected,
    f"{PATIENCE:g} s of silence": lambda arbiter: arbiter.expire(PATIENCE),
}


def arbiter_edges() -> list[Edge]:
    """What each operation did in each state, where it did anything."""
    edges: list[Edge] = []
    for source, make in _STATES.items():
        for name, operate in _OPERATIONS.items():
            arbiter = make()
            if arbiter.state != source:
                raise AssertionError(f"the arbiter made for {source!r} is {arbiter.state!r}")
            waiting = arbiter.waiting
            operate(arbiter)
            if arbiter.state != source:
                edges.append((source, name, str(arbiter.state)))
            elif arbiter.waiting != waiting:
                edges.append((source, f"{name} (waits)", source))
    return edges


# -- the page ---------------------------------------------------------------------------------------------------------


def ordered(edges: Iterable[Edge]) -> list[str]:
    """The states, in the order in which they are first named."""
    return list(dict.fromkeys(state for source, _, target in edges for state in (source, target)))


def diagram(edges: list[Edge], start: str) -> list[str]:
    """Plain text, one state a paragraph: readable in an editor, a terminal and a browser without a script."""
    lines = []
    for state in sorted(ordered(edges), key=lambda state: state != start):
        leaving = [(trigger, target) for source, trigger, target in edges if source == state]
        lines.append(f"{'●' if state == start else '○'} {state}" if leaving else f"◎ {state}")
        width = max((len(trigger) for trigger, _ in leaving), default=0)
        for number, (trigger, target) in enumerate(leaving):
            corner = "└" if number == len(leaving) - 1 else "├"
            arrow = f"{corner}── {trigger} {'─' * (width - len(trigger))}─▶ {target}"
            lines.append(f"{arrow} ↺" if target == state else arrow)
        lines.append("")
    return lines[:-1]


def section(title: str, text: str, edges: list[Edge], start: str) -> str:
    return "\n".join([f"## {title}", "", text, "", "```text", *diagram(edges, start), "```", ""])


def page() -> str:
    """The whole page, as it should be."""
    legend = "● is where it starts, ◎ where it ends, ↺ stays where it is.\n"
    return "\n".join(
        [
            _HEAD,
            legend,
            section(
                "The session",
                "`session.status`; every change is a `status` event. From `kernl_rt/_core/lifecycle.py`.",
                table_edges({key: str(value) for key, value in STATUS.items()}),
                "idle",
            ),
            section(
                "A tool call",
                "`settled` is its one outcome. From `kernl_rt/_core/toolcalls.py`.",
                table_edges({key: str(value) for key, value in CALL.items()}),
                "held",
            ),
            section(
                "A request for a reply",
                "The one owner of `response.create`, `kernl_rt/_core/arbiter.py`, driven through each operation in each"
                " state.\nAn operation that is not drawn in a state changes nothing there; *waits* means that the wish"
                " is kept for later.",
                arbiter_edges(),
                "idle",
            ),
            section(
                "A reply, as listeners see it",
                "*partial* is sound and deltas, *rest* is items, parts, finals and tool calls."
                " `kernl_rt.testing.TraceGrammar` checks it.",
                table_edges({key: str(value) for key, value in REPLY.items()}),
                "unknown",
            ),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
