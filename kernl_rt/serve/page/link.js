// One connection to the server: wire "kernl-rt.1". Binary messages are 16-bit little-endian sound at the rates that
// the server's `ready` names; text messages are JSON objects with a `type`.

import { Problem } from "./problems.js";

const PROTOCOL = "kernl-rt.1";
const READY_WITHIN_MS = 20_000;
const PING_EVERY_MS = 5_000;
/** A link that carries nothing for so long is taken for dead, whatever the system says. */
const DEAD_AFTER_MS = 12_000;
/** Sound that waits in the browser because the network is slow; more of it would only be late. */
const MOST_WAITING_BYTES = 96_000;
/** Close codes after which calling again would only be refused again. */
const FINAL = new Map([
  [1002, "failed"],
  [1003, "failed"],
  [1007, "failed"],
  [1008, "refused"],
  [1009, "failed"],
  [1011, "failed"],
  [1013, "full"],
]);

/**
 * Events: `message` (detail: the object), `audio` (detail: an ArrayBuffer), `closed` (detail: {code, reason, problem},
 * where `problem` is null when calling again may help, "" when the server has ended the call in good order).
 */
export class Link extends EventTarget {
  /** Dial, and wait until the agent is there. Throws a Problem. */
  static async dial({ tokenPath, socketPath, inputRates, outputRates, signal }) {
    const token = await fetchToken(tokenPath, signal);
    const url = new URL(socketPath, document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, [PROTOCOL, `token.${token}`]);
    socket.binaryType = "arraybuffer";
    const link = new Link(socket);
    await link.greeted({ version: 1, input_rates: inputRates, output_rates: outputRates }, signal);
    return link;
  }

  constructor(socket) {
    super();
    this.socket = socket;
    this.ready = null;
    this.refusal = "";
    this.roundTripMs = null;
    this.framesSent = 0;
    this.framesDropped = 0;
    this.heardAt = performance.now();
    this.pinged = { id: 0, at: 0 };
    this.early = [];
  }

  greeted(hello, signal) {
    return new Promise((resolve, reject) => {
      const settled = () => {
        window.clearTimeout(timer);
        signal.removeEventListener("abort", given);
      };
      const failed = (code, detail) => {
        settled();
        this.socket.onclose = this.socket.onmessage = null;
        this.socket.close();
        reject(new Problem(code, detail));
      };
      const given = () => failed("unreachable", "hung up");
      const timer = window.setTimeout(() => failed("unreachable", "no agent came in time"), READY_WITHIN_MS);
      signal.addEventListener("abort", given);
      this.socket.onopen = () => this.send("hello", hello);
      this.socket.onclose = ({ code }) => failed(FINAL.get(code) ?? "unreachable", this.refusal);
      this.socket.onmessage = ({ data }) => {
        this.received(data);
        if (this.ready === null) return;
        settled();
        this.socket.onmessage = (event) => this.received(event.data);
        this.socket.onclose = (event) => this.closed(event);
        this.pinger = window.setInterval(() => this.ping(), PING_EVERY_MS);
        this.ping();
        resolve();
      };
    });
  }

  /** Hand over what came before anybody listened, then everything as it comes. */
  start() {
    const early = this.early;
    this.early = null;
    for (const event of early) this.dispatchEvent(event);
  }

  received(data) {
    this.heardAt = performance.now();
    if (typeof data !== "string") {
      this.tell("audio", data);
      return;
    }
    const message = parsed(data);
    if (message === null) return;
    if (message.type === "ready") this.ready = message;
    else if (message.type === "pong") this.answered(message.id);
    else if (message.type === "error" && this.ready === null) this.refusal = String(message.message ?? "");
    this.tell("message", message);
  }

  tell(type, detail) {
    const event = new CustomEvent(type, { detail });
    if (this.early === null) this.dispatchEvent(event);
    else this.early.push(event);
  }

  get open() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(type, more = {}) {
    if (this.open) this.socket.send(JSON.stringify({ type, ...more }));
  }

  /** Send one frame of sound; a frame that could only come late is dropped, and counted. */
  sendAudio(samples) {
    if (!this.open) return;
    if (this.socket.bufferedAmount > MOST_WAITING_BYTES) {
      this.framesDropped += 1;
      return;
    }
    this.socket.send(samples);
    this.framesSent += 1;
  }

  ping() {
    const now = performance.now();
    if (now - this.heardAt > DEAD_AFTER_MS) {
      // A close handshake would wait for the same silent peer.
      this.socket.onclose = null;
      this.socket.close();
      this.closed({ code: 1006, reason: "nothing was heard from the server" });
      return;
    }
    this.pinged = { id: this.pinged.id + 1, at: now };
    this.send("ping", { id: this.pinged.id });
  }

  answered(id) {
    if (id === this.pinged.id) this.roundTripMs = performance.now() - this.pinged.at;
  }

  closed({ code, reason }) {
    window.clearInterval(this.pinger);
    this.socket.onmessage = null;
    const problem = code === 1000 ? "" : (FINAL.get(code) ?? null);
    this.tell("closed", { code, reason, problem });
  }

  /** Say goodbye; nothing is told afterwards. */
  hangUp() {
    window.clearInterval(this.pinger);
    this.socket.onclose = null;
    this.socket.onmessage = null;
    this.send("bye");
    this.socket.close(1000);
  }
}

async function fetchToken(path, signal) {
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { method: "POST", credentials: "same-origin", signal });
  } catch (error) {
    throw new Problem("unreachable", error.message);
  }
  if (response.status === 503) throw new Problem("full");
  if (response.status === 429) throw new Problem("full", "too many calls from here");
  if (response.status === 401 || response.status === 403) throw new Problem("refused");
  if (!response.ok) throw new Problem("unreachable", `it answers ${response.status}`);
  const { token } = await response.json();
  return token;
}

function parsed(text) {
  try {
    const message = JSON.parse(text);
    return typeof message === "object" && message !== null && typeof message.type === "string" ? message : null;
  } catch {
    return null;
  }
}
