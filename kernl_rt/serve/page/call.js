// A call from "talk" to "hang up": microphone, link and loudspeaker together, and calling again when the link is lost.
// It knows no document: what the human sees is told as events.

import { Link } from "./link.js";
import { Microphone, askForMicrophone } from "./microphone.js";
import { Problem } from "./problems.js";
import { Speaker } from "./speaker.js";

/** Rates that this page takes, the best first. */
const RATES = [24_000, 16_000, 48_000, 8_000];
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;
/** Calling again ends after this many attempts in a row; by then several minutes have passed. */
const ATTEMPTS = 20;
/** A released key ends with the frame that was being recorded, or after this, where no microphone runs. */
const LAST_FRAME_MS = 200;

/**
 * `state` is idle, asking (for the microphone), connecting, live, reconnecting or ended.
 *
 * Events: `state` ({state, …}), `message` (from the server), `frame` ({rms, peak, sent}),
 * `report` (from the playback worklet), `clear`, `problem` ({problem}), `solved` ({code}).
 */
export class Call extends EventTarget {
  constructor({ tokenPath, socketPath }) {
    super();
    this.paths = { tokenPath, socketPath };
    this.state = "idle";
    this.link = null;
    this.microphone = null;
    this.speaker = null;
    this.stream = null;
    this.inputRate = null;
    this.releasing = undefined; // tells the server that the key is up, after the last frame
    this.muted = false;
    this.holdToTalk = false; // the human's own choice; `ready.push_to_talk` is the server's
    this.pressed = false;
    this.processing = true; // the browser's echo cancellation, noise suppression and gain control
    this.inputDevice = "";
    this.outputDevice = "";
    this.counts = { framesSent: 0, framesDropped: 0, reconnects: 0 };
    this.calling = null; // aborts what is under way
    this.wake = null; // ends the wait before the next attempt
  }

  get pushToTalk() {
    return this.link?.ready?.push_to_talk === true;
  }

  get active() {
    return this.calling !== null;
  }

  /** Start a call. Problems are told as events; the call is then over. */
  async start({ microphone = true } = {}) {
    if (this.active) return;
    const calling = new AbortController();
    this.calling = calling;
    try {
      if (microphone) {
        this.become("asking");
        this.stream = await this.asked(calling.signal);
      }
      this.become("connecting");
      await this.connect(calling.signal);
    } catch (error) {
      if (!calling.signal.aborted) this.end(error);
    }
  }

  /** A microphone for this call; one that is granted after the human has hung up is let go at once. */
  async asked(signal) {
    const stream = await askForMicrophone({ deviceId: this.inputDevice, processing: this.processing });
    if (signal.aborted) silence(stream);
    signal.throwIfAborted();
    return stream;
  }

  async connect(signal) {
    const link = await Link.dial({ ...this.paths, inputRates: RATES, outputRates: RATES, signal });
    try {
      await this.equip(link.ready, signal);
    } catch (error) {
      link.hangUp();
      throw error;
    }
    this.link = link;
    link.addEventListener("message", ({ detail }) => this.received(detail));
    link.addEventListener("audio", ({ detail }) => this.speaker.play(detail));
    link.addEventListener("closed", ({ detail }) => this.lost(detail));
    if (this.muted) link.send("mute", { muted: true });
    this.become("live", { session: link.ready.session, agent: link.ready.agent });
    link.start();
  }

  /** Sound devices at the rates that the server has chosen; what fits already is kept. */
  async equip(ready, signal) {
    if (this.speaker?.rate !== ready.output.rate) {
      await this.speaker?.close();
      this.speaker = null;
      const speaker = await Speaker.open(ready.output.rate, {
        onReport: (report) => this.reported(report),
        onPaused: (paused) => (paused ? this.trouble(new Problem("paused")) : this.tell("solved", { code: "paused" })),
      });
      if (signal.aborted) void speaker.close();
      signal.throwIfAborted();
      this.speaker = speaker;
      if (this.outputDevice !== "") await this.chooseOutput(this.outputDevice);
    }
    this.speaker.reset();
    if (this.stream !== null && this.inputRate !== ready.input.rate) await this.listen(ready.input.rate, signal);
  }

  async listen(rate, signal) {
    const before = this.microphone;
    this.microphone = null;
    await before?.close();
    // Closing the worklet has stopped the tracks that it listened to.
    if (!this.stream.getAudioTracks().some((track) => track.readyState === "live")) {
      this.stream = await this.asked(signal);
    }
    const microphone = await Microphone.open(this.stream, rate, {
      onFrame: (frame) => this.captured(frame),
      onLost: () => this.trouble(new Problem("unplugged")),
    });
    if (signal.aborted) void microphone.close();
    signal.throwIfAborted();
    this.microphone = microphone;
    this.inputRate = rate;
  }

