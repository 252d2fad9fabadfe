"""How a command ends: its code, one plain line for an error of ours, a traceback for a fault of ours."""

from __future__ import annotations

import errno
import sys
import types
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import anyio.lowlevel
import pytest

from kernl_rt.cli._run import perform
from kernl_rt.exceptions import ConnectRefusedError, MisconfiguredError

Perform = Callable[..., int]


@pytest.fixture
def performed(backend: str) -> Iterator[Perform]:
    """Runs a command that raises, or returns, what it is given."""
    module: Any = types.ModuleType("planted_command")
    sys.modules["planted_command"] = module

    def perform_it(outcome: BaseException | int, *, debug: bool = False) -> int:
        async def command(arguments: Namespace) -> int:
            await anyio.lowlevel.checkpoint()
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        module.command = command
        return perform(Namespace(module="planted_command", backend=backend, debug=debug))

    yield perform_it
    del sys.modules["planted_command"]


def test_the_commands_code_is_the_programs(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    assert [performed(0), performed(1), performed(7)] == [0, 1, 7]
    assert capsys.readouterr().err == ""


def test_an_error_of_ours_is_one_line(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    assert performed(MisconfiguredError("no key: set OPENAI_API_KEY")) == 1
    assert capsys.readouterr().err == "kernl-rt: no key: set OPENAI_API_KEY\n"


def test_each_error_of_a_group_is_a_line(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("two", [MisconfiguredError("one"), ExceptionGroup("", [ConnectRefusedError("two")])])
    assert performed(group) == 1
    assert capsys.readouterr().err == "kernl-rt: one\nkernl-rt: two\n"


def test_a_note_is_told(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    error = MisconfiguredError("one")
    error.add_note("also: two")
    assert performed(error) == 1
    assert capsys.readouterr().err == "kernl-rt: one\n  also: two\n"


def test_a_taken_port_names_the_fix(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    assert performed(OSError(errno.EADDRINUSE, "Address already in use")) == 1
    assert "--port 0" in capsys.readouterr().err


def test_debug_shows_the_traceback(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    assert performed(MisconfiguredError("no key"), debug=True) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "MisconfiguredError: no key" in shown


def test_a_fault_of_ours_is_not_hidden(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    assert performed(ExceptionGroup("", [MisconfiguredError("x"), ZeroDivisionError("fault")])) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ZeroDivisionError: fault" in shown


def test_a_second_ctrl_c_hits_whatever_task_runs(performed: Perform, capsys: pytest.CaptureFixture[str]) -> None:
    assert performed(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "\nkernl-rt: stopped; everything is closed\n"


def test_ctrl_c_before_the_loop_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert perform(Namespace(module="kernl_rt.cli.doctor", backend="asyncio", debug=False)) == 130
    assert "Traceback" not in capsys.readouterr().err
