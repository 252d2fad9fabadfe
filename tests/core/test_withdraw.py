"""Taking one reply out of the middle of what waits to be heard."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from kernl_rt._core.playback import Playback
from kernl_rt.config import PCM16_24K

REPLIES = ["r1", "r2", "r3"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(REPLIES), st.integers(1, 40)), min_size=1, max_size=12),
    st.integers(0, 200),
    st.sampled_from(REPLIES),
    st.sets(st.sampled_from(REPLIES)),
)
def test_the_others_lose_nothing(sent: list[tuple[str, int]], heard_ms: int, victim: str, over: set[str]) -> None:
    """What a channel plays after it was cleared is exactly what the others still had to say, in order."""
    playback = Playback(PCM16_24K, marks=True)
    line: list[tuple[str, bytes]] = []
    for number, (reply, ms) in enumerate(sent):
        piece = bytes([number % 251]) * (48 * ms)
        playback.sent(reply, f"item of {reply}", 0, len(piece), 0.0, piece)
        line += [(reply, piece[index : index + 48]) for index in range(0, len(piece), 48)]
    for reply in over:
        playback.finish(reply)
    heard_ms = min(heard_ms, len(line))
    cuts, rest = playback.withdraw(victim, float(heard_ms), 0.0)
    unheard = [piece for reply, piece in line[heard_ms:] if reply != victim]
    assert b"".join(piece for piece in rest if piece is not None) == b"".join(unheard)
    assert playback.pending == 48 * len(unheard)
    assert playback.heard_ms == heard_ms
    assert not playback.unheard(victim)
    assert [cut.response_id for cut in cuts] in ([], [victim])
    lost = any(reply == victim for reply, _ in line[heard_ms:])
    assert bool(cuts) or not lost, "what was lost is told"
    for cut in cuts:
        assert cut.heard_ms <= cut.received_ms <= sum(ms for reply, ms in sent if reply == victim)
        if victim not in over:
            assert cut.heard_ms == sum(reply == victim for reply, _ in line[:heard_ms])
    playback.mark(float(heard_ms + len(unheard)))
    assert playback.pending == 0
    assert victim not in [cut.response_id for cut in playback.clear(None, 0.0)]


def test_the_word_that_sound_is_complete_is_said_again() -> None:
    playback = Playback(PCM16_24K, marks=True)
    playback.sent("r1", "i1", 0, 480, 0.0, b"\1" * 480)
    playback.sent("r2", "i2", 0, 480, 0.0, b"\2" * 480)
    playback.complete("r2", "i2")
    playback.sent("r3", "i3", 0, 480, 0.0, b"\3" * 480)
    _, rest = playback.withdraw("r1", 5.0, 0.0)
    assert rest == [b"\2" * 480, None, b"\3" * 480]


def test_the_clock_goes_on() -> None:
    """Without marks what moves up is heard at once, and as long as it lasts."""
    playback = Playback(PCM16_24K, marks=False)
    playback.sent("r1", "i1", 0, 48_000, 10.0, b"\1" * 48_000)
    playback.sent("r2", "i2", 0, 24_000, 10.0, b"\2" * 24_000)
    playback.withdraw("r1", None, 10.5)
    assert playback.begun() == [("r1", 0), ("r2", 0)]
    assert playback.heard_at() == 11.0
    (cut,) = playback.clear(None, 10.75)
    assert (cut.item_id, cut.heard_ms, cut.received_ms) == ("i2", 250, 500)


def test_when_sound_begins_to_be_heard() -> None:
    playback = Playback(PCM16_24K, marks=False)
    playback.sent("r1", "i1", 0, 48_000, 10.0)
    assert playback.begun() == [("r1", 0)]
    playback.sent("r2", "i2", 0, 48_000, 10.2)
    assert (playback.begun(), playback.begins_at()) == ([], 11.0)
    playback.advance(11.0)
    assert (playback.begun(), playback.begins_at()) == ([("r2", 0)], None)


def test_a_mark_at_the_start_of_a_sound_is_not_its_beginning() -> None:
    playback = Playback(PCM16_24K, marks=True)
    playback.sent("r1", "i1", 0, 4_800, 0.0)
    assert playback.begun() == []
    playback.mark(0.0)
    assert playback.begun() == []
    playback.mark(40.0)
    assert playback.begun() == [("r1", 1_920)]
    assert playback.begun() == []
