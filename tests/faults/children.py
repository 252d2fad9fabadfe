"""A program in an interpreter of its own. POSIX only: whoever imports this is skipped elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

if os.name != "posix":
    pytest.skip("signals, forks and limits are POSIX", allow_module_level=True)

#: Real seconds in which a process must end; a busy machine is slow.
SOON = 5.0

PRELUDE = """
import os, signal, sys, warnings
from functools import partial
from typing import Any
import anyio
from kernl_rt import Drain, RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt.events import *
from kernl_rt.exceptions import *
from kernl_rt.providers import openai
from kernl_rt.testing import ScriptedModel

backend, arguments = sys.argv[1], sys.argv[2:]
say = partial(print, flush=True)

def session_of(model, *tools):
    agent = RealtimeAgent(id="a", name="A", instructions="-", model=model, toolkits=[Toolkit(id="t", tools=tools)])
    session = RealtimeSession(agent)
    session.on("status", lambda event: say(event.status))
    session.on("tool.finished", lambda event: say(event.outcome))
    return session
"""


class Child:
    """A program in an interpreter of its own, which says on its output how far it is."""

    def __init__(self, code: str, backend: str, *arguments: str) -> None:
        command = [sys.executable, "-W", "error", "-W", "always::ResourceWarning", "-c", PRELUDE + code, backend]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a line that was read ahead would be missed by whoever reads the rest
            cwd=ROOT,
            env=environment,
        )
        self.lines: list[str] = []

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def until(self, line: str) -> None:
        assert self._process.stdout is not None
        for each in self._process.stdout:
            self.lines.append(each.decode().rstrip("\n"))
            if self.lines[-1] == line:
                return
        _, errors = self._process.communicate(timeout=20)
        raise AssertionError(f"it never said {line!r}, but {self.lines} and {errors.decode()}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str], str, float]:
        """Exit code, what it said since, its errors, and how many seconds it took."""
        start = time.monotonic()
        out, errors = self._process.communicate(timeout=40)
        return self._process.returncode, out.decode().splitlines(), errors.decode(), time.monotonic() - start
