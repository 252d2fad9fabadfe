"""Origins and one-time tokens. What a whole application makes of them is in ``tests/serve/test_app.py``."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from kernl_rt import Secret
from kernl_rt.channels.browser import BrowserAccess
from kernl_rt.exceptions import MisconfiguredError

HERE, THERE = "https://a.example", "https://b.example:8443"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def access(**options: object) -> tuple[BrowserAccess, Clock]:
    clock = Clock()
    return BrowserAccess([HERE, THERE], clock=clock, **options), clock  # type: ignore[arg-type]


def token(own: BrowserAccess, origin: str = HERE) -> str:
    issued = own.issue(origin)
    assert issued is not None
    return str(issued["token"])


def test_a_token_is_used_once_by_the_origin_that_asked_for_it() -> None:
    own, _ = access()
    first = token(own)
    assert not own.redeem(first, THERE)
    assert own.redeem(first, HERE)
    assert not own.redeem(first, HERE)
    assert own.redeem(token(own, THERE), THERE)


@pytest.mark.parametrize(("age", "good"), [(59.9, True), (60.0, False), (10_000.0, False)])
def test_a_token_lives_for_sixty_seconds(age: float, good: bool) -> None:
    own, clock = access()
    issued = token(own)
    clock.now += age
    assert own.redeem(issued, HERE) is good


def test_a_used_token_is_never_good_again_at_any_later_time() -> None:
    own, clock = access()
    issued = token(own)
    clock.now += 30
    assert own.redeem(issued, HERE)
    for _ in range(200):
        clock.now += 0.5
        assert not own.redeem(issued, HERE)
        own.redeem(token(own), HERE)
    assert len(own._used) <= 130


def test_the_memory_of_used_tokens_is_bounded_and_full_means_closed() -> None:
    own, clock = access(max_used=3)
    used = [token(own) for _ in range(3)]
    assert all(own.redeem(each, HERE) for each in used)
    assert not own.redeem(token(own), HERE)
    assert not any(own.redeem(each, HERE) for each in used)
    clock.now += 61
    assert own.redeem(token(own), HERE)


@given(st.integers(0, 74), st.one_of(st.characters(codec="ascii"), st.sampled_from("+/-_=Aw")))
def test_no_other_token_is_good(place: int, letter: str) -> None:
    own, _ = access()
    issued = token(own)
    forged = issued[:place] + letter + issued[place + 1 :]
    assert own.redeem(forged, HERE) == (forged == issued)


@given(st.text(max_size=200))
def test_any_text_is_no_token(text: str) -> None:
    own, _ = access()
    assert not own.redeem(text, HERE)


def test_processes_that_share_a_secret_know_each_others_tokens() -> None:
    clock = Clock()
    one, two = (BrowserAccess([HERE], secret=Secret("s" * 32), clock=clock) for _ in range(2))
    other = BrowserAccess([HERE], secret=b"t" * 32, clock=clock)
    issued = token(one)
    assert not other.redeem(issued, HERE)
    assert two.redeem(issued, HERE)


def test_tokens_are_all_different_and_go_into_a_header() -> None:
    own, _ = access()
    issued = {token(own) for _ in range(100)}
    assert len(issued) == 100
    assert all(each.replace("-", "").replace("_", "").isalnum() for each in issued)


def test_a_secret_is_not_shown() -> None:
    assert "s" * 32 not in repr(BrowserAccess([HERE], secret=Secret("s" * 32)))


def test_mistakes_are_named() -> None:
    for options in ({"lifetime": 0}, {"lifetime": 3_601}, {"max_used": 0}, {"secret": b"short"}):
        with pytest.raises(MisconfiguredError):
            BrowserAccess([HERE], **options)  # type: ignore[arg-type]
    own = BrowserAccess([])
    assert own.issue(HERE) is None
    assert own.issue(None) is None
