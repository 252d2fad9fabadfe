"""The simulator as a program sees it: a server on loopback, a transport in memory, a model to hand to a session."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import anyio
from attrs import frozen

from kernl_rt._transport._scope import bare_task_group
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt._transport.serve import Reply, Request, serve_websocket
from kernl_rt.abc import MessageStream, RealtimeModel, RealtimeTransport
from kernl_rt.config import Secret
from kernl_rt.simulator._admission import Admission
from kernl_rt.simulator._brain import Brain, RuleBrain
from kernl_rt.simulator._ears import DeafEars, Ears, best_ears
from kernl_rt.simulator._engine import Engine
from kernl_rt.simulator._faults import Faults
from kernl_rt.simulator._grammar import BANNER
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._protocols import protocol_named
from kernl_rt.simulator._reply import Pace
from kernl_rt.simulator._serving import ServedSession
from kernl_rt.simulator._voice import ToneVoice, Voice, best_voice

__all__ = ["Simulator", "SimulatorInfo"]

#: 15 MiB of sound in base64, and the JSON around it.
_MAX_MESSAGE_SIZE = 24 * 2**20


@frozen
class SimulatorInfo:
    """What a simulator is made of, for whoever starts one: say it, so that nobody takes it for a model."""

    voice: str
    ears: str
    notices: Sequence[str] = ()
    description: str = BANNER


class Simulator:
    """A server of the OpenAI Realtime GA protocol, for programs and tests without a key or a network; or, with
    ``protocol``, of another provider's.

    ``brain``, ``voice`` and ``ears`` decide what it says, how that sounds and what it hears; the defaults need no
    dependency: rules for a few sentences, a humming voice, and ears that only notice speech. :meth:`demo` takes the
    best that is installed. ``duration`` is the session limit in seconds; ``speed`` is how much faster than real time
    audio is sent (``pace`` says more). ``api_key`` must then be sent as a bearer token; ``None`` lets everybody in.
    ``seed`` makes the ids. ``rate_limits`` sends ``rate_limits.updated`` after each reply.

    A simulator holds nothing open itself; sessions end with whoever serves them. One may serve on several event loops,
    one after the other.
    """

    def __init__(
        self,
        brain: Brain | None = None,
        voice: Voice | None = None,
        ears: Ears | None = None,
        *,
        duration: float = 3600.0,
        speed: float | None = None,
        pace: Pace | None = None,
        api_key: str | None = None,
        seed: int = 0,
        max_sessions: int = 100,
        faults: Faults | None = None,
        rate_limits: bool = False,
        notices: Sequence[str] = (),
        protocol: str = "openai",
    ) -> None:
        self.brain: Brain = brain or RuleBrain()
        self.voice: Voice = voice or ToneVoice()
        self.ears: Ears = ears or DeafEars()
        self.faults: Faults = faults or Faults()
        #: Sessions being served now.
        self.sessions: int = 0
        self.duration = duration
        self.api_key: Secret | None = None if api_key is None else Secret(api_key)
        self._pace = pace or (Pace() if speed is None else Pace(speed=speed))
        self._ids = Ids(seed)
        self._seed = seed
        self._served = 0
        self._max_sessions = max_sessions
        self._rate_limits = rate_limits
        self._notices = tuple(notices)
        self._protocol = protocol_named(protocol)
        self._admission = Admission(api_key, self._ids, self._protocol)

    @classmethod
    def demo(cls, brain: Brain | None = None, *, api_key: str | None = None, max_sessions: int = 100) -> Simulator:
        """With the best voice and ears that are installed; ``info.notices`` says what is missing."""
        voice, no_voice = best_voice()
        ears, no_ears = best_ears()
        notices = [notice for notice in (no_voice, no_ears) if notice is not None]
        return cls(brain, voice, ears, api_key=api_key, max_sessions=max_sessions, notices=notices)

    @property
    def info(self) -> SimulatorInfo:
        return SimulatorInfo(type(self.voice).__name__, type(self.ears).__name__, self._notices)

    # -- serving

    def admit(self, request: Request) -> Reply | None:
        """The HTTP answer to a request, ``None`` to let a WebSocket pass: ``process_request`` of a server."""
        return self._admission.answer(request, full=self.sessions >= self._max_sessions)

    async def handle(self, stream: MessageStream, request: Request) -> None:
        """Serve one client until it leaves or its session ends: the handler of a server.

        Cancelling ends the session; nothing of it is left.
        """
        engine = self._engine(request)
        translation = self._protocol.translation(request, duration=self.duration, now=anyio.current_time())
        self.sessions += 1
        try:
            served = ServedSession(
                stream, engine, translation, brain=self.brain, voice=self.voice, ears=self.ears, faults=self.faults
            )
            await served.run()
        finally:
            self.sessions -= 1

    def _engine(self, request: Request) -> Engine:
        grant = self._admission.grant_of(request)
        granted: Mapping[str, object] = {} if grant is None else grant.session
        asked = request.query.get("intent") == "transcription" or granted.get("type") == "transcription"
        kind: Literal["realtime", "transcription"] = "transcription" if asked else "realtime"
        self._served += 1
        return Engine(
            now=anyio.current_time(),
            # Each session has ids of its own, which do not depend on what other sessions do meanwhile.
            ids=Ids(self._seed * 1_000_003 + self._served),
            model=self._protocol.model_of(request) or str(granted.get("model") or "simulator"),
            kind=kind,
            expires_at=int(time.time() + self.duration),
            duration=self.duration,
            pace=self._pace,
            faults=self.faults,
            rate_limits=self._rate_limits,
            session=None if grant is None else grant.session,
        )

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listen on a real socket: ``async with simulator.serve() as url``. Leaving ends every session.

        ``url`` is the base, ``ws://127.0.0.1:<port>/v1``: sessions are at ``{url}/realtime?model=…``, and
        ``POST /v1/realtime/client_secrets`` on the same port mints credentials.

        Raises:
            OSError: the port is taken or the host is not ours.
        """
        async with bare_task_group() as task_group:
            listening = partial(
                serve_websocket,
                self.handle,
                host,
                port,
                process_request=self.admit,
                subprotocols=self._protocol.subprotocols,
                max_message_size=_MAX_MESSAGE_SIZE,
                max_connections=2 * self._max_sessions,
            )
            bound: int = await task_group.start(listening)
            try:
                yield f"ws://{host}:{bound}{self._protocol.base}"
            finally:
                task_group.cancel_scope.cancel()

    def transport(self) -> RealtimeTransport:
        """A transport to this simulator in memory: no socket, and it runs in virtual time too."""
        return MemoryTransport(self.handle, process_request=self.admit, subprotocols=self._protocol.subprotocols)

    def realtime(self, model: str = "simulator") -> RealtimeModel:
        """A model to hand to a session: the real OpenAI adapter, connected to this simulator in memory."""
        from kernl_rt.simulator._model import SimulatedModel

        return SimulatedModel(self, model)
