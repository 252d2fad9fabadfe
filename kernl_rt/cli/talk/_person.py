"""A conversation with whoever sits before this machine."""

from __future__ import annotations

from argparse import Namespace

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit
from kernl_rt.abc import RealtimeChannel, RealtimeModel
from kernl_rt.channels import LocalChannel
from kernl_rt.cli._models import TRANSCRIBED, chosen, remote_wanted
from kernl_rt.cli.demo._cast import Tools
from kernl_rt.cli.talk._devices import ELSEWHERE, check_devices, find_devices
from kernl_rt.cli.talk._record import record, tell_recorded
from kernl_rt.cli.talk._view import View, screen
from kernl_rt.config import Voice
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["converse", "talk_with_person"]


async def talk_with_person(arguments: Namespace) -> int:
    """Talk until Ctrl-C."""
    try:
        check_devices(await find_devices())
    except MisconfiguredError as error:
        error.add_note(f"without it: {ELSEWHERE}")
        raise
    channel = LocalChannel(arguments.input, arguments.output, half_duplex=arguments.half_duplex)
    return await converse(arguments, channel)


async def converse(arguments: Namespace, channel: RealtimeChannel) -> int:
    """Talk over ``channel`` until the session ends, or is cancelled."""
    is_remote = remote_wanted(arguments.model, arguments.base_url)
    session = RealtimeSession(_agent(arguments, chosen(arguments), is_remote=is_remote), channel=channel)
    record(session, arguments.record)
    shown = screen(plain=arguments.plain)
    view = View(shown, half_duplex=arguments.half_duplex)
    session.on("event", view.take)
    try:
        async with session:
            shown.line("", f"speak now; Ctrl-C ends it{_advice(arguments)}")
            await session.wait_closed()
    finally:
        shown.close()
        tell_recorded(session)
    return 0


def _agent(arguments: Namespace, model: RealtimeModel, *, is_remote: bool) -> RealtimeAgent[None]:
    tools = Tools()
    # The weather is made up: only the simulator, which is, too, may tell it.
    made_up = Toolkit(id="outside", tools=[] if is_remote else [tools.weather])
    return RealtimeAgent(
        id="talk",
        name="Talk",
        instructions=arguments.instructions,
        model=model,
        voice=Voice(arguments.voice) if arguments.voice else None,
        toolkits=[Toolkit(id="home", tools=[tools.set_timer]), made_up],
        config=TRANSCRIBED,
    )


def _advice(arguments: Namespace) -> str:
    if arguments.half_duplex:
        return ". The microphone is silent while the agent speaks"
    return ". Headphones keep the agent from hearing itself; without, use --half-duplex"