  captured({ samples, rms, peak }) {
    const open = this.pushToTalk || this.holdToTalk ? this.pressed || this.releasing !== undefined : true;
    const sent = open && !this.muted && this.link?.open === true;
    // The provider finds the end of a turn in silence, which must then be sent; push-to-talk says it in so many words.
    const silent = !open && !this.pushToTalk && !this.muted;
    if (sent || silent) {
      this.link?.sendAudio(sent ? samples : new Int16Array(samples.length));
    }
    this.tell("frame", { rms, peak, sent });
    this.releasing?.();
  }

  received(message) {
    if (message.type === "clear") {
      this.speaker.clear(message.clears);
      this.tell("clear");
    }
    this.tell("message", message);
  }

  reported(report) {
    const { type, played, clears } = report;
    if (type !== "overflow") this.link?.send("played", { samples: played, clears });
    this.tell("report", report);
  }

  lost({ problem, reason }) {
    this.retire();
    this.speaker?.reset();
    if (problem === null) void this.reconnect();
    else this.end(problem === "" ? null : new Problem(problem, reason));
  }

  /** Call again until it works, the human hangs up, or it has been tried often enough. */
  async reconnect() {
    const { signal } = this.calling;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1)) * (0.75 + Math.random() / 2);
      this.become("reconnecting", { attempt, delay });
      await this.pause(delay, signal);
      if (signal.aborted) return;
      this.become("reconnecting", { attempt, delay: 0 });
      try {
        await this.connect(signal);
        this.counts.reconnects += 1;
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Problem) || !["unreachable", "full"].includes(error.code)) return this.end(error);
        this.lastRefusal = error;
      }
    }
    this.end(this.lastRefusal);
  }

  pause(ms, signal) {
    return new Promise((resolve) => {
      const done = () => {
        window.clearTimeout(timer);
        window.removeEventListener("online", done);
        this.wake = null;
        resolve();
      };
      const timer = window.setTimeout(done, ms);
      this.wake = done;
      window.addEventListener("online", done); // the network is back: no reason to wait
      signal.addEventListener("abort", done, { once: true });
    });
  }

  /** Try again now, not when the wait is over. */
  hurry() {
    this.wake?.();
  }

  hangUp() {
    if (!this.active) return;
    this.link?.hangUp();
    this.end(null);
  }

  end(error) {
    const problem = error === null || error instanceof Problem ? error : new Problem("failed", String(error));
    this.release();
    this.become("ended", { problem: problem?.code ?? null });
    if (problem !== null) this.trouble(problem);
  }

  /** Let go of every device at once; the human sees the browser's recording mark go out. */
  release() {
    this.retire();
    silence(this.stream);
    void this.microphone?.close();
    void this.speaker?.close();
    this.calling?.abort();
    this.calling = this.stream = this.microphone = this.speaker = this.inputRate = null;
    this.pressed = false;
  }

  retire() {
    if (this.link === null) return;
    this.counts.framesSent += this.link.framesSent;
    this.counts.framesDropped += this.link.framesDropped;
    this.link = null;
  }

  setMuted(muted) {
    this.muted = muted;
    this.link?.send("mute", { muted });
  }

  press() {
    if (this.pressed || !this.active) return;
    this.releasing = undefined;
    this.pressed = true;
    if (this.pushToTalk) this.link.send("talk", { pressed: true });
  }

  letGo() {
    if (!this.pressed) return;
    this.pressed = false;
    const link = this.link;
    const done = () => {
      window.clearTimeout(timer);
      if (this.releasing === done) this.releasing = undefined;
      if (link?.ready.push_to_talk) link.send("talk", { pressed: false });
    };
    const timer = window.setTimeout(done, LAST_FRAME_MS);
    this.releasing = done;
  }

  sendText(text) {
    this.link?.send("text", { text });
  }

  interrupt() {
    this.link?.send("interrupt");
  }

  async chooseInput(deviceId) {
    this.inputDevice = deviceId;
    if (this.link === null || !this.active) return;
    const { signal } = this.calling;
    const rate = this.link.ready.input.rate;
    try {
      // Some systems let only one microphone be open at a time.
      silence(this.stream);
      this.stream = await this.asked(signal);
      await this.listen(rate, signal);
      this.tell("solved", { code: "unplugged" });
    } catch (error) {
      if (signal.aborted) return;
      this.trouble(error instanceof Problem ? error : new Problem("microphone-busy", error.message));
    }
  }

  async chooseOutput(deviceId) {
    this.outputDevice = deviceId;
    if (this.speaker === null || !Speaker.canChoose) return;
    try {
      await this.speaker.choose(deviceId);
      this.tell("solved", { code: "speaker" });
    } catch (error) {
      this.trouble(new Problem("speaker", error.message));
    }
  }

  get framesSent() {
    return this.counts.framesSent + (this.link?.framesSent ?? 0);
  }

  get framesDropped() {
    return this.counts.framesDropped + (this.link?.framesDropped ?? 0);
  }

  trouble(problem) {
    this.tell("problem", { problem });
  }

  become(state, more = {}) {
    this.state = state;
    this.tell("state", { state, ...more });
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function silence(stream) {
  for (const track of stream?.getAudioTracks() ?? []) track.stop();
}
