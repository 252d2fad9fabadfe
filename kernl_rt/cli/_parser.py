"""What may be said on the command line. Nothing heavy is imported here: ``--help`` answers at once."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from kernl_rt import __version__

__all__ = ["PROTOCOLS", "parse"]

#: What the simulator can speak. Its own table is not loaded to parse a command.
PROTOCOLS = ("openai", "azure", "voice-live", "xai", "gemini", "elevenlabs", "eleven-realtime", "live")

_DEMO = """Hear a whole conversation with no key and no network: a synthetic caller asks aloud, a tool runs, the agent
answers aloud, the caller interrupts it, everything closes. Writes conversation.wav (left the caller, right the agent as
heard), reply.wav, events.jsonl and timeline.svg."""
_TALK = """Speak a WAV file to a model and write its spoken reply to another. With --model, --base-url,
OPENAI_API_KEY or OPENAI_BASE_URL it talks to that service, else to the embedded simulator."""
_SIMULATE = """Serve the simulator, which speaks the OpenAI Realtime protocol or another provider's, until Ctrl-C."""
_DOCTOR = """Say what is installed and what is missing, and run one turn on each backend. The exit code is 0 when the
core works. Nothing is sent to the network unless --connect is given."""


def parse(argv: Sequence[str] | None) -> Namespace:
    """The arguments, with ``module``: where the command lives.

    Raises:
        SystemExit: wrong usage (2), ``--help`` or ``--version`` (0).
    """
    return _parser().parse_args(argv)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="kernl-rt", description="Live voice sessions with realtime speech models.")
    parser.add_argument("--version", action="version", version=f"kernl_rt {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_talk(commands)
    _add_simulate(commands)
    _add_doctor(commands)
    return parser


def _add(commands: argparse._SubParsersAction[ArgumentParser], name: str, about: str) -> ArgumentParser:
    parser = commands.add_parser(name, help=about.partition(".")[0].partition(":")[0], description=about)
    parser.add_argument(
        "--backend", choices=("trio", "asyncio"), help="the event loop (default: trio where it is installed)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(module=f"kernl_rt.cli.{name}")
    return parser


def _add_demo(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    parser = _add(commands, "demo", _DEMO)
    parser.add_argument("--out", default="kernl-demo", metavar="DIR", help="where the files go (default: ./kernl-demo)")
    parser.add_argument(
        "--fast", action="store_true", help="virtual time, in memory and with tones: the same script in a second"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, also in a terminal")
    parser.add_argument("--model", metavar="NAME", help="a real model instead of the simulator; needs OPENAI_API_KEY")
    parser.add_argument("--picture", metavar="FILE", help="write the timeline to this SVG file, too")


def _add_talk(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    parser = _add(commands, "talk", _TALK)
    parser.add_argument("--in", dest="question", required=True, metavar="WAV", help="what the human says")
    parser.add_argument("--out", dest="reply", required=True, metavar="WAV", help="where the reply goes; overwritten")
    parser.add_argument("--model", metavar="NAME", help="the model's name at the provider")
    parser.add_argument("--base-url", metavar="URL", help="a service that speaks OpenAI's protocol")
    parser.add_argument("--voice", metavar="NAME", help="the provider's name of a voice")
    parser.add_argument("--instructions", metavar="TEXT", default="You are a helpful voice assistant. Be concise.")
    parser.add_argument(
        "--no-pace", action="store_true", help="as fast as the model takes it, not at the pace of the clock"
    )


def _add_simulate(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    parser = _add(commands, "simulate", _SIMULATE)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8765, help="default: 8765; 0 lets the system choose")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="openai",
        help=f"whose clients it serves: {', '.join(PROTOCOLS)} (default: openai)",
        metavar="NAME",
    )
    parser.add_argument("--api-key", metavar="KEY", help="refuse clients that do not send it (default: let all in)")
    parser.add_argument(
        "--duration", type=_seconds, default=3600.0, metavar="S", help="end each session after S seconds (3600)"
    )


def _add_doctor(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    parser = _add(commands, "doctor", _DOCTOR)
    parser.add_argument(
        "--connect",
        nargs="?",
        const="gpt-realtime",
        metavar="MODEL",
        help="also open a session with OPENAI_API_KEY at OPENAI_BASE_URL (default model: gpt-realtime)",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
