// The agent's sound: from the link to a device, with a count of what was really played.

/** Seconds that the queue holds; the server sends a few tenths of a second ahead. */
const QUEUE_SECONDS = 20;
const REPORT_MS = 50;
/** A context also stands still for a moment while it starts, and while another device is chosen. */
const PAUSED_AFTER_MS = 1_000;

export class Speaker {
  /** `onReport({type, played, queued, underruns, overflowed})` every 50 ms of sound, at its end, and on a clear. */
  static async open(rate, { onReport, onPaused }) {
    const context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    await context.audioWorklet.addModule(new URL("./playback-worklet.js", import.meta.url));
    const node = new AudioWorkletNode(context, "kernl-rt-playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { seconds: QUEUE_SECONDS, reportMs: REPORT_MS },
    });
    const analyser = new AnalyserNode(context, { fftSize: 256, smoothingTimeConstant: 0 });
    node.connect(analyser).connect(context.destination);
    node.port.onmessage = ({ data }) => onReport(data);
    const watch = () => {
      if (context.state === "running") onPaused(false);
      else window.setTimeout(() => onPaused(["suspended", "interrupted"].includes(context.state)), PAUSED_AFTER_MS);
    };
    context.addEventListener("statechange", watch);
    watch();
    // Without a gesture this never settles.
    void context.resume();
    return new Speaker(context, node, analyser);
  }

  constructor(context, node, analyser) {
    this.context = context;
    this.node = node;
    this.analyser = analyser;
    this.window = new Float32Array(analyser.fftSize);
  }

  get rate() {
    return this.context.sampleRate;
  }

  /** Queue 16-bit little-endian samples. */
  play(buffer) {
    const samples = littleEndian(buffer);
    this.node.port.postMessage({ type: "push", samples }, [samples.buffer]);
  }

  /** Silence at once. The report that answers says how far the sound got; it and all later ones bear `clears`. */
  clear(clears) {
    this.node.port.postMessage({ type: "clear", clears });
  }

  /** Silence at once, and count from zero: for another connection. */
  reset() {
    this.node.port.postMessage({ type: "reset" });
  }

  /** The loudness of the last ten milliseconds that went to the device, 0 to 1. */
  rms() {
    this.analyser.getFloatTimeDomainData(this.window);
    let power = 0;
    for (const sample of this.window) power += sample * sample;
    return Math.sqrt(power / this.window.length);
  }

  resume() {
    return this.context.resume();
  }

  static get canChoose() {
    return typeof AudioContext !== "undefined" && "setSinkId" in AudioContext.prototype;
  }

  /** Play on another device; "" is the system's choice. */
  choose(deviceId) {
    return this.context.setSinkId(deviceId);
  }

  async close() {
    this.node.port.onmessage = null;
    this.node.port.postMessage({ type: "close" });
    await this.context.close();
  }
}

const NATIVE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function littleEndian(buffer) {
  const whole = buffer.byteLength & ~1;
  if (NATIVE) return new Int16Array(buffer, 0, whole / 2);
  const view = new DataView(buffer, 0, whole);
  return Int16Array.from({ length: whole / 2 }, (_, index) => view.getInt16(2 * index, true));
}
