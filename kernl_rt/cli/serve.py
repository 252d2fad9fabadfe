"""``kernl-rt serve``: a page to talk on, and a phone line, until Ctrl-C."""

from __future__ import annotations

import sys
import webbrowser
from argparse import Namespace
from datetime import datetime
from typing import Any

from kernl_rt import Drain, RealtimeAgent, RealtimeModel, Toolkit, Voice, tool
from kernl_rt.cli._models import TRANSCRIBED, remote, remote_wanted, simulator_notice
from kernl_rt.cli._phones import phone_lines, phone_routes

__all__ = ["command", "own_signals"]

#: Signals are for the drain: the first lets calls come to their end, the second ends them.
own_signals = True


async def command(arguments: Namespace) -> int:
    """Serve until a signal asks to stop."""
    from kernl_rt import serve
    from kernl_rt.serve import _run

    agent = _agent(arguments)
    own = _run.listening_socket(arguments.host, arguments.port)
    local = _run.local_origins(arguments.host, own.getsockname()[1])
    url = f"{local[0]}/"

    def tell() -> None:
        lines = [f"talk to it at  {url}", *phone_lines(arguments)]
        if arguments.record is not None:
            lines.append(f"every call is RECORDED to a folder of its own in {arguments.record}: tell those who call")
        print("\n" + "\n".join(lines) + "\n\nCtrl-C ends it.", flush=True)
        if arguments.open:
            webbrowser.open(url)

    try:
        signals = () if sys.platform == "win32" and arguments.backend == "asyncio" else None
        async with Drain(arguments.drain) if signals is None else Drain(arguments.drain, signals=signals) as drain:
            calls = serve.Calls(
                agent,
                max_sessions=arguments.max_sessions,
                max_minutes=arguments.max_minutes,
                push_to_talk=arguments.push_to_talk,
                drain=drain,
                record=arguments.record,
            )
            application = serve.app(calls, origins=[*local, *arguments.origin], routes=phone_routes(arguments, calls))

            async def stop() -> None:
                await drain.wait_started()
                if drain.live:
                    print(
                        f"\nstopping: {drain.live} live, at most {arguments.drain:g} s more; Ctrl-C again ends them",
                        file=sys.stderr,
                        flush=True,
                    )
                await calls.wait_ended()

            await _run.run(application, own, stop, started=tell)
    finally:
        own.close()
    print("\nkernl-rt: stopped; everything is closed", file=sys.stderr)
    return 0


def _agent(arguments: Namespace) -> RealtimeAgent[Any]:
    """The real thing where it is asked for, else the demo's agent, which hears, speaks and has tools."""
    if remote_wanted(arguments.model, arguments.base_url):
        model: RealtimeModel = remote(arguments.model, arguments.base_url)
        print(f"{model.provider}, {model.name}")
        return RealtimeAgent(
            id="assistant",
            name="Assistant",
            instructions=arguments.instructions,
            model=model,
            voice=None if arguments.voice is None else Voice(arguments.voice),
            toolkits=[Toolkit(id="clock", tools=[time_now])],
            config=TRANSCRIBED,
        )
    from kernl_rt.cli.demo._cast import LINES, Tools, the_agent
    from kernl_rt.simulator import Simulator

    simulator = Simulator.demo(max_sessions=arguments.max_sessions)
    for line in simulator_notice(simulator.info):
        print(line)
    print("it knows a few sentences: " + ", ".join(f'"{line}"' for line in LINES))
    return the_agent(simulator.realtime(), Tools())


@tool
async def time_now() -> str:
    """The date and the time where this server is."""
    return datetime.now().astimezone().strftime("%A, %d %B %Y, %H:%M %Z")
