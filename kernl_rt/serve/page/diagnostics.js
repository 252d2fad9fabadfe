// `window.kernlRt`: what the page knows about itself, to look at in the browser's console and for tests. It only reads.
//
//   state, session, agent, reconnects          the call
//   framesSent, framesDropped, captureRate     the microphone: frames of 20 ms, the rate before resampling
//   samplesPlayed, samplesQueued, underruns,   the loudspeaker; samplesPlayed counts from the start of the connection
//   overflowed, playbackRate, outputRms        and outputRms is the level of the last 10 ms, 0 to 1
//   loudest                                    the highest outputRms of the page's life
//   cleared, lastClearToSilenceMs              how often the server said "clear"; how long the sound then went on
//   clears                                     of each: {at, rmsBefore, dropped, toSilenceMs, sinceSpeechMs}, the
//                                              last 50; sinceSpeechMs: from the human's first loud frame to silence
//   latencyMs, roundTripMs, transcript, tools, problems
//   log                                        the last 400 messages and states: {at, type, …}, `at` in epoch ms

const MOST = 400;
/** Softer than this is silence (-60 dB). */
export const SILENCE = 0.001;
/** A clear that is not followed by silence within this failed; the time until then is what is reported. */
const LONGEST_MS = 3_000;
/** A microphone louder than this, after a pause, is somebody who begins to speak. */
const LOUD = 0.03;
const PAUSE_MS = 500;
const FRAME_MS = 20;
/** Speech longer ago than this is not what was interrupted by. */
const RECENT_MS = 3_000;
/** What the log keeps of a message beside its type and time. */
const KEPT = {
  transcript: ["role", "final", "interrupted"],
  tool: ["name", "state"],
  status: ["status"],
  speech: ["speaking"],
  muted: ["muted"],
  error: ["code"],
};

export class Diagnostics {
  constructor(call, conversation) {
    this.call = call;
    this.conversation = conversation;
    this.report = { played: 0, queued: 0, underruns: 0, overflowed: 0 };
    this.loudest = 0;
    this.cleared = 0;
    this.clears = [];
    this.problems = [];
    this.log = [];
    this.loudAt = this.spokeAt = -Infinity;
    this.latencyMs = null;
    this.session = this.agent = null;
    call.addEventListener("state", ({ detail }) => this.became(detail));
    call.addEventListener("message", ({ detail }) => this.received(detail));
    call.addEventListener("report", ({ detail }) => this.reported(detail));
    call.addEventListener("frame", ({ detail }) => this.captured(detail.peak));
    call.addEventListener("clear", () => this.watchSilence());
    call.addEventListener("problem", ({ detail }) => this.keep(this.problems, detail.problem.code));
  }

  /** Called with every picture that is drawn. */
  look() {
    this.loudest = Math.max(this.loudest, this.outputRms);
  }

  get outputRms() {
    return this.call.speaker?.rms() ?? 0;
  }

  became(detail) {
    if (detail.state === "live") {
      this.report = { played: 0, queued: 0, underruns: 0, overflowed: 0 };
      ({ session: this.session, agent: this.agent } = detail);
    }
    this.note("state", detail);
  }

  received(message) {
    if (message.type === "latency") this.latencyMs = message.ms;
    const kept = Object.fromEntries((KEPT[message.type] ?? []).map((name) => [name, message[name]]));
    this.note(message.type, kept);
  }

  /** Find when the human last began to speak. */
  captured(peak) {
    if (peak < LOUD) return;
    const now = performance.now();
    if (now - this.loudAt > PAUSE_MS) this.spokeAt = now - FRAME_MS;
    this.loudAt = now;
  }

  reported({ type, played, queued, underruns, overflowed, dropped }) {
    this.report = { played, queued, underruns, overflowed };
    const last = this.clears.at(-1);
    if (type === "cleared" && last !== undefined) last.dropped = dropped;
  }

  /** Measure, at the way out to the device, how long sound goes on after a clear. */
  watchSilence() {
    const start = performance.now();
    const { spokeAt, outputRms: rmsBefore } = this;
    const at = performance.timeOrigin + start;
    const clear = { at, rmsBefore, dropped: null, toSilenceMs: null, sinceSpeechMs: null };
    this.cleared += 1;
    this.keep(this.clears, clear, 50);
    const channel = new MessageChannel(); // timers are rounded up to several milliseconds
    channel.port1.onmessage = () => {
      const passed = performance.now() - start;
      if (this.outputRms > SILENCE && passed < LONGEST_MS) {
        channel.port2.postMessage(null);
        return;
      }
      clear.toSilenceMs = passed;
      clear.sinceSpeechMs = start - spokeAt < RECENT_MS ? start + passed - spokeAt : null;
      channel.port1.close();
    };
    channel.port2.postMessage(null);
  }

  note(type, more) {
    this.keep(this.log, { at: performance.timeOrigin + performance.now(), type, ...more });
  }

  keep(list, value, most = MOST) {
    list.push(value);
    if (list.length > most) list.shift();
  }

  /** A plain picture of everything, as `window.kernlRt` and its `snapshot()` show it. */
  get view() {
    const { call, conversation } = this;
    const own = this;
    return {
      get state() { return call.state; },
      get session() { return own.session; },
      get agent() { return own.agent; },
      get reconnects() { return call.counts.reconnects; },
      get framesSent() { return call.framesSent; },
      get framesDropped() { return call.framesDropped; },
      get captureRate() { return call.microphone?.captureRate ?? null; },
      get playbackRate() { return call.speaker?.rate ?? null; },
      get samplesPlayed() { return own.report.played; },
      get samplesQueued() { return own.report.queued; },
      get underruns() { return own.report.underruns; },
      get overflowed() { return own.report.overflowed; },
      get outputRms() { return own.outputRms; },
      get loudest() { return own.loudest; },
      get cleared() { return own.cleared; },
      get clears() { return own.clears.map((clear) => ({ ...clear })); },
      get lastClearToSilenceMs() { return own.clears.at(-1)?.toSilenceMs ?? null; },
      get latencyMs() { return own.latencyMs; },
      get roundTripMs() { return call.link?.roundTripMs ?? null; },
      get transcript() { return conversation.said; },
      get tools() { return conversation.tools; },
      get problems() { return [...own.problems]; },
      get log() { return [...own.log]; },
      snapshot() { return { ...this }; },
    };
  }
}
