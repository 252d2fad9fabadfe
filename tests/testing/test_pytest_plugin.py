"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MODULE = """
import random
import anyio

async def fine(probe):
    with probe.victim():
        await anyio.sleep(1)

async def leaky(probe):
    closed = False
    with probe.victim():
        try:
            await anyio.sleep(1)
        finally:
            await anyio.sleep(0.001)  # no shield
            closed = True
    assert closed, "never closed"

def test_fine(kernl_rt_sweep):
    on_trio, on_asyncio = kernl_rt_sweep(fine)
    assert on_trio.runs > 2 < on_asyncio.runs

def test_leaky(kernl_rt_sweep):
    kernl_rt_sweep(leaky, backend="asyncio")

def test_draws(kernl_rt_seed):
    assert kernl_rt_seed != 2

def test_schedules(kernl_rt_sweep):
    (report,) = kernl_rt_sweep(fine, backend="trio", flavours=["parked"])
    print("points", report.points)
"""


def run(folder: Path, *arguments: str) -> str:
    (folder / "test_it.py").write_text(MODULE)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    # By its name, whether or not the installed package declares it.
    plugin = ["-p", "no:kernl_rt", "-p", "kernl_rt.testing.pytest_plugin", "-p", "no:asyncio"]
    command = [sys.executable, "-m", "pytest", "-q", "-s", *plugin, *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50).stdout


def test_a_sweep_by_fixture(tmp_path: Path) -> None:
    output = run(tmp_path)
    assert "1 failed, 3 passed" in output, output
    assert "never closed" in output
    assert "run_once(leaky, backend='asyncio', k=1, flavour='parked', seed=None)" in output


def test_seeds_are_told_where_a_test_fails(tmp_path: Path) -> None:
    output = run(tmp_path, "--kernl-rt-seeds", "3", "-k", "draws or schedules")
    assert "1 failed, 3 passed" in output, output
    assert "repeat with: pytest --kernl-rt-seed 2 'test_it.py::test_draws[seed2]'" in output
    assert run(tmp_path, "--kernl-rt-seed", "2", "-k", "draws").count("1 failed") == 1
    assert "1 passed" in run(tmp_path, "--kernl-rt-seed", "4", "-k", "draws")


def test_more_seeds_are_more_schedules(tmp_path: Path) -> None:
    def points(*arguments: str) -> int:
        output = run(tmp_path, "-k", "schedules", *arguments)
        return int(output.split("points ")[1].split()[0])

    assert points("--kernl-rt-seeds", "3") == 3 * points()


def test_a_number_of_seeds_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    command = [sys.executable, "-m", "pytest", "-p", "no:kernl_rt", "-p", "kernl_rt.testing.pytest_plugin"]
    (tmp_path / "test_it.py").write_text(MODULE)
    ended = subprocess.run(
        [*command, "--kernl-rt-seeds", "0", "-k", "draws"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert "--kernl-rt-seeds 0: at least 1" in ended.stdout + ended.stderr


def test_loading_it_imports_neither_trio_nor_hypothesis() -> None:
    program = (
        "import sys, kernl_rt.testing.pytest_plugin; "
        "print([name for name in ('trio', 'hypothesis', 'httpx') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr


def test_the_package_declares_it() -> None:
    project = ROOT / "pyproject.toml"
    if not (ROOT / "kernl_rt").is_dir():
        pytest.skip("this is about the checkout")
    assert 'pytest11]\nkernl_rt = "kernl_rt.testing.pytest_plugin"' in project.read_text("utf-8")
