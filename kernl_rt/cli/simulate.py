"""``kernl-rt simulate``: serve the simulator to any client of the OpenAI Realtime protocol."""

from __future__ import annotations

from argparse import Namespace

import anyio

from kernl_rt._transport.serve import Request
from kernl_rt.abc import MessageStream
from kernl_rt.cli._models import DEFAULT_MODEL, simulator_notice
from kernl_rt.simulator import Simulator

__all__ = ["command"]


async def command(arguments: Namespace) -> int:
    """Serve until cancelled."""
    best = Simulator.demo()
    simulator = AnnouncingSimulator(
        best.brain,
        best.voice,
        best.ears,
        api_key=arguments.api_key,
        duration=arguments.duration,
        notices=best.info.notices,
    )
    for line in simulator_notice(simulator.info):
        print(line)
    async with simulator.serve(arguments.host, arguments.port) as url:
        # The client's key is the user's own secret: it is not repeated here.
        key = "simulator" if arguments.api_key is None else "…  # the one you gave with --api-key"
        print(f"\nserving {url}/realtime?model={DEFAULT_MODEL}\n")
        print(f"  export OPENAI_BASE_URL={url.replace('ws://', 'http://', 1)}")
        print(f"  export OPENAI_API_KEY={key}\n")
        print("Ctrl-C ends it.", flush=True)
        await anyio.sleep_forever()
    return 0


class AnnouncingSimulator(Simulator):
    """Says when a client comes and goes."""

    _number = 0

    async def handle(self, stream: MessageStream, request: Request) -> None:
        self._number += 1
        number, model = self._number, request.query.get("model", "?")
        print(f"session {number} opened, model {model}", flush=True)
        try:
            await super().handle(stream, request)
        finally:
            print(f"session {number} closed", flush=True)
