"""How large everything is that a session holds, by the path to it.

``sizes_of`` walks the objects of kernl_rt and the containers in them. A container counts under the path that leads to
it, all that stand under the same path together: ``_driver.machine.state.tools._calls`` is the number of its entries,
``_driver.machine.state.tools._calls[].group.calls`` how many there are in all the groups.
"""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Collection, Iterator
from typing import Any

__all__ = ["census", "sizes_of"]

_SIZED = (list, tuple, dict, set, frozenset, deque, bytes, bytearray, str)
_ITERATED = (list, tuple, set, frozenset, deque)


def _attributes(thing: object) -> Iterator[tuple[str, Any]]:
    names = set(vars(thing)) if hasattr(thing, "__dict__") else set()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names.update((slots,) if isinstance(slots, str) else slots)
    for name in sorted(names - {"__weakref__", "__dict__"}):
        try:
            yield name, getattr(thing, name)
        except AttributeError:
            continue


def _is_ours(kind: type) -> bool:
    """Some classes of other libraries have no text for a module."""
    return str(kind.__module__).startswith("kernl_rt")


def _parts(thing: object) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, dict):
        for key, value in list(thing.items()):
            yield "{}", key
            yield "[]", value
    elif isinstance(thing, _ITERATED):
        for value in list(thing):
            yield "[]", value
    elif _is_ours(type(thing)) and not isinstance(thing, type):
        for name, value in _attributes(thing):
            yield f".{name}", value


def sizes_of(root: object, skip: Collection[str] = ()) -> Counter[str]:
    """The size of every container below ``root``, by path, but for the attributes in ``skip``. Each object once."""
    sizes: Counter[str] = Counter()
    seen: dict[int, object] = {}  # by id, and kept alive, so that an id means one object
    queue: deque[tuple[str, object]] = deque([("", root)])
    while queue:
        path, thing = queue.popleft()
        if id(thing) in seen or isinstance(thing, (int, float, type(None))):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, _SIZED):
            sizes[path] += len(thing)
        for step, part in _parts(thing):
            if step.removeprefix(".") not in skip:
                queue.append((path + step, part))
    return sizes


def census() -> Counter[str]:
    """How many objects of each of kernl_rt's types are alive, wherever they are held: in a task's variables, too."""
    for _ in range(3):
        gc.collect()
    kinds = (type(thing) for thing in gc.get_objects())
    return Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if _is_ours(kind))
