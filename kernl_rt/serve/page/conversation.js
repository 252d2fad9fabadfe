// The written side of the call: what both have said, the tools that ran, and notes, in the order in which they began.

const TOOL_STATES = { running: "running …", done: "done ✓", failed: "failed ✗", cancelled: "cancelled" };
/** Lines kept in the page; a call may last for hours. */
const MOST = 400;
const LONGEST_RESULT = 300;

export class Conversation {
  /** `list` is where lines go, `spoken` a live region that screen readers read out. */
  constructor(list, empty, spoken) {
    this.list = list;
    this.empty = empty;
    this.spoken = spoken;
    this.lines = new Map();
    this.place = null; // an empty line for what the human is saying
    this.names = { user: "You", agent: "Agent" };
  }

  /** The human speaks: keep the place. What was said is often written down only after the agent has begun to act. */
  speaking(now) {
    if (now) {
      this.place ??= new Said("user", this.names.user);
      this.list.append(this.place.row);
      this.place.show("", false, false);
      this.follow();
    }
    if (this.place !== null) this.place.row.hidden = !now;
  }

  transcript({ role, item, text, final, interrupted }) {
    const line = this.line(`${role}:${item}`, () => this.begun(role));
    line.row.hidden = false;
    line.show(text, final === true, interrupted === true);
    // Growing text would be read out again and again: only what is complete is.
    if (final && text !== "") this.spoken.textContent = `${this.names[role] ?? role}: ${text}`;
    this.follow();
  }

  tool({ call, name, arguments: given, state, result }) {
    this.line(`tool:${call}`, () => new ToolRun()).show(name, given, state, result);
    if (state !== "running") this.spoken.textContent = `Tool ${name}: ${state}`;
    this.follow();
  }

  begun(role) {
    const kept = role === "user" ? this.place : null;
    if (role === "user") this.place = null;
    return kept ?? new Said(role, this.names[role] ?? role);
  }

  note(text) {
    const row = element("li", "note", text);
    this.list.append(row);
    this.spoken.textContent = text;
    this.follow();
  }

  /** The lines of another call may have the same names. */
  close() {
    this.lines.clear();
    this.place?.row.remove();
    this.place = null;
  }

  line(key, make) {
    let line = this.lines.get(key);
    if (line === undefined) {
      line = make();
      this.lines.set(key, line);
      if (line.row.parentNode !== this.list) this.list.append(line.row);
      while (this.list.childElementCount > MOST) this.list.firstElementChild.remove();
      if (this.lines.size > MOST) this.lines.delete(this.lines.keys().next().value);
    }
    return line;
  }

  follow() {
    this.empty.hidden = true;
    const below = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight;
    // Whoever has scrolled up to read is left there.
    if (below < 160) this.list.scrollTop = this.list.scrollHeight;
  }

  /** Everything said, for diagnostics. */
  get said() {
    return [...this.lines.values()].filter((line) => line instanceof Said).map((line) => line.value);
  }

  get tools() {
    return [...this.lines.values()].filter((line) => line instanceof ToolRun).map((line) => line.value);
  }
}

class Said {
  constructor(role, name) {
    this.row = element("li", `said ${role === "user" ? "user" : "agent"}`);
    this.text = element("span", "text");
    this.unheard = element("del", "unheard");
    this.mark = element("span", "mark", "interrupted");
    this.mark.hidden = true;
    this.row.append(element("span", "who", name), this.text, this.unheard, this.mark);
    this.value = { role, text: "", final: false, interrupted: false };
    this.longest = "";
  }

  /** An interrupted text ends where the human stopped to hear; what was already written after it is struck out. */
  show(text, final, interrupted) {
    const rest = interrupted && this.longest.startsWith(text) ? this.longest.slice(text.length) : "";
    if (text.length > this.longest.length) this.longest = text;
    this.text.textContent = text;
    this.unheard.textContent = rest;
    this.mark.hidden = !interrupted;
    this.row.classList.toggle("partial", !final);
    this.value = { role: this.value.role, text, final, interrupted };
  }
}

class ToolRun {
  constructor() {
    this.row = element("li", "tool");
    this.mark = element("span", "mark");
    this.code = element("code", "");
    this.result = element("p", "");
    this.row.append(this.mark, this.code, this.result);
    this.value = { name: "", state: "", result: "" };
  }

  show(name, given, state, result) {
    const said = result === undefined || result === null ? "" : written(result);
    this.row.dataset.state = state;
    this.mark.textContent = TOOL_STATES[state] ?? state;
    this.code.textContent = `${name}(${written(given ?? "")})`;
    this.result.textContent = said.length > LONGEST_RESULT ? `${said.slice(0, LONGEST_RESULT)} …` : said;
    this.result.hidden = said === "";
    this.value = { name, state, result: said };
  }
}

/** Arguments come as JSON or as what JSON stands for; both are shown as `city: "Paris"`. */
function written(value) {
  let found = value;
  if (typeof value === "string") {
    try {
      found = JSON.parse(value);
    } catch {
      return value;
    }
  }
  if (typeof found !== "object" || found === null || Array.isArray(found)) return String(value);
  return Object.entries(found)
    .map(([name, given]) => `${name}: ${JSON.stringify(given)}`)
    .join(", ");
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.textContent = text;
  return made;
}
