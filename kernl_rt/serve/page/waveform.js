// A strip of sound that moves to the left: the loudest moment of every few milliseconds as a bar.

const STEP_MS = 40;
const BAR = 3;
const GAP = 2;
/** Quiet speech must be seen, too: the height grows with the root of the level. */
const CURVE = 0.6;

export class Waveform {
  constructor(canvas) {
    this.canvas = canvas;
    this.levels = [];
    this.peak = 0;
    this.since = 0;
  }

  /** A level from 0 to 1; between two bars the highest counts. */
  feed(level) {
    this.peak = Math.max(this.peak, level);
  }

  /** Draw what is new; `now` is the time of the frame in milliseconds. */
  draw(now) {
    if (now - this.since < STEP_MS) return;
    this.since = now;
    this.levels.push(this.peak);
    this.peak = 0;
    const scale = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    const height = this.canvas.clientHeight;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
    }
    const most = Math.ceil(width / (BAR + GAP));
    this.levels.splice(0, Math.max(0, this.levels.length - most));
    this.paint(scale, width, height);
  }

  paint(scale, width, height) {
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = getComputedStyle(this.canvas).color;
    const middle = height / 2;
    for (const [index, level] of this.levels.entries()) {
      const tall = Math.max(1, Math.min(1, level ** CURVE) * (height - 8));
      const left = width - (this.levels.length - index) * (BAR + GAP);
      pen.fillRect(left, middle - tall / 2, BAR, tall);
    }
  }
}
