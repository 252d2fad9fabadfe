// The human's sound: from a device to frames of 20 ms.

import { Problem } from "./problems.js";

const FRAME_MS = 20;
const REFUSALS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "no-microphone",
  OverconstrainedError: "no-microphone",
  NotReadableError: "microphone-busy",
  AbortError: "microphone-busy",
};

/** Ask the human and the system for the microphone. Throws a Problem. */
export async function askForMicrophone({ deviceId, processing }) {
  if (!window.isSecureContext) throw new Problem("insecure");
  if (navigator.mediaDevices?.getUserMedia === undefined) throw new Problem("unsupported");
  const audio = {
    channelCount: 1,
    echoCancellation: processing,
    noiseSuppression: processing,
    autoGainControl: processing,
  };
  if (deviceId) audio.deviceId = { exact: deviceId };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Problem(REFUSALS[error.name] ?? "microphone-busy", error.message);
  }
}

/** Frames of 16-bit samples at `rate`, one every 20 ms, for `onFrame({samples, rms, peak})`. */
export class Microphone {
  static async open(stream, rate, { onFrame, onLost }) {
    const { context, source } = await connected(stream, rate);
    await context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
    const node = new AudioWorkletNode(context, "kernl-rt-capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { rate, frameMs: FRAME_MS },
    });
    node.port.onmessage = ({ data }) => onFrame(data);
    source.connect(node);
    for (const track of stream.getAudioTracks()) track.addEventListener("ended", onLost);
    return new Microphone(stream, context, node, onLost);
  }

  constructor(stream, context, node, onLost) {
    this.stream = stream;
    this.context = context;
    this.node = node;
    this.onLost = onLost;
  }

  /** What the browser captures at; where it is not the rate of the frames, the worklet resamples. */
  get captureRate() {
    return this.context.sampleRate;
  }

  get deviceId() {
    return this.stream.getAudioTracks()[0]?.getSettings().deviceId ?? "";
  }

  async close() {
    for (const track of this.stream.getAudioTracks()) {
      track.removeEventListener("ended", this.onLost);
      track.stop();
    }
    this.node.port.onmessage = null;
    this.node.port.postMessage("close");
    await this.context.close();
  }
}

/**
 * A context at the wanted rate where the browser resamples a microphone itself (Chromium does), else at the device's own
 * rate (Firefox refuses a microphone of another rate than the context's): the worklet then resamples.
 */
async function connected(stream, rate) {
  let refusal;
  for (const options of [{ sampleRate: rate, latencyHint: "interactive" }, { latencyHint: "interactive" }]) {
    const context = new AudioContext(options);
    try {
      const source = context.createMediaStreamSource(stream);
      void context.resume();
      return { context, source };
    } catch (error) {
      refusal = error;
      await context.close();
    }
  }
  throw new Problem("microphone-busy", refusal.message);
}
