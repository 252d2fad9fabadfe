"""The README's twenty lines, as they stand, in a process of their own, against the simulator on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from kernl_rt.simulator import Simulator

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]

README = Path(__file__).resolve().parents[2] / "README.md"

#: What a user has around the twenty lines: a channel.
CHANNEL = """
from kernl_rt.channels import MemoryChannel
channel = MemoryChannel(playback="instant")
"""
RUNS = {
    "anyio": "anyio.run(main)",
    "anyio-trio": 'anyio.run(main, backend="trio")',
    "trio": "import trio; trio.run(main)",
}


def twenty_lines() -> str:
    blocks = README.read_text(encoding="utf-8").split("```")
    [block] = [block for block in blocks if "RealtimeSession(agent, channel=channel)" in block]
    return block.split("\n", 1)[1]


@pytest.mark.parametrize("run", RUNS)
async def test_the_twenty_lines(run: str, tmp_path: Path) -> None:
    lines = twenty_lines()
    head, call = lines.split("anyio.run(main)")
    assert call.strip().startswith("#"), "the last line starts the program"
    # The body is the user's: `match event: ...` gets one case, the one that ends the program.
    body = head.replace("match event: ...", "if event.kind == 'response.done': print('done'); session.close()")
    assert body != head
    script = tmp_path / "twenty.py"
    script.write_text(CHANNEL + body + RUNS[run] + "\n", encoding="utf-8")
    async with Simulator(api_key="a-key", speed=20).serve() as url:
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "a-key",
            "OPENAI_BASE_URL": url.replace("ws://", "http://"),
            "PYTHONWARNINGS": "error",
        }
        done = await anyio.run_process(
            [sys.executable, str(script)], env=environment, stderr=subprocess.STDOUT, check=False
        )
    output = done.stdout.decode()
    assert done.returncode == 0, output
    assert "done" in output
    assert len(output.splitlines()) >= 2, f"a transcript, then done: {output}"
