// The lists of microphones and loudspeakers. A browser names devices only once the microphone was allowed.

import { Speaker } from "./speaker.js";

export class Devices {
  constructor({ input, output, outputRow }, call) {
    this.selects = { audioinput: input, audiooutput: output };
    outputRow.hidden = !Speaker.canChoose;
    input.addEventListener("change", () => call.chooseInput(input.value));
    output.addEventListener("change", () => call.chooseOutput(output.value));
    navigator.mediaDevices?.addEventListener("devicechange", () => this.refresh());
  }

  async refresh() {
    if (navigator.mediaDevices?.enumerateDevices === undefined) return;
    const found = await navigator.mediaDevices.enumerateDevices();
    for (const [kind, select] of Object.entries(this.selects)) {
      const chosen = select.value;
      const named = found.filter((device) => device.kind === kind && !["", "default"].includes(device.deviceId));
      select.replaceChildren(
        new Option("System default", ""),
        ...named.map(({ label, deviceId }, index) => new Option(label || `Device ${index + 1}`, deviceId)),
      );
      select.value = named.some(({ deviceId }) => deviceId === chosen) ? chosen : "";
    }
  }
}
