"""What may be said on the command line. Nothing heavy is imported here: ``--help`` answers at once."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from kernl_rt import __version__
from kernl_rt.cli._phones import add_phone_options

__all__ = ["PROTOCOLS", "parse"]

#: What the simulator can speak. Its own table is not loaded to parse a command.
PROTOCOLS = ("openai", "azure", "voice-live", "xai", "gemini", "elevenlabs", "eleven-realtime", "live")

_DEMO = """Hear a whole conversation with no key and no network: a synthetic caller asks aloud, a tool runs, the agent
answers aloud, the caller interrupts it, everything closes. Writes a recording: audio.wav (left the caller, right the
agent as heard), transcript.json, events.jsonl and timeline.svg."""
_TALK = """Talk to a model with this machine's microphone and loudspeaker, until Ctrl-C. With --in and --out, speak a
WAV file to it and write its spoken reply to another. With --model, --base-url, OPENAI_API_KEY or OPENAI_BASE_URL it
talks to that service, else to the embedded simulator."""
_SERVE = """Serve a page on which one talks to a model, until Ctrl-C. With --model, --base-url, OPENAI_API_KEY or
OPENAI_BASE_URL it talks to that service, else to the embedded simulator. Needs kernl_rt[serve]."""
_REPLAY = """Print a recorded conversation (session.record) with its times. --redraw makes its transcript and timeline
anew, also of a recording that was cut short."""
_SIMULATE = """Serve the simulator, which speaks the OpenAI Realtime protocol or another provider's, until Ctrl-C."""
_DOCTOR = """Say what is installed and what is missing, and run one turn on each backend. The exit code is 0 when the
core works. Nothing is sent to the network unless --connect is given."""


def parse(argv: Sequence[str] | None) -> Namespace:
    """The arguments, with ``module``: where the command lives.

    Raises:
        SystemExit: wrong usage (2), ``--help`` or ``--version`` (0).
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.module == "kernl_rt.cli.talk" and (arguments.question is None) is not (arguments.reply is None):
        parser.error("talk: --in and --out belong together; without both it uses the microphone and the loudspeaker")
    return arguments


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="kernl-rt", description="Live voice sessions with realtime speech models.")
    parser.add_argument("--version", action="version", version=f"kernl_rt {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_talk(commands)
    _add_serve(commands)
    _add_simulate(commands)
    _add_replay(commands)
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
    parser.add_argument("--devices", action="store_true", help="list the microphones and loudspeakers, and end")
    parser.add_argument(
        "--input", type=_device, metavar="DEVICE", help="the microphone: a number or a part of its name"
    )
    parser.add_argument("--output", type=_device, metavar="DEVICE", help="the loudspeaker, likewise")
    parser.add_argument(
        "--half-duplex", action="store_true", help="no microphone while the agent speaks: for a room without headphones"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, also in a terminal")
    parser.add_argument("--in", dest="question", metavar="WAV", help="a file instead of the microphone; needs --out")
    parser.add_argument("--out", dest="reply", metavar="WAV", help="where the reply goes then; overwritten")
    parser.add_argument("--model", metavar="NAME", help="the model's name at the provider")
    parser.add_argument("--base-url", metavar="URL", help="a service that speaks OpenAI's protocol")
    parser.add_argument("--voice", metavar="NAME", help="the provider's name of a voice")
    parser.add_argument("--instructions", metavar="TEXT", default="You are a helpful voice assistant. Be concise.")
    parser.add_argument(
        "--record", metavar="DIR", help="record the conversation to this new folder: both voices, words, events"
    )
    parser.add_argument(
        "--no-pace", action="store_true", help="with files: as fast as the model takes it, not at the clock's pace"
    )


def _add_serve(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    parser = _add(commands, "serve", _SERVE)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8080, help="default: 8080; 0 lets the system choose")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="the page may also be reached as URL (https://voice.example.com); may be repeated",
    )
    parser.add_argument("--push-to-talk", action="store_true", help="the human says when a turn ends, by a button")
    parser.add_argument("--model", metavar="NAME", help="the model's name at the provider")
    parser.add_argument("--base-url", metavar="URL", help="a service that speaks OpenAI's protocol")
    parser.add_argument("--voice", metavar="NAME", help="the provider's name of a voice")
    parser.add_argument("--instructions", metavar="TEXT", default="You are a helpful voice assistant. Be concise.")
    parser.add_argument("--max-sessions", type=_count, default=50, metavar="N", help="calls at once (default: 50)")
    parser.add_argument("--max-minutes", type=_minutes, default=60.0, metavar="M", help="of one call (default: 60)")
    parser.add_argument(
        "--drain", type=_seconds, default=10.0, metavar="S", help="calls may go on S seconds when it is stopped (10)"
    )
    parser.add_argument(
        "--record",
        metavar="DIR",
        help="record every call, of pages and phones, to a new folder inside DIR; callers are not told, so tell them",
    )
    add_phone_options(parser)


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


def _add_replay(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    parser = _add(commands, "replay", _REPLAY)
    parser.add_argument("folder", metavar="DIR", help="the folder of the recording")
    parser.add_argument("--pace", action="store_true", help="as slowly as it was spoken, not at once")
    parser.add_argument("--redraw", action="store_true", help="write transcript.json and timeline.svg anew")


def _add_doctor(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    parser = _add(commands, "doctor", _DOCTOR)
    parser.add_argument(
        "--connect",
        nargs="?",
        const="gpt-realtime",
        metavar="MODEL",
        help="also open a session with OPENAI_API_KEY at OPENAI_BASE_URL (default model: gpt-realtime)",
    )


def _device(text: str) -> int | str:
    """A device's number, or a part of its name."""
    return int(text) if text.isascii() and text.isdigit() else text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of calls: use 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    return _above_zero(text, "seconds")


def _minutes(text: str) -> float:
    return _above_zero(text, "minutes")


def _above_zero(text: str, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of {unit} above 0")
    return number
