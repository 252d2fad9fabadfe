"""Where a session lives: one process, one thread, one event loop. Verbs are for there only."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from anyio import NoEventLoopError
from anyio.lowlevel import EventLoopToken, current_token
from attrs import frozen

from kernl_rt.exceptions import SessionStateError

__all__ = ["Home"]


@frozen
class Home:
    pid: int
    thread: int
    loop: EventLoopToken

    @classmethod
    def here(cls) -> Home:
        return cls(os.getpid(), threading.get_ident(), current_token())

    @property
    def clock(self) -> Callable[[], float]:
        """``anyio.current_time`` of this loop, which need not look each time for the loop that runs."""
        # An event loop of asyncio has it; trio's token has not. Looking for the class would import asyncio under trio,
        # which costs a fifth of what importing this package does.
        clock: Callable[[], float] | None = getattr(self.loop.native_token, "time", None)
        return clock or self.loop.backend_class.current_time

    def check(self, verb: str) -> None:
        """
        Raises:
            SessionStateError: the caller is somewhere else.
        """
        if os.getpid() != self.pid:
            raise SessionStateError(
                f"{verb}() in a forked process: the session was forked with it and belongs to the parent; "
                "start a session of its own in the child"
            )
        if threading.get_ident() != self.thread:
            raise SessionStateError(
                f"{verb}() was called from another thread; use anyio.from_thread.run_sync(session.{verb}, ...)"
            )
        try:
            token = current_token()
        except NoEventLoopError:
            raise SessionStateError(f"{verb}() outside of the session's event loop: call it while that runs") from None
        if token != self.loop:
            raise SessionStateError(f"{verb}() in another event loop than the session's: a session lives in one")
