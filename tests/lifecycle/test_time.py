"""P29: time is monotonic. Only listed places look at the wall clock or draw a random number."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.events import HistoryChanged
from tests.scenarios.calls import audio, calling, created, done, quiet, tool_call, transcript

PACKAGE = Path(__file__).resolve().parents[2] / "kernl_rt"

#: Names that read the wall clock or draw lots, by module.
WALL = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "asctime"},
    "datetime": {"now", "utcnow", "today"},
    "uuid": {"uuid1", "uuid4", "uuid6", "uuid7"},
}
#: Modules that are chance itself.
CHANCE = {"random", "secrets"}

#: Where it is right, and why. A line that is not needed any more is refused, too.
ALLOWED = {
    "_transport/_errors.py": "a Retry-After header may hold a date",
    "_session/link.py": "jitter of redialling comes from the edge",
    "_session/pumps.py": "jitter of redialling comes from the edge",
    "providers/elevenlabs/_model.py": "a minted credential's expiry is said as a date",
    "providers/gemini/_model.py": "a minted credential's expiry is said as a date",
    "_session/recording.py": "a recording says when it was made",
    "channels/browser/_access.py": "tokens are drawn by lot, and expire in every process that shares the secret",
    "serve/_carriers.py": "a carrier's signature holds a date",
    "serve/_recordings.py": "a call's folder is named by its date",
    "serve/_stream_tokens.py": "tokens are drawn by lot",
}
#: Programs and tools for tests, not the library: the simulator's records and ids, seeded chaos.
NOT_THE_LIBRARY = ("simulator/", "cli/", "testing/")


def findings(source: str) -> list[str]:
    """What in ``source`` reads the wall clock or draws lots, as text."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name] = alias.name
                found += [alias.name] if alias.name.partition(".")[0] in CHANCE else []
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                found += [node.module] if node.module in CHANCE else []
                found += [alias.name] if alias.name in WALL.get(node.module, ()) else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            first, *rest = ast.unparse(node).split(".")
            path = [*names.get(first, first).split("."), *rest]
            if path[0] in WALL and path[-1] in WALL[path[0]] and len(path) > 1:
                found.append(".".join(path))
    return found


def library() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(NOT_THE_LIBRARY):
            yield name, path


def test_promise_29_no_wall_clock_and_no_chance_but_where_it_is_right() -> None:
    found = {name: findings(path.read_text("utf-8")) for name, path in library()}
    assert {name for name, what in found.items() if what} == ALLOWED.keys()


@pytest.mark.parametrize(
    "planted",
    [
        "import time\ntime.time()",
        "import time as t\nx = t.time",
        "from time import time as now\nnow()",
        "def late():\n    from time import time_ns\n    return time_ns()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now(tz=None)",
        "import datetime\ndatetime.date.today()",
        "import random",
        "from random import Random",
        "import uuid as u\nu.uuid4()",
        "from uuid import uuid4\nuuid4()",
        "from secrets import token_hex",
    ],
)
def test_a_planted_clock_is_found(planted: str) -> None:
    assert findings(planted) != []


@pytest.mark.parametrize(
    "right",
    [
        "from time import perf_counter\nperf_counter()",
        "import time\ntime.monotonic()",
        "from datetime import time, datetime\ntime(5)\ndatetime.fromtimestamp(5)",
        "import anyio\nanyio.current_time()",
        "from uuid import UUID\nUUID('5')",
        "def time() -> None: ...\ntime()",
    ],
)
def test_what_is_no_wall_clock_is_not_found(right: str) -> None:
    assert findings(right) == []


async def trace() -> list[Any]:
    """A call with sound, an interruption, a tool and pauses: everything that happened, with its time."""

    @tool
    async def work() -> str:
        await anyio.sleep(1.5)
        return "done"

    seen: list[Any] = []
    async with calling(work) as call:
        start = anyio.current_time()

        def note(event: Any) -> None:
            seen.append((round(anyio.current_time() - start, 6), event if type(event) is not HistoryChanged else None))

        call.session.on("event", note)
        await call.says(created(), audio(ms=1_000), transcript("One two three."))
        await anyio.sleep(0.4)
        call.session.interrupt()
        await quiet()
        await call.says(done(status="cancelled"), created("r2"), tool_call("work", response_id="r2"), done("r2"))
        await anyio.sleep(3)
    return seen


@pytest.mark.anyio
@pytest.mark.parametrize("jump", [-3_600.0, 3_600.0])
async def test_promise_29_a_jump_of_the_wall_clock_changes_nothing(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = await trace()
    assert len(still) > 8
    true, true_ns, calls = time.time, time.time_ns, 0

    def jumping() -> float:
        nonlocal calls
        calls += 1
        return true() + jump * (calls % 2)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: true_ns() + int(jump * 1e9))
    assert await trace() == still
