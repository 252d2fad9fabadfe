"""One whole call, as a seed has drawn it: it happens, the faults stop, a question is answered, it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
from attrs import define, field

from kernl_rt._session.session import RealtimeSession
from kernl_rt.agent import RealtimeAgent
from kernl_rt.channels.memory import MemoryChannel, memory_channel_pair
from kernl_rt.config import ConnectOptions, InputTranscription, SessionConfig
from kernl_rt.events import ResponseDone
from kernl_rt.exceptions import CommandError, RealtimeError
from kernl_rt.guardrail import Guardrail
from kernl_rt.items import Message
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.providers import openai
from kernl_rt.simulator import Pace, Simulator
from kernl_rt.testing._campaign_plan import Plan
from kernl_rt.testing._campaign_strokes import NAME, Players
from kernl_rt.testing._campaign_witness import Witness
from kernl_rt.testing._campaign_world import Brain, Ears, Provider, Tools, Voice
from kernl_rt.testing._faulty_transport import FaultyTransport
from kernl_rt.transports import MemoryTransport

__all__ = ["Call", "MakeAgent"]

#: Makes the agent of a call; its model is replaced.
MakeAgent = Callable[[], RealtimeAgent[Any]]

#: Seconds. An answer, once the effects of the faults are over; then how long that takes; and an answer before.
ANSWER = 10.0
HEALING = 40.0
ANSWER_AT_ONCE = 60.0
#: How long whatever still waits after the answer may take.
SETTLING = 20.0
CLOSING = 5.0
#: Until the server, and the network, have noticed.
PARTING = 6.0
_HANG_UP = 3.0


@define(eq=False)
class Call:
    """``log`` is what happened so far, also where :meth:`run` never returns."""

    plan: Plan
    make_agent: MakeAgent | None = None
    log: list[str] = field(factory=list)
    broken: list[str] = field(factory=list)
    #: The closing question was asked, and answered so many seconds later.
    answered: float | None = None

    async def run(self) -> None:
        plan = self.plan
        brain = Brain(plan)
        simulator = Simulator(
            brain, Voice(plan), Ears(), duration=plan.duration, pace=_pace(plan), seed=plan.seed, rate_limits=True
        )
        witness = Witness(plan.format, brain.said, self.log, self.broken)
        provider = Provider(simulator, witness.note)
        async with anyio.create_task_group() as group:
            async with AsyncExitStack() as stack:
                transport = await self._network(stack, provider)
                await self._converse(witness, brain, provider, transport, group)
                await anyio.sleep(PARTING)
                self._check_released(witness, provider, transport)
            group.cancel_scope.cancel()
        self._check_all(witness)

    async def _network(self, stack: AsyncExitStack, provider: Provider) -> FaultyTransport | MemoryTransport:
        if not self.plan.wired:
            return MemoryTransport(provider.handle, process_request=provider.admit, subprotocols=("realtime",))
        return await stack.enter_async_context(FaultyTransport(provider, seed=self.plan.seed))

    async def _converse(
        self, witness: Witness, brain: Brain, provider: Provider, transport: Any, group: anyio.abc.TaskGroup
    ) -> None:
        plan = self.plan
        channel, _ = memory_channel_pair(playback=plan.playback, input_formats=[plan.format])
        session, other = self._session(witness, channel, transport)
        faulty = transport if isinstance(transport, FaultyTransport) else None
        players = Players(plan, session, channel, provider, faulty, witness, other, group)
        scope = anyio.CancelScope()
        failure: BaseException | None = None
        began: float | None = None
        try:
            with scope:
                async with session:
                    witness.note("connected")
                    players.start()
                    group.start_soon(players.watch_answers, name=f"{NAME} consent")
                    group.start_soon(self._until_closed, session, players, name=f"{NAME} watch")
                    await players.direct()
                    if not players.ending.is_set():
                        await self._calm(players, brain)
                    began = anyio.current_time()
                    await self._finish(players, scope)
        except (RealtimeError, ExceptionGroup) as exc:
            failure = exc
        witness.note(f"left: {failure!r}")
        self._check_left(witness, began, failure if not players.may_end else None)

    def _check_left(self, witness: Witness, began: float | None, failure: BaseException | None) -> None:
        """The session has just been left; it ``began`` to end then. ``failure``: nobody can explain it."""
        for task in anyio.get_running_tasks():
            if task.name is not None and task.name.startswith("kernl_rt "):
                witness.violation("no task outlives", f"{task.name!r} still runs")
        allowed = CLOSING + (_HANG_UP if self.plan.end == "hang_up" else 0.0)
        if began is not None and anyio.current_time() - began > allowed:
            witness.violation("closed in time", f"it took {anyio.current_time() - began:g} s to close")
        if failure is not None:
            witness.violation("the session lives", f"it ended with {failure!r}")

    def _session(self, witness: Witness, channel: MemoryChannel, transport: Any) -> tuple[Any, MakeAgent]:
        plan = self.plan
        tools = Tools(plan, witness.checker.ran)

        def other() -> RealtimeAgent[Any]:
            return _agent("second", tools.toolkits(other))

        made = self.make_agent() if self.make_agent is not None else _agent("first", tools.toolkits(other))
        model = witness.model(openai.realtime("simulator", api_key="campaign", base_url="ws://simulator/v1"))
        config = SessionConfig(
            input_format=plan.format,
            output_format=plan.format,
            turn_detection=plan.turn_detection,
            transcription=InputTranscription("whisper-1") if plan.transcription else None,
        )
        guard: Guardrail[Any] = Guardrail("no sevens", lambda text, context: "x7" in text, threshold=5)
        session: RealtimeSession[Any] = RealtimeSession(
            made,
            model=model,
            channel=witness.checker.channel(channel),
            transport=transport,
            connect_options=ConnectOptions(timeout=5.0, session_config=config),
            recover_after=plan.recover_after,
            guardrails=[guard] if plan.guarded else (),
            reconnect=ReconnectPolicy(attempts=1_000, longest=2.0),
            dead_air=plan.dead_air,
        )
        witness.watch(session, channel)
        return session, other

    async def _until_closed(self, session: RealtimeSession[Any], players: Players) -> None:
        """A session that ends by itself ends the timeline."""
        await session.wait_closed()
        if not players.ending.is_set():
            tools = ("closing", "goodbye")
            asked = any(f"name={tool}" in line for tool in tools for line in self.log)
            players.may_end = players.may_end or asked
            if not players.may_end:
                players.witness.violation("the session lives", "it has closed, and nobody asked for that")
            players.ending.set()

    # -- liveness -----------------------------------------------------------------------------------------------------

    async def _calm(self, players: Players, brain: Brain) -> None:
        """The faults stop: from now on everything must come right."""
        witness = players.witness
        players.pacify()
        brain.calm = True
        witness.note("calm")
        lenient = self.plan.at_once or players.stalled
        if not self.plan.at_once:
            await self._pause(players, HEALING)
            witness.check_answered()
            if players.session.status == "connected" and not players.provider.links:
                witness.violation("a lost link is noticed", f"it was not within {HEALING:g} s")
        if players.ending.is_set():
            return
        start = anyio.current_time()
        try:
            with anyio.fail_after(ANSWER_AT_ONCE if lenient else ANSWER):
                await (self._speak(players) if self.plan.spoken_question else self._write(players, lenient=lenient))
        except TimeoutError:
            if not players.ending.is_set():
                witness.violation("a turn is answered", f"nothing came within {anyio.current_time() - start:g} s")
            return
        except CommandError as exc:
            if not players.ending.is_set():
                witness.violation("a turn is answered", f"{type(exc).__name__}: {exc}")
            return
        self.answered = anyio.current_time() - start
        witness.note("answered")
        await self._pause(players, SETTLING)
        if players.ending.is_set():
            return
        if brain.asked and not lenient:
            witness.check_provider(brain.asked[-1].items)
        witness.check_answered()
        self._check_idle(players)

    async def _pause(self, players: Players, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await players.ending.wait()

    async def _write(self, players: Players, *, lenient: bool) -> None:
        """``lenient``: the effects of the faults may reach the question, or the reply to it; then it is asked again."""
        while True:
            text = f"question {players.next_number()}"
            try:
                reply = await players.session.ask(text)
            except CommandError:
                if not lenient or players.ending.is_set():
                    raise
                continue
            said = "".join(item.text for item in reply.output if isinstance(item, Message))
            if reply.status == "completed" and text in said:
                return
            if not lenient:
                players.witness.violation("a turn is answered", f"{text!r} was answered by {reply.status}, {said!r}")
                return

    async def _speak(self, players: Players) -> None:
        events = players.session.events("response.done")
        number = players.say(800)
        async for event in events:
            if isinstance(event, ResponseDone) and event.response.status == "completed":
                said = "".join(item.text for item in event.response.output if isinstance(item, Message))
                if f"turn {number} " in said:
                    return

    def _check_idle(self, players: Players) -> None:
        """Nobody has said anything for a while: nothing waits."""
        witness, now = players.witness, players.session.statistics()
        owed = {"waiting_replies": now.waiting_replies, "running_tools": now.running_tools}
        if not players.withheld:
            owed |= {"open_commands": now.open_commands, "unanswered": now.unanswered}
        if now.playback_pending_ms > 0:
            owed["playback_pending_ms"] = int(now.playback_pending_ms)
        if any(owed.values()):
            left = [f"{verb} #{command.number}" for verb, command in witness.handles if command.state == "pending"]
            witness.violation("nothing waits in the end", f"{owed}, handles {left}")
        if players.session.status != "connected":
            witness.violation("nothing waits in the end", f"the session is {players.session.status}")

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _finish(self, players: Players, scope: anyio.CancelScope) -> None:
        """End it, in one of the ways in which calls end."""
        session, end = players.session, self.plan.end
        players.may_end = True
        players.ending.set()
        players.witness.note(f"end: {end}")
        if session.status == "closed":
            return
        match end:
            case "aclose":
                if not await session.aclose():
                    players.witness.violation("closed in time", "aclose() said that it did not end in time")
            case "close":
                session.close()
                await session.wait_closed()
            case "cancel":
                scope.cancel()
                await anyio.sleep_forever()
            case "hang_up":
                session.hang_up(timeout=_HANG_UP)
                await session.wait_closed()
            case "human":
                players.channel.human.hang_up()
                await session.wait_closed()
            case "listener":
                session.on("last", lambda event: session.close())
                session.emit("last")
                await session.wait_closed()
            case _:
                pass

    def _check_released(self, witness: Witness, provider: Provider, transport: Any) -> None:
        if provider.simulator.sessions or provider.links:
            witness.violation("everything released", f"the provider still serves {provider.simulator.sessions} links")
        if isinstance(transport, FaultyTransport) and transport.streams:
            witness.violation("everything released", f"{len(transport.streams)} sockets are still open")

    def _check_all(self, witness: Witness) -> None:
        witness.check_handles()
        witness.collect(witness.checker.check)
        self.broken += [f"{type(each).__name__}: {each}" for each in witness.checker.broken]


def _agent(name: str, toolkits: Any) -> RealtimeAgent[Any]:
    return RealtimeAgent(id=name, name=name.title(), instructions=f"You are the {name}.", toolkits=toolkits)


def _pace(plan: Plan) -> Pace:
    return Pace(speed=plan.speed, chunk_ms=plan.chunk_ms, first_output=0.02 + plan.latency, token=0.01)
