"""Whether and when a lost link is dialled again."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from kernl_rt._core.redial import Redial, hopeless
from kernl_rt.exceptions import (
    AuthenticationError,
    ConfigurationRejected,
    ConnectError,
    ConnectionClosed,
    ConnectRefusedError,
    ConnectTimeout,
    HandshakeError,
    MisconfiguredError,
    ModelNotFoundError,
    NameResolutionError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    SessionExpired,
    TLSError,
)
from kernl_rt.policy import ReconnectPolicy

LOST = ConnectionClosed(1006)
POLICIES = st.builds(
    ReconnectPolicy,
    attempts=st.integers(1, 12),
    first_delay=st.floats(0, 5),
    base=st.floats(0, 5),
    longest=st.floats(0, 60),
)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1010, 4000, 4008])
def test_codes_that_blame_this_side_are_hopeless(code: int) -> None:
    assert hopeless(ConnectionClosed(code))
    assert not hopeless(SessionExpired(code))


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1009, 1011, 1012, 1013, 1014, 1015, 3000])
def test_other_codes_are_not(code: int) -> None:
    assert not hopeless(ConnectionClosed(code))


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no"),
        PermissionDeniedError("no"),
        ModelNotFoundError("no"),
        ConfigurationRejected("no"),
        MisconfiguredError("no"),
        TLSError("no"),
        HandshakeError("no", status=400),
        HandshakeError("no", status=404),
        RateLimitedError("no", code="insufficient_quota"),
        ConnectError("no", code="billing_hard_limit_reached"),
    ],
    ids=repr,
)
def test_what_waiting_does_not_mend_is_hopeless(error: Exception) -> None:
    assert hopeless(error)
    redial = Redial(ReconnectPolicy(), None)
    redial.linked(0.0)
    assert redial.dropped(error, 100.0, 0.5) is None


@pytest.mark.parametrize(
    "error",
    [
        ConnectRefusedError("no"),
        NameResolutionError("no"),
        ConnectTimeout("no"),
        ProtocolError("no"),
        RateLimitedError("no"),
        ConnectError("no"),
        *(HandshakeError("no", status=status) for status in (None, 200, 408, 425, 500, 502, 503)),
    ],
    ids=repr,
)
def test_what_may_be_better_later_is_not(error: Exception) -> None:
    assert not hopeless(error)


@given(POLICIES, st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_each_delay_is_within_its_bounds_and_there_are_so_many(policy: ReconnectPolicy, jitters: list[float]) -> None:
    redial = Redial(policy, None)
    redial.linked(0.0)
    longest = policy.first_delay
    delays = [redial.dropped(LOST, 1.0, jitters[0])]
    for number, jitter in enumerate(jitters[1 : policy.attempts]):
        delay = delays[-1]
        assert delay is not None
        assert 0 <= delay <= min(longest, policy.longest)
        longest = policy.base * 2**number
        delays.append(redial.again(LOST, jitter))
    assert redial.again(LOST, 1.0) is None
    assert redial.tried == policy.attempts
    assert None not in delays


def test_thousands_of_attempts_are_only_a_number() -> None:
    redial = Redial(ReconnectPolicy(attempts=5_000), None)
    delays = [redial.again(LOST, 1.0) for _ in range(5_000)]
    assert delays[-1] == 30.0
    assert redial.again(LOST, 1.0) is None


def test_what_the_server_asks_for_comes_on_top() -> None:
    redial = Redial(ReconnectPolicy(), None)
    assert redial.again(RateLimitedError("slowly", retry_after=40.0), 1.0) == 40.25


def test_the_attempts_come_back_once_a_link_has_held() -> None:
    redial = Redial(ReconnectPolicy(attempts=2), None)
    for now in (0.0, 30.0, 60.0, 90.0):
        redial.linked(now)
        assert redial.dropped(LOST, now + 30.0, 0.0) == 0.0
        assert redial.tried == 1
    redial.linked(120.0)
    assert redial.dropped(LOST, 149.9, 0.0) == 0.0
    redial.linked(150.0)
    assert redial.dropped(LOST, 151.0, 0.0) is None


def test_without_a_policy_there_is_no_attempt() -> None:
    redial = Redial(None, 3_600.0)
    redial.linked(0.0)
    assert not redial.on
    assert redial.rotate_at is None
    assert redial.dropped(LOST, 100.0, 0.0) is None
    assert redial.again(LOST, 0.0) is None


# -- rotation ---------------------------------------------------------------------------------------------------------


def test_a_link_is_due_some_time_before_its_end() -> None:
    redial = Redial(ReconnectPolicy(), 3_600.0)
    redial.linked(100.0)
    assert redial.rotate_at == 3_400.0
    assert not redial.due(3_399.9, quiet=True)
    assert redial.due(3_400.0, quiet=True)


@given(st.floats(1, 10_000), st.floats(0.1, 1_000), st.floats(0, 1_000_000))
def test_a_link_that_is_never_quiet_is_due_before_its_end(seconds: float, before: float, linked: float) -> None:
    redial = Redial(ReconnectPolicy(rotate_before=before), seconds)
    redial.linked(linked)
    now, looks = redial.rotate_at, 0
    assert now is not None
    assert linked < now
    while not redial.due(now, quiet=False):
        assert redial.rotate_at is not None
        assert redial.rotate_at > now
        now, looks = redial.rotate_at, looks + 1
    assert now < linked + seconds
    assert looks <= 2 * before + 2


def test_the_providers_word_may_bring_the_end_nearer_but_not_move_it_away() -> None:
    redial = Redial(ReconnectPolicy(), 3_600.0)
    redial.linked(0.0)
    redial.expires(60.0, 100.0)
    assert redial.rotate_at == 130.0
    redial.expires(6_000.0, 101.0)
    assert redial.rotate_at == 130.0


def test_a_rotation_costs_no_attempt_where_the_link_has_held() -> None:
    redial = Redial(ReconnectPolicy(attempts=1), None)
    for start in range(0, 1_000, 100):
        redial.linked(start)
        assert redial.rotate(start + 50.0)
    assert (redial.tried, redial.rotations, redial.count) == (0, 10, 10)


def test_a_link_that_is_always_at_its_end_is_not_changed_without_end() -> None:
    redial = Redial(ReconnectPolicy(attempts=3), None)
    changed = []
    for now in range(10):
        redial.linked(now)
        redial.expires(0.0, now)
        changed.append(redial.rotate(now))
    assert changed == [True] * 3 + [False] * 7
    assert redial.rotate_at is None


def test_a_session_that_expired_is_a_rotation() -> None:
    redial = Redial(ReconnectPolicy(attempts=1), None)
    for start in range(0, 500, 100):
        redial.linked(start)
        assert redial.dropped(SessionExpired(1001), start + 50.0, 1.0) == 0.25
    assert redial.tried == 0
    redial.linked(600.0)
    assert redial.dropped(SessionExpired(1001), 600.1, 0.0) == 0.0
    redial.linked(601.0)
    assert redial.dropped(SessionExpired(1001), 601.1, 0.0) is None


def test_policies_that_cannot_be_say_why() -> None:
    for options in ({"attempts": 0}, {"base": -1.0}, {"longest": float("inf")}, {"rotate_before": 0.0}):
        with pytest.raises(MisconfiguredError, match=next(iter(options))):
            ReconnectPolicy(**options)
