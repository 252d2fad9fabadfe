"""Running a command: which event loop, Ctrl-C, and how an error is told."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import io
import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
from anyio.abc import TaskStatus

from kernl_rt.exceptions import MisconfiguredError, RealtimeError

__all__ = ["backends", "choose_backend", "perform"]

Command = Callable[[Namespace], Awaitable[int]]


def backends() -> list[str]:
    """The backends that can run here, the preferred one first."""
    return [*(["trio"] if importlib.util.find_spec("trio") is not None else []), "asyncio"]


def choose_backend(asked: str | None) -> str:
    """
    Raises:
        MisconfiguredError: the one asked for is not installed.
    """
    there = backends()
    if asked is not None and asked not in there:
        raise MisconfiguredError(f"{asked} is not installed: pip install 'kernl_rt[trio]', or use --backend asyncio")
    return asked or there[0]


def perform(arguments: Namespace) -> int:
    """Run ``command`` of the module that the arguments name, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show "→" must not end the program.
            stream.reconfigure(errors="replace")
    try:
        arguments.backend = choose_backend(arguments.backend)
        return _run(arguments)
    except KeyboardInterrupt:
        return _interrupted(signal.SIGINT)
    except BaseExceptionGroup as group:
        # A second Ctrl-C reaches the task that happens to run.
        if group.subgroup(KeyboardInterrupt) is None:
            return _failed(group, debug=arguments.debug)
        return _interrupted(signal.SIGINT)
    except BrokenPipeError:
        # The reader (``| head``) has left: nothing more to say, also not while the interpreter shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _failed(error, debug=arguments.debug)


def _failed(error: BaseException, *, debug: bool) -> int:
    known = list(_leaves(error))
    if debug or not all(isinstance(leaf, (RealtimeError, OSError)) for leaf in known):
        traceback.print_exception(error)
    else:
        for leaf in known:
            print(f"kernl-rt: {_told(leaf)}", file=sys.stderr)
    return 1


def _run(arguments: Namespace) -> int:
    module: Any = importlib.import_module(arguments.module)
    options: dict[str, Any] = {}
    backend = arguments.backend
    if getattr(arguments, "fast", False):
        from kernl_rt.testing import virtual_backend

        backend, options = virtual_backend(arguments.backend)
    return anyio.run(_watched, module.command, arguments, backend=backend, backend_options=options)


async def _watched(command: Command, arguments: Namespace) -> int:
    """Run the command until it ends or a signal asks it to. A second signal ends the program the hard way.

    A command whose module says ``own_signals`` sees to them itself.
    """
    if sys.platform == "win32" or getattr(sys.modules[command.__module__], "own_signals", False):
        return await command(arguments)
    caught: list[signal.Signals] = []
    failure: Exception | None = None
    code = 1

    async def watch(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                caught.append(number)
                task_group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as task_group:
        await task_group.start(watch)
        try:
            code = await command(arguments)
        except Exception as error:
            failure = error
        task_group.cancel_scope.cancel()
    if caught:
        return _interrupted(caught[0])
    if failure is not None:
        raise failure
    return code


def _interrupted(number: signal.Signals) -> int:
    print("\nkernl-rt: stopped; everything is closed", file=sys.stderr)
    return 128 + number


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _told(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "that port is taken: choose another with --port, or --port 0"
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    return f"{error}{notes}"
