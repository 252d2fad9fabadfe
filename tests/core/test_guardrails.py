"""The ledger of guardrails, and the line of sound that waits: any words, any answers, in any order."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings, strategies as st

from kernl_rt._core.guardrails import Check, Guardrails, GuardrailSettings
from kernl_rt._core.holdback import HELD_BYTES, HoldBack, with_unplayed
from kernl_rt._core.playback import Cut
from kernl_rt.config import PCM16_24K
from kernl_rt.events import AudioDelta, AudioDone

PART = ("i1", 0)


def ledger(*thresholds: int) -> Guardrails:
    return Guardrails(tuple(GuardrailSettings(f"g{index}", each) for index, each in enumerate(thresholds)))


def sound(response_id: str, size: int, item_id: str = "i1") -> AudioDelta:
    return AudioDelta(b"\0" * size, response_id=response_id, item_id=item_id, content_index=0)


# -- guardrails -------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=3),
    st.lists(
        st.one_of(
            st.tuples(st.just("grow"), st.sampled_from(["r1", "r2"]), st.integers(1, 25)),
            st.tuples(st.just("complete"), st.sampled_from(["r1", "r2"]), st.integers(0, 60)),
            st.tuples(st.just("finish"), st.sampled_from(["r1", "r2"]), st.just(0)),
            st.tuples(st.just("return"), st.just(""), st.integers(0, 9)),
        ),
        max_size=60,
    ),
)
def test_any_order(thresholds: list[int], steps: list[tuple[str, str, int]]) -> None:
    """At most one check in flight for each guardrail and reply; each asks about the newest text; all is checked once
    everything has come back; nothing is passed that was not asked about.
    """
    guardrails = ledger(*thresholds)
    flying: list[Check] = []
    texts: dict[str, str] = {}
    finished: set[str] = set()

    def start(checks: list[Check]) -> None:
        for check in checks:
            assert check.text == texts[check.key], "not the newest text"
            flying.append(check)
        assert max(Counter((each.key, each.settings.name) for each in flying).values(), default=0) <= 1

    def come_back(index: int) -> None:
        check = guardrails.returned(flying.pop(index % len(flying)).check_id)
        assert check is not None
        start(guardrails.let_pass(check))
        assert guardrails.returned(check.check_id) is None, "a result counts once"

    for what, key, number in steps:
        if what == "grow":
            texts[key] = texts.get(key, "") + "x" * number
            start(guardrails.grow(key, PART, "x" * number))
        elif what == "complete":
            texts[key] = "y" * number
            start(guardrails.complete(key, PART, texts[key]))
        elif what == "finish":
            texts.setdefault(key, "")
            finished.add(key)
            start(guardrails.finish(key, ""))
        elif flying:
            come_back(number)
        assert guardrails.in_flight == len(flying)
    for key in finished:
        start(guardrails.finish(key, ""))
    while flying:
        come_back(0)
    for key in finished:
        assert guardrails.has_passed(key, guardrails.version(key)), "something was never checked"


def test_nothing_passes_before_every_guardrail_has_spoken() -> None:
    guardrails = ledger(5, 5)
    first, second = guardrails.grow("r1", PART, "hello")
    version = guardrails.version("r1")
    assert not guardrails.has_passed("r1", version)
    assert guardrails.returned(first.check_id) is first
    guardrails.let_pass(first)
    assert not guardrails.has_passed("r1", version)
    assert guardrails.returned(second.check_id) is second
    guardrails.let_pass(second)
    assert guardrails.has_passed("r1", version)
    assert guardrails.has_passed("r1", 0), "sound that came before the first word"
    guardrails.grow("r1", PART, "!")
    assert not guardrails.has_passed("r1", guardrails.version("r1"))


def test_a_final_text_that_shrinks_is_checked_again() -> None:
    guardrails = ledger(5)
    [check] = guardrails.grow("r1", PART, "0123456789")
    guardrails.returned(check.check_id)
    assert guardrails.let_pass(check) == []
    [final] = guardrails.complete("r1", PART, "0123")
    assert final.text == "0123"


def test_a_reply_without_an_id_is_another_each_time() -> None:
    guardrails = ledger(5)
    [check] = guardrails.grow("", PART, "hello")
    assert guardrails.trip("")
    assert not guardrails.trip("")
    guardrails.begin("")
    assert not guardrails.tripped("")
    assert guardrails.returned(check.check_id) is None
    assert [each.text for each in guardrails.grow("", PART, "again")] == ["again"]


def test_only_so_many_replies_are_remembered() -> None:
    guardrails = ledger(1)
    for number in range(1_000):
        guardrails.grow(f"r{number}", PART, "x")
    assert guardrails.in_flight == 64
    assert not guardrails.trip("r0"), "too long ago to matter"


# -- holding back -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("sound"), st.sampled_from(["r1", "r2"]), st.integers(1, 9)),
            st.tuples(st.just("end"), st.sampled_from(["r1", "r2"]), st.just(0)),
            st.tuples(st.just("time"), st.just(""), st.integers(0, 3)),
            st.tuples(st.just("drop"), st.sampled_from(["r1", "r2", "all"]), st.just(0)),
            st.tuples(st.just("pass"), st.sampled_from(["r1", "r2"]), st.integers(1, 9)),
        ),
        max_size=60,
    )
)
def test_nothing_is_lost_or_overtaken(steps: list[tuple[str, str, int]]) -> None:
    line = HoldBack(2.0)
    passed: Counter[str] = Counter()
    came: list[Any] = []
    went: list[Any] = []
    dropped: list[Any] = []
    now, version = 0.0, 0

    def go() -> None:
        while (following := line.next(lambda key, wanted: passed[key] >= wanted, now)) is not None:
            held, unchecked = following
            went.append(held.event)
            if isinstance(held.event, AudioDelta):
                assert unchecked == (passed[held.key] < held.version)
                assert not unchecked or now >= held.until, "too early"

    for what, key, number in steps:
        match what:
            case "sound" | "end":
                version += 1
                event: Any = sound(key, number) if what == "sound" else AudioDone(response_id=key, item_id="i1")
                came.append(event)
                line.add(event, key, version, now)
            case "time":
                now += number
            case "drop":
                gone = line.drop(None if key == "all" else key)
                assert key == "all" or {event.response_id for event in gone} <= {key}, "another reply's sound"
                dropped += gone
            case _:
                passed[key] = max(passed[key], version + number - 5)
        go()
        assert line.size == sum(len(e.audio) for e in came if isinstance(e, AudioDelta)) - sum(
            len(e.audio) for e in (*went, *dropped) if isinstance(e, AudioDelta)
        )
        assert line.deadline is None or line.deadline > now
    now += 2.0
    go()
    assert len(line) == line.size == 0, "nothing waits longer than it may"
    lost = set(map(id, dropped))
    assert list(map(id, went)) == [id(event) for event in came if id(event) not in lost]


def test_it_is_bounded_in_bytes() -> None:
    line = HoldBack(2.0)
    for _ in range(3):
        line.add(sound("r1", HELD_BYTES // 2), "r1", 1, 0.0)
    released = line.next(lambda key, version: False, 0.0)
    assert released is not None
    assert released[1], "unchecked"
    assert line.next(lambda key, version: False, 0.0) is None
    assert line.size == HELD_BYTES


def test_what_was_never_played_counts_as_received() -> None:
    cuts = [Cut("r1", "i1", 0, 300, 500)]
    told = with_unplayed(cuts, [sound("r1", 4_800), sound("r1", 4_800), sound("r1", 2_400, "i2")], PCM16_24K)
    assert told == [Cut("r1", "i1", 0, 300, 700), Cut("r1", "i2", 0, 0, 50)]
