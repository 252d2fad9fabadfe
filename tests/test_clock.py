from __future__ import annotations

import anyio
import pytest

from kernl_rt.testing import Deadlock, virtual_backend

pytestmark = pytest.mark.anyio


async def test_a_day_passes_at_once() -> None:
    start = anyio.current_time()
    await anyio.sleep(86_400)
    assert anyio.current_time() - start >= 86_400


async def test_a_timeout_fires_in_virtual_time() -> None:
    with anyio.move_on_after(3_600) as scope:
        await anyio.Event().wait()
    assert scope.cancelled_caught


async def wait_for_nothing() -> None:
    await anyio.Event().wait()


def test_a_deadlock_is_said_and_not_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernl_rt.testing._clock._THREAD_GRACE", 0.01)
    backend, options = virtual_backend("asyncio")
    with pytest.raises(Deadlock):
        anyio.run(wait_for_nothing, backend=backend, backend_options=options)
