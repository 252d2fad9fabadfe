"""The human's sound that has to be said again."""

from __future__ import annotations

from hypothesis import given, strategies as st

from kernl_rt._core.utterance import LONGEST, QUIET, Utterance
from kernl_rt.events import AudioInputAppend, AudioInputClear, AudioInputCommit

RATE = 100


def append(number: int, size: int = 10) -> AudioInputAppend:
    return AudioInputAppend(bytes([number % 256]) * size)


def sound(utterance: Utterance) -> bytes:
    return b"".join(event.audio for event in utterance.again() if isinstance(event, AudioInputAppend))


def filled(*numbers: int, brief: bool = False, offline: bool = False) -> Utterance:
    utterance = Utterance(RATE)
    for number in numbers:
        utterance.add(append(number), brief=brief, offline=offline)
    return utterance


def test_while_nobody_speaks_a_second_is_remembered() -> None:
    utterance = filled(*range(50), brief=True)
    assert sound(utterance) == b"".join(append(number).audio for number in range(40, 50))
    assert utterance.dropped_bytes == 0


def test_while_the_human_speaks_thirty_seconds_are_remembered() -> None:
    utterance = filled(*range(350))
    assert utterance.size == RATE * LONGEST
    assert utterance.dropped_bytes == 0


def test_without_a_link_what_is_forgotten_is_counted() -> None:
    utterance = filled(*range(350), brief=True, offline=True)
    assert utterance.size == RATE * LONGEST
    assert utterance.dropped_bytes == 350 * 10 - RATE * LONGEST


def test_what_is_said_again_is_not_forgotten_before_the_provider_can_have_heard_it() -> None:
    utterance = filled(*range(50), offline=True)
    assert len(sound(utterance)) == 500
    for number in range(9):
        utterance.add(append(number), brief=True)
    assert utterance.size == 590
    utterance.add(append(9), brief=True)
    assert utterance.size == RATE * QUIET


def test_a_turn_that_was_taken_is_kept_until_its_words_are_known() -> None:
    utterance = filled(1, 2, 3)
    utterance.committed("u1", manual=False)
    assert utterance.again() == ()
    assert utterance.sound_of("u1") == append(1).audio + append(2).audio + append(3).audio
    assert utterance.sound_of("u2") is None
    utterance.understood("u2")
    assert utterance.turn == "u1"
    utterance.understood("u1")
    assert utterance.sound_of("u1") is None


def test_where_the_caller_commits_each_commit_is_answered_by_itself() -> None:
    utterance = filled(1)
    first, second = AudioInputCommit(event_id="e1"), AudioInputCommit(event_id="e2")
    utterance.add(first)
    utterance.add(append(2))
    utterance.add(second)
    utterance.add(append(3))
    assert utterance.again() == (append(1), first, append(2), second, append(3))
    utterance.committed("u1", manual=True)
    assert utterance.again() == (append(2), second, append(3))
    assert utterance.sound_of("u1") == append(1).audio
    utterance.committed("u2", manual=True)
    assert utterance.again() == (append(3),)


def test_a_commit_that_was_refused_leaves_its_sound_to_the_next() -> None:
    utterance = filled(1)
    utterance.add(AudioInputCommit(event_id="e1"))
    utterance.refused("e0")
    utterance.refused("e1")
    utterance.add(append(2))
    utterance.add(AudioInputCommit(event_id="e2"))
    utterance.committed("u1", manual=True)
    assert utterance.again() == ()
    assert utterance.sound_of("u1") == append(1).audio + append(2).audio


def test_what_is_cleared_is_what_was_not_committed() -> None:
    utterance = filled(1)
    commit = AudioInputCommit(event_id="e1")
    utterance.add(commit)
    utterance.add(append(2))
    utterance.add(AudioInputClear())
    assert utterance.again() == (append(1), commit)
    assert utterance.size == 10


def test_another_format_begins_anew() -> None:
    utterance = filled(1, 2)
    utterance.use_rate(2 * RATE)
    assert (utterance.size, utterance.again()) == (0, ())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 400)),
        st.tuples(st.just("brief"), st.integers(1, 400)),
        st.tuples(st.just("offline"), st.integers(1, 400)),
        st.tuples(st.sampled_from(["commit", "clear", "taken", "turn", "again"]), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_in_any_order_it_is_bounded_and_its_size_is_true(steps: list[tuple[str, int]]) -> None:
    utterance = Utterance(RATE)
    said: list[bytes] = []
    commits = 0
    for number, (what, size) in enumerate(steps):
        event = append(number + 1, size or 1)
        match what:
            case "append" | "brief" | "offline":
                said.append(event.audio)
                utterance.add(event, brief=what == "brief", offline=what == "offline")
            case "commit":
                commits += 1
                utterance.add(AudioInputCommit(event_id=f"e{number}"))
            case "clear":
                utterance.add(AudioInputClear())
            case "again":
                utterance.again()
            case _:
                utterance.committed(f"u{number}", manual=what == "turn")
        line = utterance.again() if what == "again" else tuple(utterance._line)
        kept = b"".join(event.audio for event in line if isinstance(event, AudioInputAppend))
        assert utterance.size == len(kept) <= RATE * LONGEST
        assert sum(isinstance(event, AudioInputCommit) for event in line) <= commits
        left = iter(said)
        assert all(any(event.audio == each for each in left) for event in line if isinstance(event, AudioInputAppend))
