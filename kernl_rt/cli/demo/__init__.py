"""``kernl-rt demo``: a whole spoken conversation, with no key and no network.

========================  ======================================================================
``_cast``                 who takes part: the caller's voice, the model, the agent and its tools
``_script``               what happens, in order
``_stage`` ``_caller``    the running of it: session, channel, microphone, ear
``_notes``                what happened, noted as it happens
``_live`` ``_plain``      showing it: in a terminal, and elsewhere
``_tree``                 the running tasks
``_mono``                 one sound alone in a file
========================  ======================================================================
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from kernl_rt._recording import TIMELINE
from kernl_rt.abc import RealtimeModel
from kernl_rt.cli._models import DEFAULT_MODEL, remote, simulator_notice
from kernl_rt.cli.demo._cast import FORMAT, QUESTION, Cast, Tools, cast, recorded
from kernl_rt.cli.demo._mono import write_mono
from kernl_rt.cli.demo._notes import Notes
from kernl_rt.cli.demo._plain import print_line
from kernl_rt.cli.demo._report import Outcome, report
from kernl_rt.cli.demo._stage import Witness, perform
from kernl_rt.cli.demo._tree import task_ids
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers import openai

__all__ = ["command"]


async def command(arguments: Namespace) -> int:
    """Perform, record, draw, and report; 0 when everything that the demo is there to show happened."""
    folder = _folder(arguments.out)
    before = task_ids()
    live = _has_screen(arguments)
    players = cast(tones=arguments.fast)
    _banner(arguments, players)
    lines = await recorded(players.caller)
    tools = Tools()
    async with _model(arguments, players, lines) as (model, where):
        notes = Notes(anyio.current_time(), FORMAT)
        title = f"kernl_rt demo: {where}, {arguments.backend}"
        witness = Witness(notes)
        await perform(model, lines, witness, tools, folder, title, _view(notes, title, live=live))
    if arguments.picture is not None:
        _copy(folder / TIMELINE, Path(arguments.picture))
    write_mono(folder / "question.wav", lines[QUESTION], FORMAT.rate)
    write_mono(folder / "reply.wav", bytes(witness.first_reply), FORMAT.rate)
    left = len(task_ids() - before)
    real = arguments.model is not None
    return report(Outcome(notes, tools, bytes(witness.first_reply), left, folder, is_real=real, is_brief=live))


def _folder(path: str) -> Path:
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _banner(arguments: Namespace, players: Cast) -> None:
    if arguments.model is not None:
        if players.rung == 1:
            raise MisconfiguredError(
                "a real model must hear words: pip install 'kernl_rt[demo]' for the caller's voice"
            )
        print(f"the caller is synthetic (espeak-ng); the agent is {arguments.model}, which may cost money")
        return
    for line in (*simulator_notice(players.simulator.info), *(f"note: {notice}" for notice in players.notices)):
        print(line)
    link = "in memory and in virtual time" if arguments.fast else "over a real WebSocket on loopback"
    print(f"rung {players.rung} of 3: {players.about}; {link}; the caller is synthetic, too\n", flush=True)


@asynccontextmanager
async def _model(
    arguments: Namespace, players: Cast, lines: Mapping[str, bytes]
) -> AsyncIterator[tuple[RealtimeModel, str]]:
    """The model to talk to, and in words where it is."""
    simulator = players.simulator
    if arguments.model is not None:
        yield remote(arguments.model, None), arguments.model
    elif arguments.fast:
        yield simulator.realtime(), "simulator in memory, virtual time"
    else:
        if players.rung == 3:
            # The ears load their acoustic model when they first hear something; the first answer shall not wait for it.
            await simulator.ears.transcribe(lines[QUESTION], FORMAT)
        async with simulator.serve() as url:
            yield openai.realtime(DEFAULT_MODEL, api_key="simulator", base_url=url), f"simulator at {url}"


def _has_screen(arguments: Namespace) -> bool:
    wanted = sys.stdout.isatty() and not (arguments.plain or arguments.fast)
    return wanted and importlib.util.find_spec("rich") is not None


def _view(notes: Notes, title: str, *, live: bool) -> Callable[[], Coroutine[Any, Any, None]]:
    """What runs beside the conversation to show it: the live view, or nothing, where lines are printed."""
    if live:
        from rich.console import Console

        from kernl_rt.cli.demo._live import LiveView

        return LiveView(notes, title, Console()).show
    notes.on_line = print_line
    return anyio.sleep_forever


def _copy(picture: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(picture.read_bytes())
