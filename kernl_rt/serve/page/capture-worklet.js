// The microphone's side of the audio thread: whatever rate the browser captures at comes out as frames of 16-bit
// samples at the rate that the server has chosen. A context that already runs at that rate is passed through.
//
// It imports nothing, because not every browser lets an audio worklet import; it exports its two pure halves, so that
// they can be tried without an audio device.

/** Zero crossings of the filter on each side: about 80 dB of stop band with the window below. */
const CROSSINGS = 16;
/** Where the filter begins to close, as a part of the lower of both Nyquist frequencies. */
const PASS = 0.92;
/** Entries of the filter's table for each input sample. */
const FINE = 256;

/** A streaming band-limited resampler for one channel. Frame borders leave no trace in the sound. */
export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    const cutoff = PASS * Math.min(1, to / from);
    this.half = Math.ceil(CROSSINGS / cutoff);
    this.table = kernel(cutoff, this.half);
    this.rest = new Float32Array(this.half); // silence before the first sample
    this.at = this.half; // where the next output sample lies, counted in `rest`
  }

  /** The output samples that `input` makes possible; the last few wait for what follows. */
  push(input) {
    if (this.step === 1) return input;
    const heard = new Float32Array(this.rest.length + input.length);
    heard.set(this.rest);
    heard.set(input, this.rest.length);
    const last = heard.length - 1 - this.half;
    const output = new Float32Array(Math.max(0, Math.floor((last - this.at) / this.step) + 1));
    for (let index = 0; index < output.length; index += 1) {
      output[index] = this.sample(heard, this.at);
      this.at += this.step;
    }
    const done = Math.max(0, Math.floor(this.at) - this.half);
    this.rest = heard.slice(done);
    this.at -= done;
    return output;
  }

  sample(heard, at) {
    let sum = 0;
    const first = Math.max(0, Math.ceil(at - this.half));
    const last = Math.min(heard.length - 1, Math.floor(at + this.half));
    for (let index = first; index <= last; index += 1) {
      const place = Math.abs(at - index) * FINE;
      const whole = Math.floor(place);
      const low = this.table[whole];
      sum += heard[index] * (low + (place - whole) * (this.table[whole + 1] - low));
    }
    return sum;
  }
}

/** One wing of a sinc under a Blackman window. */
function kernel(cutoff, half) {
  const table = new Float32Array(half * FINE + 2);
  for (let index = 0; index <= half * FINE; index += 1) {
    const x = index / FINE;
    const angle = Math.PI * cutoff * x;
    const sinc = index === 0 ? 1 : Math.sin(angle) / angle;
    const window = 0.42 + 0.5 * Math.cos((Math.PI * x) / half) + 0.08 * Math.cos((2 * Math.PI * x) / half);
    table[index] = cutoff * sinc * window;
  }
  return table;
}

/** Cuts samples into frames of `size` 16-bit samples, with each frame's level. */
export class Framer {
  constructor(size) {
    this.size = size;
    this.frame = new Int16Array(size);
    this.filled = 0;
    this.power = 0;
    this.peak = 0;
  }

  push(samples) {
    const frames = [];
    for (const sample of samples) {
      const bounded = Math.max(-1, Math.min(1, sample));
      this.frame[this.filled] = Math.round(bounded * 32767);
      this.filled += 1;
      this.power += bounded * bounded;
      this.peak = Math.max(this.peak, Math.abs(bounded));
      if (this.filled === this.size) frames.push(this.taken());
    }
    return frames;
  }

  taken() {
    const whole = { samples: this.frame, rms: Math.sqrt(this.power / this.size), peak: this.peak };
    this.frame = new Int16Array(this.size);
    this.filled = 0;
    this.power = 0;
    this.peak = 0;
    return whole;
  }
}

if (typeof registerProcessor === "function") {
  registerProcessor(
    "kernl-rt-capture",
    class extends AudioWorkletProcessor {
      constructor(options) {
        super();
        const { rate, frameMs } = options.processorOptions;
        this.resampler = new Resampler(sampleRate, rate);
        this.framer = new Framer(Math.round((rate * frameMs) / 1000));
        this.closed = false;
        this.port.onmessage = () => {
          this.closed = true;
        };
      }

      process(inputs) {
        const channel = inputs[0][0];
        if (channel !== undefined) {
          for (const { samples, rms, peak } of this.framer.push(this.resampler.push(channel))) {
            this.port.postMessage({ samples, rms, peak }, [samples.buffer]);
          }
        }
        return !this.closed;
      }
    },
  );
}
