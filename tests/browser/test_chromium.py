"""A real browser talks to ``kernl-rt serve``: real sound in, real sound out, real time.

The human is a WAV file of synthetic speech in Chromium's fake microphone; the model is the simulator, which recognises
the words. What the page plays is measured by the page itself, at the way out to the sound device.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser.chrome import Page, chromium, microphone, needs_chromium
from browser.serving import Server

from kernl_rt.simulator import EspeakVoice, GrammarEars

pytestmark = [needs_chromium, pytest.mark.usefixtures("real_clock"), pytest.mark.timeout(120)]

needs_speech = pytest.mark.skipif(
    not (EspeakVoice.installed() and GrammarEars.installed()), reason="no espeak-ng or pocketsphinx on this machine"
)

QUESTION = "what is the weather in paris"
STORY = "tell me a story"
BARGE_IN = "set a timer for ten minutes"
#: The limit for silence after an interruption, in milliseconds.
SILENT_WITHIN = 200
#: Louder than this at the way out is speech; digital silence is 0.
AUDIBLE = 0.02
#: Where ``nox -s browser -- screenshot`` wants its picture.
SCREENSHOT = os.environ.get("KERNL_RT_SCREENSHOT")


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("microphone") / "caller.wav"
    microphone(path, 2.5, QUESTION, 7.5, STORY, 4.0, BARGE_IN, 3.0)
    return path


@needs_speech
def test_a_spoken_conversation_with_a_tool_and_an_interruption(backend: str, caller: Path) -> None:
    if backend == "trio" and "KERNL_RT_BROWSER" not in os.environ:
        pytest.skip("half a minute of speech in real time: both backends are heard in `nox -s browser`")
    with Server(backend) as server, chromium(hears=caller) as browser:
        page = Page(browser, server.url, height=840)
        # The browser's echo cancellation is made for rooms: it would bend the words of a file.
        page.raw.locator("summary").click()
        page.raw.uncheck("#processing")
        page.raw.locator("summary").click()
        page.press("Start talking")
        page.until("page.state === 'live'", 10)

        page.until(f"page.transcript.some((it) => it.role === 'user' && it.final && it.text === '{QUESTION}')", 15)
        tool = page.until("page.tools.find((it) => it.name === 'weather' && it.state === 'done')", 10)
        assert "Paris" in tool["result"]
        assert page.raw.locator(".tool[data-state=done] code").inner_text() == 'weather(city: "Paris")'
        page.until("page.transcript.some((it) => it.role === 'agent' && it.text.includes('sunny'))", 10)
        page.until(f"page.loudest > {AUDIBLE} && page.samplesPlayed > 12000", 10)
        assert page.know("page.latencyMs") is not None

        # The story is long; the next words of the file come while it is being told.
        page.until(f"page.transcript.some((it) => it.role === 'user' && it.text === '{STORY}')", 20)
        before = page.know("page.cleared")
        page.until(f"page.cleared > {before} && page.lastClearToSilenceMs !== null", 15)
        clear = page.know("page.clears.at(-1)")
        assert clear["dropped"] > 0, "the agent had nothing more to say: nothing was proved"
        assert clear["toSilenceMs"] < SILENT_WITHIN
        # All of it: capture, network, the model's detector, the session, network, playback.
        assert 0 < clear["sinceSpeechMs"] < 2 * SILENT_WITHIN
        page.until("page.transcript.some((it) => it.role === 'agent' && it.interrupted)", 5)
        page.until(f"page.transcript.some((it) => it.role === 'user' && it.text === '{BARGE_IN}')", 10)
        assert page.know("[page.overflowed, page.framesDropped, page.problems.length]") == [0, 0, 0]
        assert page.visible("problem") is False
        if SCREENSHOT is not None:
            page.raw.screenshot(path=SCREENSHOT)
        print({name: page.state()[name] for name in ("clears", "latencyMs", "roundTripMs", "underruns", "framesSent")})

        page.press("Hang up")
        assert page.text("state") == "Call ended"
        server.until_idle(5)
        assert page.errors == []


def test_what_is_typed_is_answered_aloud(backend: str) -> None:
    with Server(backend) as server, chromium() as browser:
        page = Page(browser, server.url)
        page.press("Start talking")
        page.until("page.state === 'live'", 10)
        page.press("Mute")
        page.until("page.log.some((it) => it.type === 'muted')", 5)
        page.raw.fill("#message", "tell me a story")
        page.press("Send")
        page.until(f"page.loudest > {AUDIBLE} && page.samplesPlayed > 12000", 15)
        page.press("Interrupt")
        page.until("page.cleared === 1 && page.lastClearToSilenceMs !== null", 5)
        assert page.know("page.lastClearToSilenceMs") < SILENT_WITHIN
        page.press("Hang up")
        server.until_idle(5)
        assert page.errors == []


def test_a_refused_microphone_is_explained_and_one_may_type_instead(backend: str) -> None:
    with Server(backend) as server, chromium(allowed=False) as browser:
        page = Page(browser, server.url)
        page.press("Start talking")
        page.until("page.problems.length > 0", 10)
        assert page.text("problem-title") == "The microphone was refused"
        assert server.health()["live"] == 0
        page.press("Type instead")
        page.until("page.state === 'live'", 10)
        assert page.visible("problem") is False
        assert page.know("page.framesSent") == 0
        assert page.errors == []


def test_a_lost_server_is_called_again(backend: str) -> None:
    with Server(backend) as first, chromium() as browser:
        page = Page(browser, first.url)
        page.press("Start talking")
        page.until("page.state === 'live' && page.framesSent > 5", 10)
        first.kill()
        page.until("page.state === 'reconnecting'", 10)
        assert "reconnecting" in page.text("state")
        page.until("page.log.filter((it) => it.type === 'state' && it.state === 'reconnecting').length >= 4", 10)
        with Server(backend, port=first.port) as second:
            sent = page.know("page.framesSent")
            # What the browser says when the network is back; the wait before the next attempt is then over.
            page.raw.evaluate("() => window.dispatchEvent(new Event('online'))")
            page.until("page.state === 'live'", 20)
            page.until(f"page.framesSent > {sent + 5}", 5)
            assert page.know("page.reconnects") == 1
            assert page.text("state") == "Connected"
            assert second.health()["live"] == 1
            page.press("Hang up")
            second.until_idle(5)
        assert page.errors == []
