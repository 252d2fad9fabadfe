"""``kernl-rt simulate``: serve the simulator to any client of the OpenAI Realtime protocol, or of another's."""

from __future__ import annotations

from argparse import Namespace

import anyio

from kernl_rt._transport.serve import Request
from kernl_rt.abc import MessageStream
from kernl_rt.cli._models import DEFAULT_MODEL, simulator_notice
from kernl_rt.simulator import Simulator

__all__ = ["command"]


#: How one's own program gets here, for each protocol.
_HOW: dict[str, tuple[str, ...]] = {
    "openai": ("export OPENAI_BASE_URL={web}", "export OPENAI_API_KEY={key}"),
    "azure": ("export AZURE_OPENAI_ENDPOINT={web}", "export AZURE_OPENAI_API_KEY={key}"),
    "voice-live": ("export AZURE_VOICELIVE_ENDPOINT={web}", "export AZURE_VOICELIVE_API_KEY={key}"),
    "xai": ('xai.realtime("grok-voice-latest", base_url="{url}", api_key="{key}")',),
    "gemini": ('gemini.live("gemini-3.8-live", base_url="{url}", api_key="{key}")',),
    "elevenlabs": ('elevenlabs.agent("agent_1", base_url="{url}", api_key="{key}")',),
    "eleven-realtime": ('elevenlabs.realtime("eleven_realtime_v1_mini", base_url="{url}", api_key="{key}")',),
    "live": ('openai.live("gpt-live-1", base_url="{url}", api_key="{key}")',),
}


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
        protocol=arguments.protocol,
    )
    for line in simulator_notice(simulator.info):
        print(line)
    async with simulator.serve(arguments.host, arguments.port) as url:
        # The client's key is the user's own secret: it is not repeated here.
        key = "simulator" if arguments.api_key is None else "…"
        print(f"\nserving {url}{'/realtime?model=' + DEFAULT_MODEL if arguments.protocol == 'openai' else ''}\n")
        for line in _HOW[arguments.protocol]:
            print("  " + line.format(url=url, web=url.replace("ws://", "http://", 1), key=key))
        note = "" if arguments.api_key is None else "The key is the one that you gave with --api-key. "
        print(f"\n{note}Ctrl-C ends it.", flush=True)
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
