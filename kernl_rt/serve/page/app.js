// The page: what is pressed goes to the call, what the call tells is shown.

import { Call } from "./call.js";
import { Conversation } from "./conversation.js";
import { Devices } from "./devices.js";
import { Diagnostics } from "./diagnostics.js";
import { PROBLEMS, Problem } from "./problems.js";
import { Waveform } from "./waveform.js";

const of = (id) => document.getElementById(id);
const { body } = document;

const call = new Call({ tokenPath: body.dataset.token, socketPath: body.dataset.socket });
const conversation = new Conversation(of("log"), of("empty"), of("spoken"));
const devices = new Devices({ input: of("input"), output: of("output"), outputRow: of("output-row") }, call);
const waves = { human: new Waveform(of("human-wave")), agent: new Waveform(of("agent-wave")) };
const diagnostics = new Diagnostics(call, conversation);
window.kernlRt = diagnostics.view;

let shown = null; // the code of the problem on display
let session = null;
let level = 0;

// --- What the call tells -------------------------------------------------------------------------------------------

const STATES = {
  idle: () => "Ready",
  asking: () => "Allow the microphone …",
  connecting: () => "Connecting …",
  live: () => "Connected",
  reconnecting: ({ attempt, delay }) =>
    delay > 0
      ? `Connection lost – reconnecting in ${Math.max(1, Math.round(delay / 1000))} s (attempt ${attempt})`
      : `Connection lost – reconnecting (attempt ${attempt})`,
  ended: () => "Call ended",
};

call.addEventListener("state", ({ detail }) => {
  const live = detail.state === "live";
  body.dataset.state = detail.state;
  of("state").textContent = STATES[detail.state](detail);
  of("talk").textContent = call.active ? "Hang up" : "Start talking";
  of("talk").classList.toggle("hang-up", call.active);
  for (const id of ["mute", "interrupt", "message", "send"]) of(id).disabled = !live;
  if (live) begun(detail);
  if (detail.state === "ended") ended();
  showHold();
});

function begun(detail) {
  if (session !== null) {
    conversation.close();
    conversation.note("Connected again. This is a new conversation for the agent.");
  }
  session = detail.session;
  showAgent(detail.agent);
  // The button that was just pressed must not take the space bar for itself.
  if (holding()) {
    showHold();
    of("hold").focus();
  }
  // Whatever stood in the way of this call is out of it; a missing loudspeaker or a paused one is not.
  if (!["speaker", "paused"].includes(shown)) showProblem(null);
  void devices.refresh();
}

function ended() {
  session = null;
  conversation.close();
  of("hold").classList.remove("pressed");
  of("roundtrip").textContent = "–";
}

const MESSAGES = {
  transcript: (message) => conversation.transcript(message),
  tool: (message) => conversation.tool(message),
  muted: ({ muted }) => showMuted(muted),
  latency: ({ ms }) => (of("latency").textContent = `${Math.round(ms)} ms`),
  status: ({ status, reason }) => showStatus(status, reason),
  agent: ({ agent }) => {
    showAgent(agent);
    conversation.note(`You are now talking to ${agent}.`);
  },
  speech: ({ speaking }) => conversation.speaking(speaking),
  error: ({ message }) => conversation.note(`Error: ${message}`),
  pong: () => (of("roundtrip").textContent = `${Math.round(call.link.roundTripMs)} ms`),
};

call.addEventListener("message", ({ detail }) => MESSAGES[detail.type]?.(detail));
call.addEventListener("problem", ({ detail }) => showProblem(detail.problem));
call.addEventListener("solved", ({ detail }) => {
  if (detail.code === shown) showProblem(null);
});
call.addEventListener("frame", ({ detail }) => {
  level = Math.max(level, detail.peak);
  waves.human.feed(detail.sent ? detail.peak : 0);
});

function showAgent(name) {
  of("agent").textContent = name || "Voice agent";
  of("agent-label").textContent = conversation.names.agent = name || "Agent";
}

function showStatus(status, reason) {
  // The server's own link to the model; while this page's link is up, that is all there is to say.
  if (call.state === "live") of("state").textContent = status === "connected" ? "Connected" : reason || status;
}

