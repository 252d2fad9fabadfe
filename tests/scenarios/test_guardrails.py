"""Output guardrails: the scenarios 14 and 15, and what else may happen around a trip."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import Context, Guardrail, MisconfiguredError, tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import ResponseConfig
from kernl_rt.events import (
    AudioDelta,
    Interrupted,
    ItemCreate,
    ItemTruncate,
    OutputTranscriptDelta,
    Response,
    ResponseCancel,
    ResponseCreate,
    ResponseCreated,
    SessionError,
    SpeechStarted,
    TextDelta,
    TextDone,
    ToolFinished,
    ToolResult,
)
from kernl_rt.items import Message
from tests.scenarios.calls import (
    audio,
    audio_done,
    calling,
    created,
    done,
    item_added,
    make_session,
    quiet,
    tool_call,
    transcript,
    word,
)
from tests.scenarios.guarding import BAD_WORDS, LONG, Judge, bad_words, follow_ups, sounds, trips

pytestmark = pytest.mark.anyio


def hear(channel: MemoryChannel) -> bytes:
    """All that the human has heard."""
    heard = b""
    with pytest.raises(anyio.WouldBlock):
        while True:
            heard += channel.human.hear_nowait()
    return heard


# -- the acceptance scenarios -----------------------------------------------------------------------------------------


async def test_14_guardrail_trip() -> None:
    one, other = Judge("one"), Judge("other")
    async with calling(guardrails=[one.guardrail, other.guardrail]) as call:
        await call.says(created(), audio(), word(LONG))
        assert one.asked == other.asked == [LONG]
        await one.says("too long")
        await other.says("too long as well")
        await call.says(word(" and so is this"), word(" and more of it, still"))
        assert [(t.name, t.response_id, t.text, t.reason, t.stopped) for t in trips(call)] == [
            ("one", "r1", LONG, "too long", True)
        ]
        assert [cancel.response_id for cancel in call.sent(ResponseCancel)] == ["r1"]
        assert follow_ups(call) == ["guardrail one tripped: too long"]
        assert not call.sent(ResponseCreate), "the cancelled reply is not over yet"
        await call.says(audio(), done("r1", "cancelled", reason="client_cancelled"), audio())
        assert len(call.sent(ResponseCreate)) == 1
        assert len(sounds(call)) == 1, "no sound after the trip"
        assert one.asked == other.asked == [LONG], "a reply that tripped is not checked any further"
        [interrupted] = call.seen(Interrupted)
        assert (interrupted.response_id, interrupted.reason) == ("r1", "guardrail")


async def test_14_the_follow_up_is_answered_without_a_new_trip() -> None:
    async with calling(guardrails=[BAD_WORDS]) as call:
        await call.says(created(), word("something bad"))
        await call.says(done("r1", "cancelled"))
        await call.says(created("r2"), word("something good", "r2"), transcript("something good", "r2"), done("r2"))
        assert len(trips(call)) == len(call.sent(ResponseCreate)) == 1


@pytest.mark.parametrize("with_channel", [False, True])
async def test_15_stale_guardrail(with_channel: bool) -> None:
    judge = Judge()
    channel = MemoryChannel() if with_channel else None
    async with calling(guardrails=[judge.guardrail], channel=channel) as call:
        await call.says(created("r1"), item_added("i1", "r1"), audio("r1", "i1", 2_000), word(LONG), done("r1"))
        await call.says(created("r2"), audio("r2", "i2", 500))
        await anyio.sleep(0.5)
        await judge.says("too late")
        [trip] = trips(call)
        assert (trip.response_id, trip.stopped) == ("r1", True)
        assert not call.sent(ResponseCancel)
        assert not call.sent(ItemCreate)
        assert not call.sent(ResponseCreate)
        [interrupted] = call.seen(Interrupted)
        assert (interrupted.response_id, interrupted.item_id) == ("r1", "i1")
        assert interrupted.heard_ms == pytest.approx(500, abs=25)
        [truncate] = call.sent(ItemTruncate)
        assert (truncate.item_id, truncate.audio_end_ms) == ("i1", interrupted.heard_ms)
        await call.says(audio("r1", "i1"), audio("r2", "i2"))
        assert len(sounds(call, "r1")) == 1, "late sound of the silenced reply"
        assert len(sounds(call, "r2")) == 2, "the other reply is untouched"
        assert call.session.statistics().playback_pending_ms == pytest.approx(600, abs=1)


async def test_15_the_other_reply_is_heard_in_full() -> None:
    """The channel forgets everything when it is cleared: the other reply is played to it again."""
    judge = Judge()
    channel = MemoryChannel()
    first, second = b"\1\0" * 48_000, b"\2\0" * 12_001
    async with calling(guardrails=[judge.guardrail], channel=channel) as call:
        one = AudioDelta(first, response_id="r1", item_id="i1", content_index=0)
        other = AudioDelta(second, response_id="r2", item_id="i2", content_index=0)
        await call.says(created("r1"), one, audio_done(), word(LONG), done("r1"))
        await call.says(created("r2"), other, audio_done("r2", "i2"))
        await anyio.sleep(1)
        await judge.says(True)
        await anyio.sleep(3)
        heard = hear(channel)
        assert call.session.statistics().playback_pending_ms == 0
    assert heard.count(b"\2\0") >= 12_001, "the other reply was cut"
    assert heard.replace(b"\2\0", b"").count(b"\1\0") == pytest.approx(24_000, abs=600)
    assert heard.rstrip(b"\0").endswith(b"\2")


async def test_15_the_first_reply_has_no_end() -> None:
    """The provider begins another reply without saying that the first is over."""
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created("r1"), audio("r1", ms=2_000), word(LONG), created("r2"), audio("r2", "i2"))
        await judge.says("no")
        assert not call.sent(ResponseCancel)
        assert not call.sent(ItemCreate)
        await call.says(audio("r1"), word("more", "r1"), audio("r2", "i2"))
        assert (len(sounds(call, "r1")), len(sounds(call, "r2"))) == (1, 2)
        assert call.seen(OutputTranscriptDelta)[-1].text == LONG


async def test_15_all_of_it_was_heard_and_more_comes() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created("r1"), audio("r1"), word(LONG), created("r2"))
        await anyio.sleep(1)
        await judge.says("no")
        assert not trips(call)[0].stopped
        await call.says(audio("r1"), word("more", "r1"))
        assert len(sounds(call)) == len(call.seen(OutputTranscriptDelta)) == 1


async def test_15_the_tools_of_the_other_reply_go_on() -> None:
    @tool(on_interrupt="cancel")
    async def slow() -> str:
        await anyio.sleep(1)
        return "slow"

    judge = Judge()
    async with calling(slow, guardrails=[judge.guardrail]) as call:
        await call.says(created("r1"), audio("r1", ms=5_000), word(LONG), tool_call("slow", "c1"), done("r1"))
        await call.says(created("r2"), tool_call("slow", "c2", response_id="r2"))
        await judge.says("no")
        await anyio.sleep(2)
        assert {event.call_id: event.outcome for event in call.seen(ToolFinished)} == {
            "c1": "cancelled",
            "c2": "result",
        }


async def test_15_while_playback_is_paused() -> None:
    """A noise has paused two replies; when they play on, the one that tripped does not."""
    judge = Judge()
    channel = MemoryChannel()
    async with calling(guardrails=[judge.guardrail], channel=channel, recover_after=1) as call:
        one = AudioDelta(b"\1\0" * 24_000, response_id="r1", item_id="i1", content_index=0)
        other = AudioDelta(b"\2\0" * 24_000, response_id="r2", item_id="i2", content_index=0)
        await call.says(created("r1"), one, word(LONG), done("r1"), created("r2"), other, done("r2"))
        await anyio.sleep(0.5)
        call.session.activity_started()
        call.session.activity_ended()
        await judge.says("no")
        assert trips(call)[0].stopped
        assert [event.response_id for event in call.seen(Interrupted)] == ["r1"]
        assert [truncate.item_id for truncate in call.sent(ItemTruncate)] == ["i1"]
        await anyio.sleep(5)
        heard = hear(channel)
        assert heard.count(b"\2\0") >= 24_000, "the other reply was cut"
        assert heard.replace(b"\2\0", b"").count(b"\1\0") == pytest.approx(12_000, abs=600)


# -- when it is asked -------------------------------------------------------------------------------------------------


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


# -- what a trip does -------------------------------------------------------------------------------------------------


async def test_what_the_model_is_told() -> None:
    custom = Guardrail("polite", lambda text, context: True, threshold=1, follow_up="{name}! {{{reason}}}")
    async with calling(guardrails=[custom]) as call:
        await call.says(created(), word("x"))
        assert follow_ups(call) == ["polite! {not allowed}"]
        [create] = call.sent(ItemCreate)
        assert isinstance(create.item, Message)
        assert create.item.role == "system"


async def test_no_follow_up() -> None:
    silent = Guardrail("silent", bad_words, threshold=1, follow_up=None)
    async with calling(guardrails=[silent]) as call:
        await call.says(created(), word("bad"))
        await call.says(done("r1", "cancelled"))
        assert len(trips(call)) == len(call.sent(ResponseCancel)) == 1
        assert not call.sent(ItemCreate)
        assert not call.sent(ResponseCreate)


async def test_a_trip_while_the_tail_plays_through_a_channel() -> None:
    channel = MemoryChannel()
    async with calling(guardrails=[BAD_WORDS], channel=channel) as call:
        await call.says(created(), audio(ms=2_000), word("all is go"), done())
        await anyio.sleep(1)
        await call.says(transcript("all is good, but bad"))
        assert trips(call)[0].stopped
        assert not call.sent(ResponseCancel)
        assert not follow_ups(call)
        assert call.session.statistics().playback_pending_ms == 0


async def test_too_late_to_stop_anything() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), audio(ms=100), word(LONG), done())
        await anyio.sleep(5)
        await judge.says("no")
        assert [trip.stopped for trip in trips(call)] == [False]
        assert not call.seen(Interrupted)
        assert not call.sent(ItemCreate)


async def test_a_reply_that_the_human_has_interrupted() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), audio(), word(LONG), SpeechStarted("u1", 0))
        await judge.says("no")
        assert [trip.stopped for trip in trips(call)] == [False]
        assert len(call.seen(Interrupted)) == 1
        assert not call.sent(ResponseCancel)
        assert not call.sent(ItemCreate)
        await call.says(word(LONG), transcript(LONG + LONG), done("r1", "cancelled"))
        assert len(judge.asked) == 1


async def test_an_interrupted_reply_is_not_checked_any_further() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), audio(), word(LONG))
        await judge.says(None)
        await call.says(SpeechStarted("u1", 0), transcript(LONG + LONG), done("r1", "cancelled"))
        assert judge.asked == [LONG]


async def test_a_reply_that_was_interrupted_before_its_first_word() -> None:
    async with calling(guardrails=[BAD_WORDS]) as call:
        await call.says(created(), audio(), SpeechStarted("u1", 0), done("r1", "cancelled", text="bad, very bad"))
        assert not trips(call)


async def test_the_result_for_a_reply_long_gone_is_nothing() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created("r0"), word(LONG, "r0"), done("r0"))
        for number in range(1, 66):
            await call.says(created(f"r{number}"), word("x", f"r{number}"), done(f"r{number}", "cancelled"))
        before = len(call.log)
        await judge.says("no", 0)
        assert call.log[before:] == []


async def test_with_tools() -> None:
    """The tools of a stopped reply still have one outcome each, and one reply answers both them and the follow-up."""

    @tool
    async def slow() -> str:
        await anyio.sleep(1)
        return "slow"

    async with calling(slow, guardrails=[BAD_WORDS]) as call:
        await call.says(created(), tool_call("slow"), word("bad, very bad"))
        await call.says(done("r1", "cancelled"))
        assert len(call.sent(ResponseCreate)) == 1, "the follow-up"
        await call.says(created("r2"))
        await anyio.sleep(2)
        assert [result.output for result in call.sent(ToolResult)] == ["slow"]
        await call.says(done("r2"))
        assert len(call.sent(ResponseCreate)) == 2
        assert len(trips(call)) == 1


async def test_it_may_interrupt_from_a_listener() -> None:
    channel = MemoryChannel()
    async with calling(guardrails=[BAD_WORDS], channel=channel) as call:
        call.session.on("guardrail", lambda event: call.session.interrupt())
        await call.says(created(), audio(ms=500), word("bad, very bad"))
        assert len(call.sent(ResponseCancel)) == 1
        assert call.session.statistics().playback_pending_ms == 0


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


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"guardrails": [BAD_WORDS, BAD_WORDS]}, "two guardrails are named 'words'"),
        ({"guardrails": [bad_words]}, "not a function"),
        ({"guardrails": BAD_WORDS, "hold_back": -1}, "hold_back=-1"),
        ({"guardrails": [BAD_WORDS], "hold_back": "yes"}, "hold_back='yes'"),
        ({"guardrails": [BAD_WORDS], "hold_back": 0}, "hold_back=0"),
        ({"hold_back": True}, "pass guardrails="),
    ],
)
def test_a_session_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(MisconfiguredError, match=match):
        make_session(**options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": " "}, "name"),
        ({"check": None}, "check must be a function"),
        ({"threshold": 0}, "threshold=0"),
        ({"threshold": True}, "threshold=True"),
        ({"timeout": 0}, "timeout=0"),
        ({"fail_closed": 1}, "fail_closed=1"),
        ({"follow_up": ""}, "follow_up"),
        ({"follow_up": "{nome}"}, "no template"),
        ({"follow_up": "{"}, "no template"),
        ({"follow_up": "{}"}, "no template"),
        ({"follow_up": "{name.x}"}, "no template"),
    ],
)
def test_a_guardrail_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(MisconfiguredError, match=match):
        Guardrail(**{"name": "x", "check": bad_words, **options})
