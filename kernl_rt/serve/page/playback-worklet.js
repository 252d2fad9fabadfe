// The loudspeaker's side of the audio thread: a bounded queue of samples that knows how many of them it has really
// handed to the device, and that is empty the moment it is told to be.
//
// It imports nothing, because not every browser lets an audio worklet import; it exports the queue, so that it can be
// tried without an audio device.

/** A gap shorter than this inside running sound is an underrun; a longer one is a pause between replies. */
const UNDERRUN_SECONDS = 0.3;
/** What is left of the last sample after each sample of a sudden end: a step would be heard as a click. */
const DECAY = 0.94;

/** A ring of 16-bit samples. `played` never runs backwards, and never counts what was cleared. */
export class PlaybackRing {
  constructor(capacity, rate) {
    this.samples = new Int16Array(capacity);
    this.capacity = capacity;
    this.patience = UNDERRUN_SECONDS * rate;
    this.last = 0;
    this.reset();
  }

  /** Forget everything, the counts too: another connection counts from zero. */
  reset() {
    this.read = 0;
    this.queued = 0;
    this.played = 0;
    this.underruns = 0;
    this.overflowed = 0;
    this.gap = Infinity; // samples of silence since the queue ran dry
  }

  /** Take what there is room for; returns how many samples were refused. */
  push(samples) {
    const taken = Math.min(samples.length, this.capacity - this.queued);
    if (taken > 0 && this.queued === 0 && this.gap > 0 && this.gap < this.patience) this.underruns += 1;
    const start = (this.read + this.queued) % this.capacity;
    const first = Math.min(taken, this.capacity - start);
    this.samples.set(samples.subarray(0, first), start);
    this.samples.set(samples.subarray(first, taken), 0);
    this.queued += taken;
    this.overflowed += samples.length - taken;
    return samples.length - taken;
  }

  /** Drop the whole queue; returns how many samples will never be played. */
  clear() {
    const dropped = this.queued;
    this.queued = 0;
    this.gap = Infinity;
    return dropped;
  }

  /** Fill `output` with sound, then with silence; returns how many samples of sound it got. */
  pull(output) {
    const count = Math.min(output.length, this.queued);
    for (let index = 0; index < count; index += 1) {
      output[index] = this.samples[this.read] / 32768;
      this.read += 1;
      if (this.read === this.capacity) this.read = 0;
    }
    if (count > 0) {
      this.last = output[count - 1];
      this.gap = 0;
    }
    for (let index = count; index < output.length; index += 1) {
      this.last = Math.abs(this.last) < 1e-4 ? 0 : this.last * DECAY;
      output[index] = this.last;
    }
    this.queued -= count;
    this.played += count;
    this.gap += output.length - count;
    return count;
  }
}

if (typeof registerProcessor === "function") {
  registerProcessor(
    "kernl-rt-playback",
    class extends AudioWorkletProcessor {
      constructor(options) {
        super();
        const { seconds, reportMs } = options.processorOptions;
        this.ring = new PlaybackRing(Math.round(seconds * sampleRate), sampleRate);
        this.reportEvery = Math.round((reportMs * sampleRate) / 1000);
        this.reported = 0;
        this.clears = 0; // the number of the last clear: the server then knows what a count is about
        this.closed = false;
        this.port.onmessage = ({ data }) => this.told(data);
      }

      told(message) {
        if (message.type === "push") {
          if (this.ring.push(message.samples) > 0) this.report("overflow");
        } else if (message.type === "clear") {
          this.clears = message.clears;
          this.report("cleared", { dropped: this.ring.clear() });
        } else if (message.type === "reset") {
          this.ring.reset();
          this.reported = this.clears = 0;
        } else {
          this.closed = true;
        }
      }

      process(_inputs, outputs) {
        const [first, ...others] = outputs[0];
        const count = this.ring.pull(first);
        for (const other of others) other.set(first);
        const { played, queued } = this.ring;
        if (count > 0 && (queued === 0 || played - this.reported >= this.reportEvery)) this.report("played");
        return !this.closed;
      }

      report(type, more = {}) {
        const { played, queued, underruns, overflowed } = this.ring;
        this.reported = played;
        this.port.postMessage({ type, played, queued, underruns, overflowed, clears: this.clears, ...more });
      }
    },
  );
}
