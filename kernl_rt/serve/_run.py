"""Running the application under anycorn, on trio and on asyncio."""

from __future__ import annotations

import gc
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import ASGIApp

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["listening_socket", "local_origins", "run"]

#: A message of a page or a phone carrier is at most 64 KiB; the channel itself says which was too large.
_MAX_MESSAGE = 128 * 1024
#: When to collect: after so many new objects, and an older generation after so many times of the younger.
_COLLECTIONS = (20_000, 50, 100)
#: What requests get that still run when the calls are over, in seconds.
_GRACE = 2.0


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket on that address, not yet listening; port 0 lets the system choose.

    Raises:
        MisconfiguredError: no such address here.
        OSError: it is taken, or not allowed.
    """
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise MisconfiguredError(f"there is no address {host!r} to listen on: {error.strerror}") from error
    own = socket.socket(family, socket.SOCK_STREAM)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own.bind(address)
    except BaseException:  # Ctrl-C, too: nobody gets the socket, to close it
        own.close()
        raise
    return own


def local_origins(host: str, port: int) -> list[str]:
    """What a browser on this machine may call the server, the best first."""
    names = ["127.0.0.1", "localhost"]
    if host not in (*names, "0.0.0.0", "::", "::1"):
        names.insert(0, f"[{host}]" if ":" in host else host.lower())
    if host in ("::", "::1"):
        names.insert(0, "[::1]")
    suffix = "" if port == 80 else f":{port}"
    return [f"http://{name}{suffix}" for name in names]


async def run(
    application: ASGIApp,
    own: socket.socket,
    shutdown: Callable[[], Awaitable[None]],
    *,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve on ``own``, which is closed afterwards, until ``shutdown`` returns. Cancelling it stops at once.

    Raises:
        MisconfiguredError: anycorn is not installed.
    """
    try:
        import anycorn
    except ImportError as error:
        own.close()
        raise MisconfiguredError("serving needs anycorn: pip install 'kernl_rt[serve]'") from error
    config = anycorn.Config()
    config.loglevel = "WARNING"
    config.websocket_permessage_deflate = False  # a small frame could become a large one
    config.websocket_max_message_size = _MAX_MESSAGE
    config.graceful_timeout = _GRACE
    config.include_server_header = False
    config.bind = [f"fd://{own.detach()}"]
    framework: Any = application  # anycorn has types of its own for the messages
    with _rare_collections():
        await anycorn.serve(framework, config, shutdown_trigger=shutdown, task_status=_Started(started), mode="asgi")


@contextmanager
def _rare_collections() -> Iterator[None]:
    """The garbage collector leaves alone what was imported, and comes seldom.

    A full collection stops everybody's sound: for 60 ms with fifty calls and all modules, for 30 without the modules. A
    call leaves hardly any cycles behind, so there is little to find.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class _Started:
    """Tells once that connections are taken; shaped as anyio's ``TaskStatus``."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def started(self, value: Any = None) -> None:
        self._tell()
