"""The examples of README.md and docs/ run, on both backends, each page in an interpreter of its own.

How a block is run, and how one is excused, is told in docs/run_examples.py, which does it. ``OPENAI_BASE_URL`` and
``OPENAI_API_KEY`` lead to a simulator on loopback, so that an example needs neither a key nor a network.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNNER = ROOT / "docs" / "run_examples.py"

if not RUNNER.is_file():
    pytest.skip("the documentation is in the checkout", allow_module_level=True)

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


#: Serves until its standard input is closed, which also happens when the test run dies.
SERVER = """
import anyio, sys
from kernl_rt.simulator import Simulator

async def main():
    async with Simulator(api_key=sys.argv[1], speed=20).serve() as url:
        print(url, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""
KEY = "key-of-the-simulator"


@pytest.fixture(scope="session")
def simulator() -> Iterator[dict[str, str]]:
    """The environment that leads a program to a running simulator."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url.startswith("ws://127.0.0.1:")
        yield {"OPENAI_BASE_URL": url.replace("ws://", "http://"), "OPENAI_API_KEY": KEY}
        server.stdin.close()
        assert server.wait(10) == 0


def run(
    page: Path, backend: str, folder: Path, *, timeout: float = 20.0, simulator: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run a page in ``folder``, warnings being errors. No key of the machine is passed on."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment = {**environment, **simulator}
    arguments = [str(page), "--backend", backend, "--timeout", str(timeout)]
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
    )


def has_examples(page: Path) -> bool:
    """Whether the page has fenced blocks at all; which of them are Python is the runner's to say."""
    return any(mark in page.read_text("utf-8") for mark in ("```", "~~~"))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if has_examples(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_the_examples_of_a_page_run(page: Path, backend: str, tmp_path: Path, simulator: dict[str, str]) -> None:
    result = run(page, backend, tmp_path, simulator=simulator)
    assert result.returncode == 0, result.stderr
    assert f"blocks ran under {backend}" in result.stdout


def write(folder: Path, *parts: str, fence: str = "```") -> Path:
    """A page of blocks; each part is the word after the fence, a newline, and the code."""
    page = folder / "page.md"
    page.write_text("# Page\n\n" + "\n\n".join(f"{fence}{part}\n{fence}" for part in parts), "utf-8")
    return page


REACH = """python
import json, os, urllib.error, urllib.request

def mint(key):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url = os.environ["OPENAI_BASE_URL"] + "/realtime/client_secrets"
    body = json.dumps({"session": {"type": "realtime", "model": "gpt-realtime"}}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as answer:
        return json.load(answer)["value"]

assert mint(os.environ["OPENAI_API_KEY"])
try:
    mint("another key")
except urllib.error.HTTPError as error:
    with error:
        assert error.code == 401
else:
    raise AssertionError("the simulator does not look at the key")
"""


def test_an_example_reaches_the_simulator(backend: str, tmp_path: Path, simulator: dict[str, str]) -> None:
    result = run(write(tmp_path, REACH), backend, tmp_path, simulator=simulator)
    assert result.returncode == 0, result.stderr


def test_blocks_share_a_namespace_and_are_counted(backend: str, tmp_path: Path) -> None:
    page = write(tmp_path, "python\nx = 1", "console\n$ false", "python\nassert x == 1", "\nnot python")
    result = run(page, backend, tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"2 blocks ran under {backend}" in result.stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("assert 1 == 2", "page.md\", line 4"),
        ("x = = 1", "SyntaxError"),
        ("import kernl_rt.no_such_module", "ModuleNotFoundError"),
        ("import warnings\nwarnings.warn('old')", "UserWarning: old"),
        ("async def main():\n    raise RuntimeError('in main')", "in main"),
        ("raise SystemExit(3)", ""),
    ],
    ids=["assertion", "syntax", "import", "warning", "main", "exit"],
)  # fmt: skip
def test_a_broken_example_fails(code: str, said: str, backend: str, tmp_path: Path) -> None:
    result = run(write(tmp_path, f"python\n{code}"), backend, tmp_path)
    assert result.returncode != 0
    assert said in result.stderr


def test_a_main_that_never_returns_fails(backend: str, tmp_path: Path) -> None:
    page = write(tmp_path, "python\nimport anyio\nasync def main():\n    await anyio.sleep_forever()")
    result = run(page, backend, tmp_path, timeout=0.2)
    assert result.returncode != 0
    assert "TimeoutError" in result.stderr


COUNT = """python
import anyio, asyncio, trio
calls = []

async def main():
    try:
        asyncio.get_running_loop()
        calls.append("asyncio")
    except RuntimeError:
        trio.lowlevel.current_task()
        calls.append("trio")
"""


def test_main_is_run_once_under_the_chosen_backend(backend: str, tmp_path: Path) -> None:
    page = write(tmp_path, COUNT, f"python\nassert calls == [{backend!r}], calls")
    result = run(page, backend, tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_block_that_runs_main_itself_is_not_run_again(backend: str, tmp_path: Path) -> None:
    page = write(tmp_path, COUNT + "\nanyio.run(main)\n", f"python\nassert calls == [{backend!r}], calls")
    result = run(page, backend, tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_redefined_main_is_run_too(backend: str, tmp_path: Path) -> None:
    again = "python\nasync def main():\n    calls.append('second')"
    page = write(tmp_path, COUNT, again, "python\nassert calls[1:] == ['second'], calls")
    result = run(page, backend, tmp_path)
    assert result.returncode == 0, result.stderr


def test_an_excused_block_is_not_run(backend: str, tmp_path: Path) -> None:
    page = write(tmp_path, "python no-run\n# not run: needs a microphone\nassert False")
    result = run(page, backend, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "0 blocks ran" in result.stdout


@pytest.mark.parametrize(
    "part",
    [
        "python no-run\nassert False",
        "python norun\nx = 1",
        "py\nx = 1",
        "python3\nx = 1",
        "pycon\n>>> 1",
        "{code-block} python\nx = 1",
    ],
)
@pytest.mark.parametrize("fence", ["```", "~~~"])
def test_a_block_cannot_hide(part: str, fence: str, tmp_path: Path) -> None:
    result = run(write(tmp_path, part, fence=fence), "trio", tmp_path)
    assert result.returncode != 0
    assert "BadBlock" in result.stderr
