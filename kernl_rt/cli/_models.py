"""Which model a command talks to."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from kernl_rt.abc import RealtimeModel
from kernl_rt.config import InputTranscription, SessionConfig

if TYPE_CHECKING:
    from kernl_rt.simulator import SimulatorInfo

__all__ = ["DEFAULT_MODEL", "TRANSCRIBED", "chosen", "remote", "remote_wanted", "simulator_notice"]

DEFAULT_MODEL = "gpt-realtime"
#: Providers write down what the human says only when asked to.
TRANSCRIBED = SessionConfig(transcription=InputTranscription(model="gpt-4o-mini-transcribe"))


def remote_wanted(model: str | None, base_url: str | None) -> bool:
    """Whether the user has said, by an option or in the environment, that a service is to be used."""
    named = (model, base_url, os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL"))
    return any(text and text.strip() for text in named)


def remote(model: str | None, base_url: str | None) -> RealtimeModel:
    """The real thing, or whatever speaks its protocol at ``base_url``."""
    from kernl_rt.providers import openai

    return openai.realtime(model or DEFAULT_MODEL, base_url=base_url)


def chosen(arguments: Namespace) -> RealtimeModel:
    """What the options and the environment ask for, else the embedded simulator, which says so."""
    if remote_wanted(arguments.model, arguments.base_url):
        return remote(arguments.model, arguments.base_url)
    from kernl_rt.simulator import Simulator

    simulator = Simulator.demo()
    for line in simulator_notice(simulator.info):
        print(line)
    return simulator.realtime()


def simulator_notice(info: SimulatorInfo) -> list[str]:
    """What must be said to whoever talks to the simulator: what it is, and what it lacks here."""
    return [f"no key, no network: this is {info.description}", *(f"note: {notice}" for notice in info.notices)]
