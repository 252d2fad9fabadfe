"""The page's two pure pieces of the audio thread, run in the browser that will run them, without any audio device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser.chrome import chromium, needs_chromium
from browser.stand_in import page_files

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with page_files() as url, chromium() as browser:
        found = browser.new_page()
        found.goto(f"{url}icon.svg")
        yield found


def run(page: Any, module: str, body: str, argument: object = None) -> Any:
    return page.evaluate(f"async (given) => {{ const its = await import('/{module}'); {body} }}", argument)


RING = """
const ring = new its.PlaybackRing(given?.capacity ?? 1000, 24000);
const out = new Float32Array(128);
const push = (count) => ring.push(new Int16Array(count).fill(1000));
"""


def test_what_is_pulled_is_what_was_pushed_across_the_end_of_the_ring(page: Any) -> None:
    wrong = run(
        page,
        "playback-worklet.js",
        RING
        + """
        let next = 1, expected = 1, wrong = 0;
        for (let round = 0; round < 200; round += 1) {
          const count = 37 + (round * 53) % 90;
          const sound = Int16Array.from({ length: count }, () => (next += 7) % 30000);
          ring.push(sound);
          const room = new Float32Array(count);
          if (ring.pull(room) !== count) wrong += 1;
          for (let index = 0; index < count; index += 1) {
            expected += 7;
            if (Math.round(room[index] * 32768) !== expected % 30000) wrong += 1;
          }
        }
        return wrong;""",
        {"capacity": 256},
    )
    assert wrong == 0


def test_a_clear_drops_everything_and_counts_none_of_it(page: Any) -> None:
    found = run(
        page,
        "playback-worklet.js",
        RING
        + """
        push(600);
        ring.pull(out);
        const dropped = ring.clear();
        const after = ring.pull(out);
        const level = Math.max(...[...out.slice(100)].map(Math.abs));
        const later = ring.pull(out);
        return [dropped, ring.queued, after, later, ring.played, level, Math.max(...out.map(Math.abs))];""",
    )
    dropped, queued, after, later, played, tail, silence = found
    assert (dropped, queued, after, later, played) == (472, 0, 0, 0, 128)
    # The last sample fades away, so that no click is heard, within 4 ms.
    assert tail < 0.001
    assert silence == 0


def test_the_ring_is_bounded_and_says_what_it_refused(page: Any) -> None:
    found = run(page, "playback-worklet.js", RING + "return [push(900), push(300), ring.queued, ring.overflowed];")
    assert found == [0, 200, 1000, 200]


def test_counts_never_run_backwards_and_always_add_up(page: Any) -> None:
    assert (
        run(
            page,
            "playback-worklet.js",
            RING
            + """
        let seed = 1, pushed = 0, dropped = 0, before = 0;
        const chance = (limit) => (seed = (seed * 48271) % 2147483647) % limit;
        for (let round = 0; round < 20000; round += 1) {
          const what = chance(10);
          if (what < 4) { const count = chance(400); pushed += count; push(count); }
          else if (what < 9) ring.pull(out.subarray(0, 1 + chance(128)));
          else dropped += ring.clear();
          if (ring.played < before || ring.queued < 0 || ring.queued > 1000) return `ran backwards in ${round}`;
          if (pushed !== ring.played + ring.queued + dropped + ring.overflowed) return `lost in ${round}`;
          before = ring.played;
        }
        return before > 0;""",
        )
        is True
    )


def test_a_short_gap_is_an_underrun_and_a_pause_is_none(page: Any) -> None:
    found = run(
        page,
        "playback-worklet.js",
        RING
        + """
        const counts = [];
        const pass = (count) => { for (let index = 0; index < count; index += 1) ring.pull(out); };
        push(128); pass(1); push(128); counts.push(ring.underruns);   // in time
        pass(3); push(128); counts.push(ring.underruns);              // 10 ms late
        pass(100); push(128); counts.push(ring.underruns);            // half a second: another reply
        pass(3); ring.clear(); push(128); counts.push(ring.underruns); // the human interrupted
        return counts;""",
    )
    assert found == [0, 1, 1, 1]


def test_another_connection_counts_from_zero(page: Any) -> None:
    found = run(
        page,
        "playback-worklet.js",
        RING + "push(600); ring.pull(out); ring.reset(); return [ring.played, ring.queued, ring.pull(out)];",
    )
    assert found == [0, 0, 0]


RESAMPLED = """
const { from, to, tone, chunk } = given;
const resampler = new its.Resampler(from, to);
const output = [];
for (let start = 0; start < from; start += chunk) {
  const input = Float32Array.from({ length: Math.min(chunk, from - start) },
    (_, index) => 0.5 * Math.sin(2 * Math.PI * tone * (start + index) / from));
  output.push(...resampler.push(input));
}
"""


@pytest.mark.parametrize("rate", [44_100, 48_000, 16_000])
def test_a_tone_comes_out_of_the_resampler_as_the_same_tone(page: Any, rate: int) -> None:
    length, error = run(
        page,
        "capture-worklet.js",
        RESAMPLED
        + """
        let worst = 0;
        for (let index = 200; index < output.length; index += 1) {
          worst = Math.max(worst, Math.abs(output[index] - 0.5 * Math.sin(2 * Math.PI * tone * index / to)));
        }
        return [output.length, worst];""",
        {"from": rate, "to": 24_000, "tone": 1_000, "chunk": 128},
    )
    assert 23_900 < length <= 24_000
    assert error < 0.002


def test_what_is_above_the_new_nyquist_frequency_is_gone(page: Any) -> None:
    loudest = run(
        page,
        "capture-worklet.js",
        RESAMPLED + "return Math.max(...output.slice(200).map(Math.abs));",
        {"from": 48_000, "to": 24_000, "tone": 14_000, "chunk": 128},
    )
    assert loudest < 0.001


def test_the_borders_between_pieces_leave_no_trace(page: Any) -> None:
    whole, pieces = (
        run(
            page,
            "capture-worklet.js",
            RESAMPLED + "return output.slice(0, 20000);",
            {"from": 44_100, "to": 24_000, "tone": 700, "chunk": chunk},
        )
        for chunk in (44_100, 97)
    )
    assert max(abs(one - other) for one, other in zip(whole, pieces, strict=True)) < 1e-5


def test_frames_have_one_size_and_are_never_louder_than_full_scale(page: Any) -> None:
    found = run(
        page,
        "capture-worklet.js",
        """
        const framer = new its.Framer(480);
        const frames = [];
        for (let round = 0; round < 10; round += 1) frames.push(...framer.push(new Float32Array(128).fill(2)));
        return [frames.length, frames.map((frame) => frame.samples.length), frames[1].samples[479], frames[1].rms];""",
    )
    assert found == [2, [480, 480], 32767, 1]
