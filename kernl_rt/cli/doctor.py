"""``kernl-rt doctor``: what is installed, what is missing, and whether it works."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import time
from argparse import Namespace
from urllib.parse import urlsplit

import anyio

from kernl_rt import RealtimeAgent, RealtimeSession, __version__
from kernl_rt.cli._extras import extras
from kernl_rt.cli._models import remote
from kernl_rt.cli._run import backends
from kernl_rt.config import SessionConfig
from kernl_rt.exceptions import RealtimeError

__all__ = ["command"]

#: Seconds that a self-test may take.
_LIMIT = 20.0


async def command(arguments: Namespace) -> int:
    """Print the findings; 0 when the core works."""
    print(f"kernl_rt {__version__} on Python {platform.python_version()}, {platform.platform()}\n")
    complete = _packages()
    print()
    _choices()
    print()
    for line in await anyio.to_thread.run_sync(extras):
        print(line)
    print()
    _environment()
    print("\nself-test: one turn in writing with the simulator, in memory")
    # Each backend needs an event loop of its own, so it runs in a thread of its own, too.
    results = [await anyio.to_thread.run_sync(_try_backend, backend) for backend in backends()]
    connected = await _connect(arguments.connect) if arguments.connect else True
    return 0 if complete and all(results) and connected else 1


# -- what is installed ------------------------------------------------------------------------------------------------


def _packages() -> bool:
    """The dependencies by extra, as the package itself declares them. Whether all of the core is there."""
    wanted: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("kernl_rt") or ():
        found = re.match(r"[\w.-]+", line)
        if found is None or found[0].replace("-", "_") == "kernl_rt" or not _applies(line):
            continue
        marker = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        wanted.setdefault(marker[1] if marker else "", []).append(found[0])
    core = _group("core", wanted.pop("", []), "pip install --force-reinstall kernl_rt")
    for extra in sorted(wanted.keys() - {"dev"}):
        _group(f"[{extra}]", wanted[extra], f"pip install 'kernl_rt[{extra}]'")
    return core


def _applies(requirement: str) -> bool:
    """Whether this Python is meant, by the one marker that the package uses besides ``extra``."""
    limit = re.search(r"python_version\s*<\s*['\"]3\.(\d+)['\"]", requirement)
    return limit is None or sys.version_info < (3, int(limit[1]))


def _group(title: str, names: list[str], fix: str) -> bool:
    versions = {name: _version(name) for name in names}
    shown = [f"{name} {version}" for name, version in versions.items() if version is not None]
    missing = [name for name, version in versions.items() if version is None]
    print(f"{title:<10} {', '.join(shown) or '–'}")
    if missing:
        print(f"{'':<10} missing: {', '.join(missing)}  →  {fix}")
    return not missing


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _choices() -> None:
    from kernl_rt.simulator import Simulator

    info = Simulator.demo().info
    fast = "picows" if importlib.util.find_spec("picows") is not None else "websockets (sans-I/O)"
    sockets = {"trio": "websockets (sans-I/O)", "asyncio": fast}
    print(f"backends   {', '.join(backends())}")
    print(f"WebSocket  {', '.join(f'{sockets[backend]} under {backend}' for backend in backends())}")
    print(f"simulator  voice {info.voice}, ears {info.ears}")
    for notice in info.notices:
        print(f"{'':<10} {notice}")


def _environment() -> None:
    key = (os.environ.get("OPENAI_API_KEY") or "").strip()
    print(f"OPENAI_API_KEY   {'set' if key else 'not set: only the simulator can be used'}")
    base = (os.environ.get("OPENAI_BASE_URL") or "").strip()
    if base:
        # The host only: a URL may hold a password.
        print(f"OPENAI_BASE_URL  set, host {urlsplit(base).hostname or '?'}")
    else:
        print("OPENAI_BASE_URL  not set: api.openai.com")


# -- what works -------------------------------------------------------------------------------------------------------


def _try_backend(backend: str) -> bool:
    start = time.perf_counter()
    try:
        said = anyio.run(_one_turn, backend=backend)
    except Exception as error:
        print(f"  {backend:<8} FAILED: {type(error).__name__}: {error}")
        return False
    print(f"  {backend:<8} works, {1000 * (time.perf_counter() - start):.0f} ms: {said!r}")
    return True


async def _one_turn() -> str:
    from kernl_rt.simulator import realtime

    text = SessionConfig(output_modality="text")
    agent = RealtimeAgent(id="doctor", name="Doctor", instructions="Answer.", model=realtime(), config=text)
    with anyio.fail_after(_LIMIT):
        async with RealtimeSession(agent) as session:
            reply = await session.ask("what are you")
    if not reply.text:
        raise RealtimeError("the reply was empty")
    return reply.text


async def _connect(model: str) -> bool:
    print(f"\nopening a session with {model}")
    agent = RealtimeAgent(id="doctor", name="Doctor", instructions="Answer.", model=remote(model, None))
    start = time.perf_counter()
    try:
        async with RealtimeSession(agent) as session:
            took = 1000 * (time.perf_counter() - start)
            print(f"  works: {session.id} after {took:.0f} ms")
    except RealtimeError as error:
        print(f"  FAILED: {type(error).__name__}: {error}")
        return False
    return True
