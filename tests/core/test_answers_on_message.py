"""To a model that answers every message by itself, a message says whether it wants that."""

from __future__ import annotations

import pytest

from kernl_rt._core.actions import Send
from kernl_rt._core.inputs import ConnectionOpened, ItemSubmitted
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt.config import Capabilities
from kernl_rt.events import ItemCreate, ResponseCreate, SessionCreated, SessionInfo
from kernl_rt.items import ContentPart, Message


@pytest.mark.parametrize(
    ("answers", "reply", "ask", "asks"),
    [
        (True, True, False, True),
        (True, False, True, True),
        (True, False, False, False),
        (False, True, False, None),
        (False, False, False, None),
    ],
)
def test_whether_it_asks(answers: bool, reply: bool, ask: bool, asks: bool | None) -> None:
    able = Capabilities(answers_on_message=answers, confirms_configuration=False)
    machine = SessionMachine(Settings(capabilities=able))
    machine.feed(ConnectionOpened(), 0.0)
    machine.feed(SessionCreated(SessionInfo(id="s")), 0.0)
    message = Message("user", [ContentPart("input_text", text="hello")])
    actions = machine.feed(ItemSubmitted(1, message, reply, ask), 0.0)
    sent = [action.event for action in actions if isinstance(action, Send)]
    assert [event.asks for event in sent if isinstance(event, ItemCreate)] == [asks]
    # Whoever answers by itself is asked as all others are: the codec knows what it has said already.
    assert any(isinstance(event, ResponseCreate) for event in sent) == (reply or ask)