function showMuted(muted) {
  call.muted = muted;
  of("mute").setAttribute("aria-pressed", String(muted));
  of("mute").textContent = muted ? "Muted" : "Mute";
}

function showProblem(problem) {
  shown = problem?.code ?? null;
  of("problem").hidden = problem === null;
  if (problem === null) return;
  const { title, text, retry, without } = PROBLEMS[problem.code];
  of("problem").dataset.code = problem.code;
  of("problem-title").textContent = title;
  of("problem-text").textContent = problem.detail === "" ? text : `${text} (${problem.detail})`;
  of("problem-retry").textContent = retry ?? "";
  of("problem-retry").hidden = retry === undefined;
  of("problem-without").hidden = without !== true;
}

// --- What is pressed -----------------------------------------------------------------------------------------------

of("talk").addEventListener("click", () => {
  if (call.active) call.hangUp();
  else begin();
});
of("mute").addEventListener("click", () => {
  call.setMuted(!call.muted);
  showMuted(call.muted);
});
of("interrupt").addEventListener("click", () => call.interrupt());
of("problem-close").addEventListener("click", () => showProblem(null));
of("problem-without").addEventListener("click", () => begin({ microphone: false }));
of("problem-retry").addEventListener("click", () => {
  if (shown === "paused") void call.speaker?.resume();
  else if (shown === "unplugged") void call.chooseInput(of("input").value);
  else begin();
});
of("typing").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = of("message").value.trim();
  if (text !== "") call.sendText(text);
  of("message").value = "";
});

function begin(options) {
  showProblem(null);
  void call.start(options);
}

// --- Push-to-talk --------------------------------------------------------------------------------------------------

of("hold-mode").addEventListener("change", ({ target }) => {
  call.holdToTalk = target.checked;
  showHold();
});

of("processing").addEventListener("change", ({ target }) => {
  call.processing = target.checked;
  void call.chooseInput(of("input").value);
});

function holding() {
  return call.pushToTalk || call.holdToTalk;
}

function showHold() {
  of("hold").disabled = call.state !== "live" || !holding();
  of("hold-mode").disabled = call.pushToTalk;
  of("hold-mode").checked = holding();
}

function press(down) {
  if (down && (!holding() || call.state !== "live")) return;
  if (down) call.press();
  else call.letGo();
  of("hold").classList.toggle("pressed", down);
  if (call.pushToTalk && call.state === "live") conversation.speaking(down);
}

of("hold").addEventListener("pointerdown", (event) => {
  of("hold").setPointerCapture(event.pointerId);
  press(true);
});
of("hold").addEventListener("contextmenu", (event) => event.preventDefault());
for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
  of("hold").addEventListener(type, () => press(false));
}

/** Space belongs to whatever is focused, where that uses it. */
function typing(target) {
  return target.closest("input, textarea, select, summary, button:not(#hold)") !== null;
}

window.addEventListener("keydown", (event) => {
  if (event.code !== "Space" || typing(event.target) || !holding()) return;
  event.preventDefault();
  if (!event.repeat) press(true);
});
window.addEventListener("keyup", (event) => {
  if (event.code === "Space") press(false);
});
// A key that is released in another window is never seen to be released.
window.addEventListener("blur", () => press(false));

// --- Pictures ------------------------------------------------------------------------------------------------------

const FALL = 0.85; // of the level's last value, with each picture

function picture(now) {
  diagnostics.look();
  waves.agent.feed(Math.min(1, 2 * diagnostics.outputRms));
  of("level").value = level;
  level *= FALL;
  if (call.active) for (const wave of Object.values(waves)) wave.draw(now);
  window.requestAnimationFrame(picture);
}
window.requestAnimationFrame(picture);

window.addEventListener("pagehide", () => call.hangUp());
if (!window.isSecureContext) showProblem(new Problem("insecure"));
else if (typeof AudioWorkletNode === "undefined" || typeof WebSocket === "undefined") {
  showProblem(new Problem("unsupported"));
}
showHold();
void devices.refresh();
