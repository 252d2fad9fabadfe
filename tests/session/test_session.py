from __future__ import annotations

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.events import ItemCreate, ResponseCreate, StatusChanged
from kernl_rt.testing import ScriptedModel

pytestmark = pytest.mark.anyio


async def test_connect_and_close() -> None:
    model = ScriptedModel()
    agent = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=model)
    log: list[str] = []
    session = RealtimeSession(agent)
    session.on("status", lambda event: log.append(event.status))
    assert session.id is None
    async with session:
        assert session.id == "sess_scripted"
        command = session.send_message("hi")
        item = await command.settled()
        assert item.text == "hi"
        assert model.peer.heard(ItemCreate)
        await model.peer.hear(ResponseCreate)
    assert log == ["connecting", "connected", "closing", "closed"]
