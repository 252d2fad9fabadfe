"""The page alone, in a real browser: what it shows, what it sends, and how it tells of what went wrong."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from browser.chrome import Page, launched, needs_chromium
from browser.stand_in import StandIn, page_files

pytestmark = [needs_chromium, pytest.mark.timeout(60)]

FRAME = 480
TONE = array("h", (int(9_000 * math.sin(index / 8)) for index in range(24_000)))
LONG = TONE * 15


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    with page_files() as url:
        yield url


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as found:
        yield found


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    with launched(playwright) as found:
        yield found


@pytest.fixture
def page(browser: Any, files: str) -> Iterator[Page]:
    found = Page(browser, files)
    yield found
    found.raw.close()
    assert found.errors == []


def called(page: Page, **ready: Any) -> StandIn:
    """A call that stands."""
    server = StandIn(page, **ready)
    page.press("Start talking")
    page.until("page.state === 'live'", 10)
    return server


# -- a call ---------------------------------------------------------------------------------------------------------


def test_a_call_begins_with_a_hello_sends_frames_of_20_ms_and_ends_with_a_bye(page: Page) -> None:
    server = called(page)
    page.until("page.framesSent >= 20", 5)
    server.until_loud(1_000)  # the fake microphone beeps
    page.press("Hang up")
    page.until("page.state === 'ended'", 5)
    server.until(lambda: server.texts("bye"))
    first, *_, last = server.texts()
    assert (first["type"], first["version"], first["input_rates"][0]) == ("hello", 1, 24_000)
    assert last == {"type": "bye"}
    assert {len(sound) for sound in server.sounds} == {FRAME}
    assert page.text("talk") == "Start talking"


def test_a_browser_that_cannot_resample_a_microphone_is_resampled_for(page: Page) -> None:
    page.raw.evaluate(
        """() => {
          const real = AudioContext.prototype.createMediaStreamSource;
          AudioContext.prototype.createMediaStreamSource = function (stream) {
            if (this.sampleRate === 24000) throw new DOMException("other rate", "NotSupportedError");
            return real.call(this, stream);
          };
        }"""
    )
    server = called(page)
    page.until("page.framesSent >= 60", 10)
    server.until_loud(1_000)
    assert page.know("page.captureRate") > 24_000
    assert {len(sound) for sound in server.sounds} == {FRAME}


def test_what_is_played_is_counted_and_a_clear_ends_it(page: Page) -> None:
    server = called(page)
    # Much longer than the clear can take on a machine that does other things too.
    server.play(LONG.tobytes())
    page.until("page.outputRms > 0.1", 5)
    page.until("page.samplesPlayed > 4800", 5)
    server.say("clear", clears=1)
    page.until("page.lastClearToSilenceMs !== null", 5)
    server.until(lambda: server.texts("played")[-1]["clears"] == 1)
    (clear,) = page.know("page.clears")
    reports = server.texts("played")
    samples = [report["samples"] for report in reports]
    assert samples == sorted(samples)
    assert clear["dropped"] > 0
    assert len(LONG) == samples[-1] + clear["dropped"]
    assert [report["clears"] for report in reports] == [0] * (len(reports) - 1) + [1]
    assert clear["rmsBefore"] > 0.1
    assert clear["toSilenceMs"] < 200
    # Every 50 ms, in whole quanta of 128 samples.
    assert max(after - before for before, after in pairwise(samples)) <= 1_280

    server.play(TONE[:2_400].tobytes())
    page.until(f"page.samplesPlayed === {samples[-1] + 2_400}", 5)
    server.until(lambda: server.texts("played")[-1]["samples"] == samples[-1] + 2_400)
    assert server.texts("played")[-1] == {"type": "played", "samples": samples[-1] + 2_400, "clears": 1}


def test_the_conversation_is_shown_as_it_grows(page: Page) -> None:
    server = called(page)
    said = {"item": "u1", "role": "user", "interrupted": False}
    server.say("transcript", **said, text="what is", final=False)
    page.until("page.transcript.length === 1", 5)
    assert page.raw.locator(".said.user.partial .text").inner_text().startswith("what is")
    server.say("transcript", **said, text="what is <b>this</b>", final=True)
    server.say("tool", call="c1", name="weather", arguments='{"city":"Paris"}', state="running")
    page.until("page.tools.length === 1", 5)
    assert page.raw.locator(".tool[data-state=running] .mark").inner_text() == "running …"
    server.say("tool", call="c1", name="weather", arguments='{"city":"Paris"}', state="done", result="sunny")
    answer = {"item": "a1", "role": "agent"}
    server.say("transcript", **answer, text="It is sunny in Paris today", final=False, interrupted=False)
    server.say("transcript", **answer, text="It is sunny", final=True, interrupted=True)
    server.say("latency", ms=321.4)
    page.until("page.latencyMs !== null", 5)
    assert page.raw.locator("#log > li").all_inner_texts() == [
        "You\nwhat is <b>this</b>",
        'done ✓\nweather(city: "Paris")\n\nsunny',
        "Watson\nIt is sunny in Paris todayinterrupted",
    ]
    assert page.raw.locator(".said.agent del").inner_text().strip() == "in Paris today"
    assert page.text("latency") == "321 ms"
    assert page.text("agent") == "Watson"


def test_words_stand_where_they_were_said_however_late_they_are_written_down(page: Page) -> None:
    server = called(page)
    server.say("speech", speaking=True)
    server.say("speech", speaking=False)
    server.say("speech", speaking=True)  # the first was a cough
    page.raw.locator(".said.user").wait_for()
    server.say("speech", speaking=False)
    server.say("tool", call="c1", name="weather", arguments="{}", state="running")
    page.until("page.tools.length === 1", 5)
    assert page.raw.locator("#log > li:visible").count() == 1
    server.say("transcript", role="user", item="u1", text="how is it", final=True, interrupted=False)
    server.say("transcript", role="user", item="u2", text="typed", final=True, interrupted=False)
    page.until("page.transcript.length === 2", 5)
    assert page.raw.locator("#log > li").all_inner_texts() == ["You\nhow is it", "running …\nweather()", "You\ntyped"]


def test_muted_means_not_sent(page: Page) -> None:
    server = called(page)
    page.until("page.framesSent > 5", 5)
    page.press("Mute")
    assert page.raw.locator("#mute").get_attribute("aria-pressed") == "true"
    sent = page.know("page.framesSent")
    page.raw.wait_for_timeout(200)
    assert page.know("page.framesSent") == sent
    server.until(lambda: server.texts("mute"))
    assert server.texts("mute") == [{"type": "mute", "muted": True}]
    page.press("Muted")
    page.until(f"page.framesSent > {sent}", 5)


# -- push-to-talk ---------------------------------------------------------------------------------------------------


def test_with_push_to_talk_sound_is_sent_only_while_the_key_is_down(page: Page) -> None:
    server = called(page, push_to_talk=True)
    page.raw.wait_for_timeout(200)
    assert page.know("page.framesSent") == 0
    page.raw.keyboard.down("Space")
    page.until("page.framesSent >= 10", 5)
    sent = page.raw.evaluate(
        """() => {
          const sent = window.kernlRt.framesSent;
          window.dispatchEvent(new KeyboardEvent("keyup", { code: "Space" }));
          return sent;
        }"""
    )
    server.until(lambda: len(server.texts("talk")) == 2)
    page.raw.wait_for_timeout(300)  # nothing comes after it
    kinds = ["sound" if isinstance(it, bytes) else it["type"] for it in server.heard]
    told = [it for it in server.heard if isinstance(it, dict) and it["type"] == "talk"]
    assert [it["pressed"] for it in told] == [True, False]
    first, last = kinds.index("talk"), len(kinds) - 1 - kinds[::-1].index("talk")
    assert "sound" not in kinds[:first] + kinds[last:]
    # The frame that was being recorded when the key went up holds the end of the last word.
    assert kinds[first:last].count("sound") == sent + 1


def test_the_button_is_held_like_the_key_and_a_space_in_a_message_is_a_space(page: Page) -> None:
    server = called(page, push_to_talk=True)
    page.raw.hover("#hold")
    page.raw.mouse.down()
    page.until("page.framesSent >= 5", 5)
    page.raw.mouse.up()
    page.raw.focus("#message")
    page.raw.keyboard.type("two words")
    page.raw.keyboard.press("Enter")
    server.until(lambda: server.texts("text") and len(server.texts("talk")) == 2)
    assert [it["pressed"] for it in server.texts("talk")] == [True, False]
    assert server.texts("text") == [{"type": "text", "text": "two words"}]


def test_ones_own_push_to_talk_sends_silence_so_that_turns_still_end(page: Page) -> None:
    server = called(page)
    page.raw.locator("summary").click()
    page.raw.check("#hold-mode")
    page.raw.wait_for_timeout(100)
    before = len(server.sounds)
    page.raw.wait_for_timeout(1_200)  # the fake microphone beeps every second
    quiet = server.sounds[before:]
    assert len(quiet) > 30
    assert not any(any(sound) for sound in quiet)
    assert server.texts("talk") == []


# -- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "title"),
    [(503, "All lines are busy"), (403, "The server refused the call"), (500, "The server does not answer")],
)
def test_a_call_that_is_not_taken_says_why_and_can_be_tried_again(page: Page, status: int, title: str) -> None:
    server = StandIn(page, token_status=status)
    page.press("Start talking")
    page.until("page.problems.length > 0", 10)
    assert page.text("problem-title") == title
    assert page.text("talk") == "Start talking"
    server.token_status = 200
    page.press("Try again")
    page.until("page.state === 'live'", 10)
    assert not page.visible("problem")


def test_an_unplugged_microphone_is_told_and_taken_again(page: Page) -> None:
    page.raw.evaluate(
        """() => {
          const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = async (wanted) => (window.given = await real(wanted));
        }"""
    )
    called(page)
    page.until("page.framesSent > 3", 5)
    page.raw.evaluate(
        "() => { const [track] = given.getTracks(); track.stop(); track.dispatchEvent(new Event('ended')); }"
    )
    page.until("page.problems.includes('unplugged')", 5)
    assert page.text("problem-title") == "The microphone was unplugged"
    page.raw.wait_for_timeout(100)
    sent = page.know("page.framesSent")
    page.press("Use the microphone again")
    page.until(f"page.framesSent > {sent + 10}", 5)
    assert not page.visible("problem")


def test_hanging_up_lets_go_of_the_microphone(page: Page) -> None:
    page.raw.evaluate(
        """() => {
          const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = async (wanted) => (window.given = await real(wanted));
        }"""
    )
    called(page)
    page.press("Hang up")
    assert page.raw.evaluate("() => given.getTracks().map((track) => track.readyState)") == ["ended"]


def test_a_server_that_hangs_up_in_good_order_is_not_called_again(page: Page) -> None:
    server = called(page)
    server.hang_up(1000)
    page.until("page.state === 'ended'", 5)
    page.raw.wait_for_timeout(300)
    assert page.know("page.state") == "ended"
    assert not page.visible("problem")


def test_a_server_that_gives_a_call_up_is_not_called_again_but_told(page: Page) -> None:
    server = called(page)
    server.hang_up(1011)
    page.until("page.problems.includes('failed')", 5)
    assert page.text("problem-title") == "The call ended with an error"


def test_a_page_that_is_not_secure_says_so(playwright: Any, files: str) -> None:
    with launched(playwright, "--host-resolver-rules=MAP elsewhere.test 127.0.0.1") as browser:
        page = Page(browser, files.replace("127.0.0.1", "elsewhere.test"))
        assert page.text("problem-title") == "This page is not secure"


def test_a_machine_without_a_microphone_says_so(playwright: Any, files: str) -> None:
    with launched(playwright, device=False) as browser:
        page = Page(browser, files)
        StandIn(page)
        page.press("Start talking")
        page.until("page.problems.length > 0", 10)
        assert page.text("problem-title") == "No microphone found"
        page.press("Type instead")
        page.until("page.state === 'live'", 10)
