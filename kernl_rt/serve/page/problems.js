// What can go wrong, in the words that the human reads. `retry` labels the button that tries again; `without` offers
// to go on with the keyboard only.

export const PROBLEMS = {
  insecure: {
    title: "This page is not secure",
    text: "A browser gives the microphone only to pages from https:// or from localhost. Open the page there.",
    without: true,
  },
  unsupported: {
    title: "This browser cannot do it",
    text: "The page needs a browser with AudioWorklet and WebSocket. Any current one has them.",
  },
  denied: {
    title: "The microphone was refused",
    text: "Allow the microphone for this page in the browser's address bar, then try again.",
    retry: "Try again",
    without: true,
  },
  "no-microphone": {
    title: "No microphone found",
    text: "Plug one in, then try again.",
    retry: "Try again",
    without: true,
  },
  "microphone-busy": {
    title: "The microphone does not answer",
    text: "Another program may be using it. Close that program, then try again.",
    retry: "Try again",
    without: true,
  },
  unplugged: {
    title: "The microphone was unplugged",
    text: "The agent cannot hear you. Plug it in again, or choose another one below.",
    retry: "Use the microphone again",
  },
  full: {
    title: "All lines are busy",
    text: "The server takes no more calls at the moment. Try again in a minute.",
    retry: "Try again",
  },
  refused: {
    title: "The server refused the call",
    text: "It does not accept calls from this page. Reload the page; if that does not help, ask whoever runs it.",
    retry: "Try again",
  },
  unreachable: {
    title: "The server does not answer",
    text: "Check the network, and that the server runs.",
    retry: "Try again",
  },
  failed: {
    title: "The call ended with an error",
    text: "The server could not go on.",
    retry: "Call again",
  },
  paused: {
    title: "The browser has paused the sound",
    text: "Press the button to hear the agent again.",
    retry: "Go on",
  },
  speaker: {
    title: "The loudspeaker cannot be used",
    text: "The sound goes to the one that the system uses. Choose another one below.",
  },
};

/** Something with an entry in the table above; `detail` is what the other side said about it. */
export class Problem extends Error {
  constructor(code, detail = "") {
    super(detail === "" ? PROBLEMS[code].title : `${PROBLEMS[code].title}: ${detail}`);
    this.code = code;
    this.detail = detail;
  }
}
