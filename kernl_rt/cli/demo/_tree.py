"""The tasks of a session as a tree, read from the running event loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import anyio
from attrs import frozen

__all__ = ["Branch", "session_tree", "task_ids"]

_SESSION = "RealtimeSession._run"


@frozen
class Branch:
    name: str
    children: tuple[Branch, ...] = ()

    def lines(self, before: str = "") -> Iterator[str]:
        """The names, one a line, with the lines of a tree."""
        for index, child in enumerate(self.children):
            last = index == len(self.children) - 1
            yield f"{before}{'└─ ' if last else '├─ '}{child.name}"
            yield from child.lines(before + ("   " if last else "│  "))


def task_ids() -> set[int]:
    """Every task of this event loop."""
    return {task.id for task in anyio.get_running_tasks()}


def session_tree() -> Branch | None:
    """The session's task with everything below it; ``None`` while no session runs."""
    tasks = anyio.get_running_tasks()
    children: dict[int | None, list[anyio.TaskInfo]] = defaultdict(list)
    for task in tasks:
        children[task.parent_id].append(task)
    root = next((task for task in tasks if (task.name or "").endswith(_SESSION)), None)
    return None if root is None else Branch("session", _below(root.id, children))


def _below(parent: int, children: dict[int | None, list[anyio.TaskInfo]]) -> tuple[Branch, ...]:
    branches = [Branch(_short(task.name), _below(task.id, children)) for task in children[parent]]
    return tuple(sorted(branches, key=lambda branch: branch.name))


def _short(name: str | None) -> str:
    """``kernl_rt model in`` → ``model in``; a task of the link → ``link``; any other → its function and its class."""
    text = (name or "?").removeprefix("kernl_rt ")
    if " " in text:
        return text
    if text.startswith("kernl_rt._transport."):
        return "link"
    parts = [part for part in text.split(".") if not part.startswith("<")]
    return ".".join(parts[-2:])
