"""Which event loop is running. anyio does not say, and one transport depends on it."""

from __future__ import annotations

import asyncio
import sys

__all__ = ["running_backend"]


def running_backend() -> str:
    """``"trio"`` or ``"asyncio"``. To be called from a task."""
    trio = sys.modules.get("trio")
    # trio first: in guest mode it runs inside of an asyncio loop.
    if trio is not None and trio.lowlevel.in_trio_run():
        return "trio"
    asyncio.get_running_loop()
    return "asyncio"
