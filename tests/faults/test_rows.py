"""The list of faults and the list of promises, row by row: which test proves what, and that none is forgotten.

A test that is called ``test_fault_07_…`` proves row 7, ``test_promise_11_…`` promise 11; a name may hold several
(``test_fault_14_16_…``). The rows and promises themselves are in :data:`ROWS` and :data:`PROMISES`, in one line each.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path
from typing import Literal

import pytest

TESTS = Path(__file__).resolve().parents[1]

ROWS: dict[int, str] = {
    1: "reset in the middle of a frame",
    2: "half-open: the peer is silent",
    3: "close 1000 in the middle of a reply",
    4: "close 1001 at the maximum duration",
    5: "close 1008",
    6: "close 1011",
    7: "close 4xxx",
    8: "a close frame, and the connection stays open",
    9: "TLS failures",
    10: "DNS failure, refused, unreachable",
    11: "a handshake of one byte a second",
    12: "a slow uplink",
    13: "segments of one byte",
    14: "garbage instead of frames",
    15: "an unknown type",
    16: "a missing field, a wrong type, an absurd number",
    17: "invalid UTF-8",
    18: "50 MB in one frame, a deflate bomb",
    19: "the same event, the same call twice",
    20: "events out of order",
    21: "sound after our cancel",
    22: "races that are no faults",
    23: "a tool raises",
    24: "a tool hangs",
    25: "a tool ignores cancellation",
    26: "a tool returns what is no text",
    27: "an unknown tool, arguments that do not fit",
    28: "an MCP server dies, hangs, changes",
    29: "a listener raises",
    30: "a listener blocks",
    31: "an iterator is abandoned; two at once",
    32: "cancelling at every checkpoint",
    33: "the channel raises",
    34: "the channel is slow",
    35: "the human leaves while a tool runs",
    36: "the channel never starts, or is used too early",
    37: "close twice, from a listener, from a tool",
    38: "close before connect, connect twice, use after close",
    39: "close while connecting",
    40: "401 and 403",
    41: "429 and an empty account",
    42: "the session expires in the middle of a tool",
    43: "a thousand sessions reconnect at once",
    44: "a provider that comes and goes",
    45: "the wall clock jumps; the machine sleeps",
    46: "a fork with a live session",
    47: "Ctrl-C and SIGTERM",
    48: "no space, no file descriptors",
    49: "the interpreter ends with an open session",
}

PROMISES: dict[int, str] = {
    1: "no task outlives the session",
    2: "closed comes once, and last",
    3: "close is bounded",
    4: "cancelling anywhere releases everything",
    5: "cancellation is never swallowed",
    6: "a reply is told in order",
    7: "one reply at a time, none lost, none doubled",
    8: "every call has exactly one outcome",
    9: "a call id runs at most once",
    10: "whatever a tool does, sound flows",
    11: "nothing is heard after an interruption",
    12: "truncation is honest",
    13: "the microphone's lane is bounded",
    14: "the speaker's lane is bounded, and never waited for",
    15: "consumers cost bounded memory",
    16: "a listener that fails or blocks harms nobody",
    17: "no bytes crash the session",
    18: "what is too large is refused",
    19: "a dead peer is noticed",
    20: "reconnecting is patient, and ends",
    21: "no call dies of its age",
    22: "whole frames, in order",
    23: "connecting is bounded and atomic",
    24: "errors come out bare",
    25: "a secret is shown nowhere",
    26: "memory is flat",
    27: "SIGTERM drains",
    28: "both backends behave the same",
    29: "time is monotonic",
}

#: Rows that no test covers, with the reason. Small, and shrinking.
LEFT_OUT: dict[int, str] = {}

#: Rows that are proven by tests of other names.
COVERED_BY: dict[int, tuple[str, ...]] = {
    32: ("sweep/test_real_session.py::test_cancelled_at_every_step",),
}

#: Promises that are proven by tests of other names.
PROVED_BY: dict[int, tuple[str, ...]] = {
    1: (
        "session/test_ending.py::test_cancelling_leaves_nothing",
        "faults/test_tools.py::test_fault_35_the_human_hangs_up_while_a_tool_runs",
    ),
    2: (
        "session/test_ending.py::test_closed_is_the_last_event_and_comes_once",
        "faults/test_channel.py::test_fault_33_both_ends_fail_at_once",
    ),
    4: ("sweep/test_real_session.py::test_cancelled_at_every_step",),
    5: ("sweep/test_real_session.py::test_cancelled_at_every_step", "sweep/test_planted_bugs.py::test_it_is_found"),
    8: (
        "property/test_traces.py::test_a_live_session_tells_a_legal_conversation_legally",
        "faults/test_tools.py::test_fault_27_arguments_that_do_not_fit_run_no_code",
    ),
    10: ("faults/test_tools.py::test_fault_24_sound_flows_both_ways_meanwhile",),
    16: (
        "faults/test_bad_listeners.py::test_fault_29_a_listener_that_raises_harms_nobody",
        "faults/test_bad_listeners.py::test_fault_30_a_listener_that_blocks",
    ),
    17: (
        "fuzz/test_fuzz.py::test_fault_16_no_frame_breaks_a_reader",
        "faults/test_events.py::test_fault_16_a_misshapen_frame_is_one_error",
    ),
    20: (
        "faults/test_storm.py::test_fault_43_a_thousand_sessions_come_back_without_a_stampede",
        "faults/test_storm.py::test_fault_44_a_flapping_provider_is_given_up_after_five_dials",
        "faults/test_storm.py::test_fault_44_a_link_that_held_half_a_minute_fills_the_budget",
        "faults/test_link.py::test_fault_07_a_code_of_the_providers_own_is_the_end",
    ),
    23: (
        "session/test_session.py::test_a_silent_provider_times_out",
        "transport/test_connect.py::test_no_descriptors_left",
        "faults/test_channel.py::test_fault_36_a_channel_that_never_opens",
    ),
    24: (
        "session/test_ending.py::test_the_bodys_own_error_comes_out_bare",
        "session/test_ending.py::test_the_failure_itself_is_raised_and_not_what_it_did_to_a_command",
    ),
}


def numbers_in(name: str, what: Literal["fault", "promise"]) -> set[int]:
    """Which rows, or promises, a test of this name claims."""
    groups = re.findall(rf"(?:^|_)({what}(?:_\d{{2}}(?!\d))+)(?=_|$)", name)
    return {int(number) for group in groups for number in re.findall(r"\d{2}", group)}


@functools.cache
def names_by_file() -> dict[str, frozenset[str]]:
    """The names of the test functions and test classes of each file, read and not run."""
    found: dict[str, frozenset[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        names = frozenset(node.name for node in nodes if node.name.startswith("test_"))
        found[path.relative_to(TESTS).as_posix()] = names
    return found


def claimed(what: Literal["fault", "promise"]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for file, names in names_by_file().items():
        for name in sorted(names):
            for number in numbers_in(name, what):
                found[number].append(f"{file}::{name}")
    return found


def test_every_fault_is_covered_or_left_out_with_a_reason() -> None:
    covered = {*claimed("fault"), *COVERED_BY}
    forgotten = {number: text for number, text in ROWS.items() if number not in covered and number not in LEFT_OUT}
    assert not forgotten, f"no test_fault_NN_ for {forgotten}"


def test_what_is_left_out_is_not_covered_after_all() -> None:
    assert not set(LEFT_OUT) & {*claimed("fault"), *COVERED_BY}, (
        "a row that has a test is not left out: take it off the list"
    )
    assert all(len(reason) > 20 for reason in LEFT_OUT.values()), "a reason is a sentence"


@pytest.mark.parametrize(("what", "known"), [("fault", ROWS), ("promise", PROMISES)])
def test_no_test_claims_what_does_not_exist(what: Literal["fault", "promise"], known: dict[int, str]) -> None:
    strange = {number: names for number, names in claimed(what).items() if number not in known}
    assert not strange


def test_every_promise_has_its_proof() -> None:
    named = set(claimed("promise"))
    forgotten = {number: text for number, text in PROMISES.items() if number not in named and number not in PROVED_BY}
    assert not forgotten, f"no test_promise_NN_, nor an entry in PROVED_BY, for {forgotten}"


@pytest.mark.parametrize("proof", [p for proofs in (COVERED_BY, PROVED_BY) for each in proofs.values() for p in each])
def test_a_proof_exists(proof: str) -> None:
    file, _, name = proof.partition("::")
    assert name in names_by_file().get(file, ()), f"there is no {proof}"


def test_the_lists_are_whole() -> None:
    assert list(ROWS) == list(range(1, 50))
    assert list(PROMISES) == list(range(1, 30))


@pytest.mark.parametrize(
    ("name", "faults", "promises"),
    [
        ("test_fault_07_close", {7}, set()),
        ("test_fault_14_16_garbage", {14, 16}, set()),
        ("test_promise_18_fault_18_fifty_megabytes", {18}, {18}),
        ("test_promise_11_after_20_ms", set(), {11}),
        ("test_default_01_of_three", set(), set()),
        ("test_fault_100_sessions", set(), set()),
        ("test_fault_7_close", set(), set()),
    ],
)
def test_names_are_read_rightly(name: str, faults: set[int], promises: set[int]) -> None:
    assert numbers_in(name, "fault") == faults
    assert numbers_in(name, "promise") == promises
