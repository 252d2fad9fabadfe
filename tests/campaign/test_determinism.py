"""The same seed is the same call: line by line, step by step, in every process."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kernl_rt.testing import run_call
from kernl_rt.testing._sweep import Backend

ROOT = Path(__file__).resolve().parents[2]
#: With a network of bytes, with one of messages; with drops, toxics, consumers, listeners.
SEEDS = (1, 5, 30, 61)


def digests(backend: Backend) -> list[str]:
    return [run_call(seed, backend).digest for seed in SEEDS]


def test_within_a_process(backend: Backend) -> None:
    first = [run_call(seed, backend) for seed in SEEDS]
    keep = [bytearray(number % 89) for number in range(5_000)]  # other addresses
    gc.collect()
    for run in first:
        again = run_call(run.seed, backend)
        assert again.log == run.log
        assert again.digest == run.digest
    assert len({run.digest for run in first}) == len(SEEDS)
    del keep


@pytest.mark.usefixtures("real_clock")
def test_in_other_processes(backend: Backend) -> None:
    program = (
        f"import json; from tests.campaign.test_determinism import digests; print(json.dumps(digests({backend!r})))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONHASHSEED": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2)
    ]
    outputs = [process.communicate(timeout=50)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert json.loads(outputs[0]) == json.loads(outputs[1]) == digests(backend)
