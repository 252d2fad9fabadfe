"""Any client, sound or mad: the engine never raises, and its promises hold."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from kernl_rt.simulator import Faults, Listening, Pace, Reply, Thinking, ToolCall
from kernl_rt.simulator._requests import VOICES
from tests.simulator.driver import Talk, b64, silence, tone
from tests.simulator.strict import check_client_frame, check_server_frame
from tests.simulator.test_frames import WEATHER
from tests.simulator.test_refusals import REFUSED

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
#: Small sets of ids, so that requests meet items that exist.
ITEM_IDS = st.sampled_from(["a", "b", "c", "nobody"])
TYPES = st.sampled_from(
    [
        *("session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear"),
        *("conversation.item.create", "conversation.item.retrieve", "conversation.item.truncate"),
        *("conversation.item.delete", "response.create", "response.cancel", "output_audio_buffer.clear", "nonsense"),
    ]
)


def _typed(type: str, **fields: Any) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"type": st.just(type)}, optional=fields)


DETECTION = st.none() | st.fixed_dictionaries(
    {"type": st.just("server_vad")},
    optional={
        "create_response": st.booleans(),
        "interrupt_response": st.booleans(),
        "threshold": st.floats(0, 1),
        "idle_timeout_ms": st.none() | st.integers(5_000, 6_000),
    },
)
FORMAT = st.sampled_from([{"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}])
SESSION = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "instructions": st.text(max_size=5),
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "tools": st.sampled_from([[], [WEATHER]]),
        "max_output_tokens": st.sampled_from([1, 5, "inf"]),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {},
                    optional={
                        "turn_detection": DETECTION,
                        "format": FORMAT,
                        "transcription": st.sampled_from([None, {"model": "whisper-1"}]),
                    },
                ),
                "output": st.fixed_dictionaries({}, optional={"format": FORMAT, "voice": st.sampled_from(VOICES)}),
            },
        ),
    },
)
MESSAGE = st.fixed_dictionaries(
    {
        "type": st.just("message"),
        "role": st.just("user"),
        "content": st.lists(
            st.sampled_from(
                [{"type": "input_text", "text": "hi"}, {"type": "input_audio", "audio": b64(silence(0.1))}]
            ),
            max_size=2,
        ),
    },
    optional={"id": ITEM_IDS},
)
OUTPUT = st.fixed_dictionaries(
    {
        "type": st.just("function_call_output"),
        "call_id": st.sampled_from(["known", "other"]),
        "output": st.text(max_size=3),
    }
)
CALL = st.just({"type": "function_call", "name": "get_weather", "arguments": "{}", "call_id": "known"})
RESPONSE = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.sampled_from(["none", "auto"]),
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "max_output_tokens": st.sampled_from([1, 3, "inf"]),
        "metadata": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        "input": st.lists(
            MESSAGE | st.fixed_dictionaries({"type": st.just("item_reference"), "id": ITEM_IDS}), max_size=2
        ),
    },
)
SOUND = st.sampled_from([b64(sound) for sound in (silence(0.5), tone(0.3), tone(0.05), b"\0", b"")])
SOUND_TURN = b64(silence(0.2) + tone(0.4) + silence(0.5))
VALID = st.one_of(
    _typed("session.update", session=SESSION),
    st.builds(lambda audio: {"type": "input_audio_buffer.append", "audio": audio}, SOUND | st.just(SOUND_TURN)),
    _typed("input_audio_buffer.commit"),
    _typed("input_audio_buffer.clear"),
    st.builds(
        lambda item, after: {"type": "conversation.item.create", "item": item, **after},
        MESSAGE | CALL | OUTPUT,
        st.fixed_dictionaries({}, optional={"previous_item_id": ITEM_IDS | st.just("root")}),
    ),
    st.builds(
        lambda type, id: {"type": f"conversation.item.{type}", "item_id": id},
        st.sampled_from(["retrieve", "delete"]),
        ITEM_IDS,
    ),
    _typed("response.create", response=RESPONSE),
    _typed("response.create"),
    _typed("response.cancel"),
)
#: What the test does besides sending: let time pass, answer or fail a job, truncate the newest spoken item.
ACTIONS = st.one_of(
    st.tuples(st.just("send"), VALID),
    st.tuples(st.just("send"), VALID),
    st.tuples(st.just("send"), JSON),
    st.tuples(
        st.just("send"),
        st.builds(
            lambda type, more: {**more, "type": type}, TYPES, st.dictionaries(st.text(max_size=8), JSON, max_size=3)
        ),
    ),
    st.tuples(st.just("send"), st.sampled_from([frame for frame, _, _ in REFUSED if len(str(frame)) < 10_000])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.05, 0.3, 2.0, 10.0])),
    st.tuples(st.just("work"), st.sampled_from(["text", "calls", "both", "nothing", "fail"])),
    st.tuples(st.just("truncate"), st.integers(0, 400)),
)
REPLIES = {
    "text": Reply("Some words that are said."),
    "calls": Reply(tool_calls=[ToolCall("get_weather"), ToolCall("get_weather", "{")]),
    "both": Reply("Words.", [ToolCall("get_weather", {"city": "Paris"})]),
    "nothing": Reply(),
}


class _Watched(Talk):
    """A talk that answers jobs only when told, and checks the promises at each frame."""

    def __init__(self, **options: Any) -> None:
        self.jobs: list[Thinking | Listening] = []
        self.active: set[str] = set()
        self.created: dict[str, bool] = {}
        self.done: set[str] = set()
        self.seen: set[str] = set()
        super().__init__(on_frame=self.check, **options)

    def work(self) -> None:
        self.jobs += self.engine.jobs()

    def answer(self, how: str) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            if isinstance(job, Listening):
                if how == "fail":
                    self.engine.fail_words(job.item_id, "deaf", self.now)
                else:
                    self.engine.words(job.item_id, "hello", self.now)
            elif how == "fail":
                self.engine.fail_reply(job.response_id, "mad", self.now)
            else:
                reply = REPLIES[how]
                audio = silence(0.4) if job.spoken and reply.text else None
                self.engine.reply(job.response_id, Reply(reply.text, reply.tool_calls, audio), self.now)
        self._settle()

    def truncate(self, end: int) -> None:
        added = [f for f in self.frames if f["type"] == "response.output_item.added"]
        if added:
            fields = {"item_id": added[-1]["item"]["id"], "content_index": 0, "audio_end_ms": end}
            self.send("conversation.item.truncate", **fields)

    def check(self, frame: dict[str, Any]) -> None:
        check_server_frame(frame)
        assert frame["event_id"] not in self.seen, "an event id came twice"
        self.seen.add(frame["event_id"])
        if frame["type"] == "response.created":
            shown = frame["response"]
            assert shown["id"] not in self.created
            self.created[shown["id"]] = shown["conversation_id"] is not None
            if shown["conversation_id"] is not None:
                assert not self.active, "two replies in the conversation"
                self.active.add(shown["id"])
        elif frame["type"] == "response.done":
            id = frame["response"]["id"]
            assert id in self.created
            assert id not in self.done, "a reply ended twice"
            assert frame["response"]["status"] in ("completed", "cancelled", "incomplete", "failed")
            self.done.add(id)
            self.active.discard(id)
        elif "response_id" in frame:
            assert frame["response_id"] in self.created, "a frame of a reply before its beginning"
            assert frame["response_id"] not in self.done, "a frame of a reply after its end"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(ACTIONS, max_size=30),
    st.builds(
        lambda races, failing, delay: {"lost_races": races, "failing_replies": failing, "created_delay": delay},
        st.integers(0, 2),
        st.integers(0, 2),
        st.sampled_from([0.0, 0.0, 0.5]),
    ),
)
def test_no_client_breaks_the_engine(actions: list[tuple[str, Any]], faults: dict[str, Any]) -> None:
    talk = _Watched(faults=Faults(**faults), rate_limits=True, pace=Pace(speed=2.0, chunk_ms=100))
    for verb, value in actions:
        if verb == "send":
            talk.give(value)
        elif verb == "wait":
            talk.wait(value)
        elif verb == "work":
            talk.answer(value)
        else:
            talk.truncate(value)
        assert talk.engine.pending == 0
        deadline = talk.engine.deadline
        assert deadline is not None
        assert deadline > talk.now, "a deadline that has passed would spin"
    for _ in range(6):
        talk.wait(10)
        talk.answer("text")
    talk.send("response.cancel")
    for id in set(talk.created) - talk.done:
        talk.send("response.cancel", response_id=id)
    assert set(talk.created) == talk.done, "each response.created has its response.done"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALID)
def test_what_is_accepted_is_what_the_official_types_declare(frame: dict[str, Any]) -> None:
    talk = Talk()
    new = talk.give(frame)
    refused = [f["error"] for f in new if f["type"] == "error"]
    if "item_reference" in str(frame):
        return  # documented, and accepted by the service; this union of the types leaves it out
    if not any(
        error["code"] in ("invalid_value", "missing_required_parameter", "unknown_parameter") for error in refused
    ):
        check_client_frame(frame)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TYPES, st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=3))
def test_garbage_is_refused_and_costs_one_frame(type: str, more: dict[str, Any]) -> None:
    known = {"type", "event_id", "response", "response_id", "session", "item", "audio", "previous_item_id"}
    talk = Talk()
    garbage = {**{name: value for name, value in more.items() if name not in known}, "bogus": 1, "type": type}
    [frame] = talk.give(garbage)
    assert frame["type"] == "error"
