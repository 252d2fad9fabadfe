"""When an output guardrail is asked, and about what; what happens when it fails, and at the end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import Context, Guardrail
from kernl_rt.config import ResponseConfig
from kernl_rt.events import (
    ItemCreate,
    Response,
    ResponseCancel,
    ResponseCreate,
    ResponseCreated,
    SessionError,
    TextDelta,
    TextDone,
)
from tests.scenarios.calls import audio, calling, created, done, make_session, quiet, transcript, word
from tests.scenarios.guarding import BAD_WORDS, LONG, Judge, trips

pytestmark = pytest.mark.anyio


async def test_it_is_asked_in_steps_and_about_the_newest_text() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), word("12345"))
        assert judge.asked == []
        await call.says(word("67890"))
        assert judge.asked == ["1234567890"]
        await call.says(word("a" * 10), word("b" * 10), word("c"))
        assert len(judge.asked) == 1, "one check at a time"
        assert call.session.statistics().running_checks == 1
        await judge.says(None)
        assert judge.asked[1:] == ["1234567890" + "a" * 10 + "b" * 10 + "c"]
        await judge.says(False)
        await call.says(word("dd"))
        assert len(judge.asked) == 2, "it has not grown by the threshold"
        final = judge.asked[1] + "dd"
        await call.says(transcript(final))
        assert judge.asked[2:] == [final], "the final words are checked once"
        await judge.says("")
        await call.says(done())
        assert len(judge.asked) == 3
        assert not trips(call)


async def test_final_words_while_a_check_runs() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), word("0123456789"), word("!"), transcript("0123456789!"), done())
        assert judge.asked == ["0123456789"]
        await judge.says(None)
        assert judge.asked == ["0123456789", "0123456789!"]
        await judge.says("no")
        assert len(trips(call)) == 1


async def test_parts_and_text_replies() -> None:
    judge = Judge(threshold=100)
    async with calling(guardrails=[judge.guardrail]) as call:
        text = TextDelta("in ", response_id="r1", item_id="i1", content_index=0)
        whole = TextDone("in writing", response_id="r1", item_id="i1", content_index=0)
        await call.says(created(), text, whole)
        await judge.says(None)
        await call.says(word("and spoken", item_id="i2"), done())
        assert judge.asked == ["in writing", "in writing\nand spoken"]


async def test_a_provider_without_pieces() -> None:
    async with calling(guardrails=[BAD_WORDS]) as call:
        await call.says(created(), done(text="all bad at once"))
        assert [trip.text for trip in trips(call)] == ["all bad at once"]


async def test_a_reply_beside_the_conversation_is_not_checked() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        call.session.request_reply(ResponseConfig(conversation="none"))
        await quiet()
        [create] = call.sent(ResponseCreate)
        assert create.config is not None
        aside = ResponseCreated(Response(id="aside", metadata=create.config.metadata))
        await call.says(aside, word(LONG, "aside"), done("aside", text=LONG))
        assert judge.asked == []


async def test_it_is_given_the_context() -> None:
    seen: list[Any] = []

    async def check(text: str, context: Context[dict[str, int]]) -> bool:
        seen.append((context.context, context.session.id))
        return False

    async with calling(guardrails=[Guardrail("seer", check)], context={"user": 7}) as call:
        await call.says(created(), transcript("hello"))
    assert seen == [({"user": 7}, "sess_scripted")]


# -- a guardrail that fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "dawdles", "says nonsense"])
@pytest.mark.parametrize("fail_closed", [False, True])
async def test_a_guardrail_that_fails(how: str, fail_closed: bool) -> None:
    async def check(text: str, context: Context[Any]) -> Any:
        if how == "raises":
            raise ZeroDivisionError("my fault")
        if how == "dawdles":
            await anyio.sleep(60)
        return 42

    guardrail: Guardrail[Any] = Guardrail("broken", check, threshold=10, fail_closed=fail_closed, timeout=3)
    async with calling(guardrails=[guardrail]) as call:
        await call.says(created(), audio(ms=20_000), word(LONG))
        await anyio.sleep(5)
        [error] = call.seen(SessionError)
        assert error.source == "session"
        assert "guardrail broken" in error.message
        expected = {"raises": ZeroDivisionError, "dawdles": TimeoutError, "says nonsense": TypeError}[how]
        assert isinstance(error.cause, expected)
        assert len(trips(call)) == len(call.sent(ResponseCancel)) == fail_closed
        assert call.session.status == "connected"


async def test_a_failure_that_nobody_hears_ends_the_session() -> None:
    def check(text: str, context: Context[Any]) -> bool:
        raise ZeroDivisionError("my fault")

    with pytest.raises(ZeroDivisionError):
        async with make_session(guardrails=[Guardrail("broken", check)]) as session:
            session.model.peer.say(created(), transcript("x"))  # type: ignore[attr-defined]
            await anyio.sleep(5)


# -- the end of the session -------------------------------------------------------------------------------------------


async def test_05_a_guardrails_finaliser_runs_before_the_socket_closes() -> None:
    order: list[str] = []

    async def check(text: str, context: Context[Any]) -> bool:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            order.append("guardrail")
        return False

    async with calling(guardrails=[Guardrail("slow", check, threshold=10, timeout=1_000)]) as call:
        await call.says(created(), word(LONG))

        async def watch() -> None:
            await call.peer.closed.wait()
            order.append("transport")

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            call.session.close()
            await call.session.wait_closed()
            await call.peer.closed.wait()
    assert order == ["guardrail", "transport"]


async def test_nothing_after_close() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), word(LONG))
        call.session.close()
        await judge.says("no")
        await call.session.wait_closed()
    assert not trips(call)
    assert not call.sent(ItemCreate)
