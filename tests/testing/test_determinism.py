"""The private hooks that a repeatable run rests on. When one fails after an upgrade, its message says which."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from anyio._backends import _asyncio as anyio_on_asyncio
from trio._core import _run as trio_run

from kernl_rt.testing import Probe, run_once
from kernl_rt.testing._sweep import Backend

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [None, 1, 2, 3, 4, 5]


async def crowd(probe: Probe) -> list[int]:
    """Tasks that are ready together, cancelled together, and clean up together: the order is all there is."""
    order: list[int] = []

    async def one(number: int) -> None:
        try:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
                order.append(number)
            await anyio.sleep(1)
        finally:
            order.append(-number)

    with probe.victim():
        async with anyio.create_task_group() as outer:
            for number in range(1, 6):
                outer.start_soon(one, number)
            async with anyio.create_task_group() as inner:
                for number in range(6, 9):
                    inner.start_soon(one, number)
                await anyio.sleep(0.5)
                inner.cancel_scope.cancel()
            outer.cancel_scope.cancel()
    return order


def traces(backend: Backend) -> list[Any]:
    found: list[Any] = []
    for seed in SEEDS:
        for k in (None, 23):
            run = run_once(crowd, backend=backend, k=k, seed=seed)
            found.append([run.trace, run.result])
    return found


def test_the_same_seed_gives_the_same_trace(backend: Backend) -> None:
    first = traces(backend)
    keep = [bytearray(n % 97) for n in range(5_000)]  # other addresses
    gc.collect()
    assert traces(backend) == first, f"{backend}: the same seed gives another order within one process"
    del keep


def test_other_seeds_give_other_traces(backend: Backend) -> None:
    orders = {tuple(run_once(crowd, backend=backend, seed=seed).result) for seed in SEEDS}
    hook = {
        "trio": "trio._core._run._r does not shuffle the batch of runnable tasks any more",
        "asyncio": "steps of tasks are not found in loop._ready any more (Handle._callback, or loop.call_soon)",
    }
    assert len(orders) >= len(SEEDS) - 1, hook[backend]


@pytest.mark.usefixtures("real_clock")
def test_also_in_other_processes(backend: Backend) -> None:
    """Addresses and the hash seed differ from process to process: neither may decide the order."""
    program = f"import json; from tests.testing.test_determinism import traces; print(json.dumps(traces({backend!r})))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONHASHSEED": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    outputs = [process.communicate(timeout=50)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({json.dumps(json.loads(output)) for output in outputs}) == 1, (
        f"{backend}: the order depends on the process. trio: _ALLOW_DETERMINISTIC_SCHEDULING does not sort the batch "
        "any more. asyncio: anyio iterates over more than Task and CancelScope, in the order of addresses"
    )


def test_trio_has_the_hooks() -> None:
    for name in ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r"):
        assert hasattr(trio_run, name), f"trio {trio.__version__} has no trio._core._run.{name}"


def test_asyncio_and_anyio_have_the_hooks() -> None:
    loop = asyncio.new_event_loop()
    try:
        for name in ("_ready", "_run_once"):
            assert hasattr(loop, name), f"asyncio's loop has no {name}"
        handle = loop.call_soon(print)
        assert hasattr(handle, "_callback"), "asyncio's Handle has no _callback"
        handle.cancel()
    finally:
        loop.close()
    assert isinstance(anyio_on_asyncio.CancelScope, type), "anyio's asyncio backend has no class CancelScope"


async def scopes(probe: Probe) -> set[str]:
    made = [anyio.CancelScope(), anyio.create_task_group().cancel_scope]
    probe.target(made[0])
    await anyio.lowlevel.checkpoint()
    return {type(scope).__name__ for scope in made}


def test_every_scope_of_anyio_counts() -> None:
    assert run_once(scopes, backend="asyncio").result == {"_CountedScope"}, (
        "anyio makes cancel scopes otherwise than by anyio._backends._asyncio.CancelScope"
    )


def test_nothing_stays_changed(backend: Backend) -> None:
    async def failing(probe: Probe) -> None:
        random.random()
        raise LookupError("of the scenario")

    def state() -> Any:
        module: Any = trio_run
        return (
            anyio_on_asyncio.CancelScope,
            module._ALLOW_DETERMINISTIC_SCHEDULING,
            module._r,
            module._r.getstate(),
            random.getstate(),
        )

    before = state()
    assert before[0].__module__ == "anyio._backends._asyncio", "an earlier run left its own class of scopes in anyio"
    assert before[2].__class__ is random.Random, "an earlier run left its own chance in trio"
    run_once(crowd, backend=backend, seed=3)
    with pytest.raises(LookupError):
        run_once(failing, backend=backend, seed=3)
    assert state() == before
