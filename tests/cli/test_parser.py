"""What may be said on the command line, and what it costs to ask."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kernl_rt.cli._parser import parse
from kernl_rt.cli._run import backends, choose_backend
from kernl_rt.exceptions import MisconfiguredError


def test_the_demo_needs_no_options() -> None:
    arguments = parse(["demo"])
    assert arguments.module == "kernl_rt.cli.demo"
    assert (arguments.out, arguments.fast, arguments.model, arguments.backend) == ("kernl-demo", False, None, None)


def test_the_options_of_talk() -> None:
    line = "talk --in a.wav --out b.wav --model m --base-url u --voice v --instructions t --no-pace --backend asyncio"
    arguments = parse(line.split())
    assert (arguments.question, arguments.reply, arguments.model, arguments.base_url) == ("a.wav", "b.wav", "m", "u")
    assert (arguments.voice, arguments.instructions, arguments.no_pace) == ("v", "t", True)
    assert arguments.backend == "asyncio"


def test_the_options_of_simulate() -> None:
    arguments = parse(["simulate", "--port", "0", "--duration", "2.5", "--api-key", "k"])
    assert (arguments.host, arguments.port, arguments.duration, arguments.api_key) == ("127.0.0.1", 0, 2.5, "k")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "talk --in a.wav",
        "simulate --port 65536",
        "simulate --port -1",
        "simulate --port ²",
        "simulate --duration 0",
        "simulate --duration nan",
        "simulate --duration inf",
        "simulate --duration soon",
        "serve --max-minutes 0",
        "serve --max-sessions 0",
        "demo --backend curio",
    ],
)
def test_wrong_usage_exits_with_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        parse(line.split())
    assert exit.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "talk", "serve", "simulate", "replay", "doctor"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        parse([command, "--help"])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert "--backend" in shown
    assert "--debug" in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom kernl_rt.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert {"trio", "rich", "numpy", "httpx", "soxr"} & set(done.stdout.splitlines()[-1].split()) == set()


def test_trio_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backends() == ["trio", "asyncio"]
    assert choose_backend(None) == "trio"
    assert choose_backend("asyncio") == "asyncio"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend(None) == "asyncio"
    with pytest.raises(MisconfiguredError, match=r"pip install 'kernl_rt\[trio\]'"):
        choose_backend("trio")


def test_every_protocol_of_the_simulator_can_be_named() -> None:
    from kernl_rt.cli._parser import PROTOCOLS
    from kernl_rt.cli.simulate import _HOW
    from kernl_rt.simulator._protocols import PROTOCOLS as SPOKEN

    assert set(PROTOCOLS) == set(SPOKEN) == set(_HOW)
    assert parse(["simulate", "--protocol", "gemini"]).protocol == "gemini"
