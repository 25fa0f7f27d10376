// Logs of steps: opened when their details are, followed as a stream of bytes, resumed by offset after any trouble.
// A bounded number of lines is in the page, whatever the size of the log; earlier ones come on demand.
import { PLAIN, node, render } from "./ansi.js";

const TAIL_BYTES = 512 * 1024; // what is shown at first of a long log, and what "show earlier" adds
const MOST_LINES = 10000; // in the page at once
const LONGEST_LINE = 16 * 1024; // bytes; a longer one is cut into several
const STREAMS = 3; // at once: a browser has six connections for us
const RETRY_MS = 1000;
const DRAW_MS = 60; // between two drawings
const MOST_QUEUED = 2.5 * TAIL_BYTES; // more than this comes faster than anybody reads: only its end is drawn
const NOTHING = new Uint8Array(0);
const NEWLINE = 10;
const RETURN = 13;

const views = new Map(); // the log's element -> its view
let free = STREAMS;
const waiting = [];

/** Looks which logs are open and follows those. */
export function syncLogs() {
  for (const details of document.querySelectorAll("details[data-log]")) {
    const box = details.querySelector(".log");
    if (!box) continue;
    if (!views.has(box)) {
      views.set(box, new LogView(box, details.dataset.log));
      details.addEventListener("toggle", () => sync(details, box));
    }
    sync(details, box);
  }
  for (const [box, view] of views) {
    if (!box.isConnected) {
      view.stop();
      views.delete(box);
    }
  }
}

function sync(details, box) {
  if (details.open && !document.hidden) views.get(box).start();
  else views.get(box).stop();
}

document.addEventListener("visibilitychange", syncLogs);

async function slot(signal) {
  while (free === 0) await new Promise((next) => waiting.push(next));
  if (signal.aborted) {
    waiting.shift()?.();
    return false;
  }
  free--;
  return true;
}

function giveBack() {
  free++;
  waiting.shift()?.();
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class LogView {
  constructor(box, url) {
    this.box = box;
    this.url = url;
    this.stopper = null;
    this.isDone = false;
    this.isDetached = false; // looks at an earlier part, does not follow
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.earlierButton = this.button("Show earlier output", () => this.earlier());
    this.laterButton = this.button("Back to the end of the log", () => this.toEnd());
    this.box.append(this.earlierButton, this.laterButton);
    this.reset(0);
    this.isPlaced = false; // whether it is known where to begin
  }

  button(text, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "log-more";
    button.textContent = text;
    button.hidden = true;
    button.addEventListener("click", action);
    return button;
  }

  reset(offset) {
    this.begin = offset; // byte offset of the first line in the page
    this.end = offset; // of the next byte to ask for
    this.queue = []; // chunks that wait to be drawn
    this.queued = 0;
    this.hasGap = false; // whether the queue's oldest were dropped
    this.partial = NOTHING;
    this.style = PLAIN;
    this.tail = null;
    this.mustSkip = offset > 0; // we came into the middle of a line
    for (const line of this.box.querySelectorAll(".line")) line.remove();
    this.earlierButton.hidden = offset === 0;
    this.laterButton.hidden = true;
  }

  start() {
    if (this.stopper || this.isDone || this.isDetached) return;
    this.stopper = new AbortController();
    this.run(this.stopper.signal);
  }

  stop() {
    this.stopper?.abort();
    this.stopper = null;
  }

  async run(signal) {
    if (!(await slot(signal))) return;
    try {
      while (!signal.aborted && !this.isDone) {
        try {
          await this.place(signal);
          await this.follow(signal);
        } catch (error) {
          if (signal.aborted) return;
          this.say("The connection was lost; trying again.");
          await pause(RETRY_MS);
        }
      }
    } finally {
      giveBack();
    }
  }

  /** Begin near the end when there is much more than one wants to read. */
  async place(signal) {
    const response = await this.ask(`offset=0&limit=0`, signal);
    const size = Number(response.headers.get("X-Rondo-Size"));
    if (!this.isPlaced || size - this.end > 8 * TAIL_BYTES) {
      if (size - this.end > 2 * TAIL_BYTES) this.reset(size - TAIL_BYTES);
      this.isPlaced = true;
    }
  }

  async follow(signal) {
    const response = await this.ask(`offset=${this.end}&follow=1`, signal);
    const wasDone = response.headers.get("X-Rondo-Done") === "1";
    this.say("");
    this.box.classList.toggle("is-waiting", !wasDone && this.end === 0);
    const reader = response.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      this.push(value);
    }
    // The stream ends by itself only when the step has ended and everything was sent.
    this.isDone = !signal.aborted;
    if (this.isDone) this.finish();
  }

  async ask(query, signal) {
    const response = await fetch(`${this.url}?${query}`, { signal, cache: "no-store", redirect: "error" });
    if (response.status === 416) this.reset(0);
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response;
  }

  /** Take a chunk. Reading goes on at the connection's pace, drawing at the eye's. */
  push(bytes) {
    this.end += bytes.length;
    this.queue.push(bytes);
    this.queued += bytes.length;
    if (this.queued > MOST_QUEUED) {
      while (this.queued - this.queue[0].length >= TAIL_BYTES) this.queued -= this.queue.shift().length;
      this.hasGap = true;
    }
    if (!this.timer) this.timer = setTimeout(() => this.flush(), DRAW_MS);
  }

  /** Draw what has come. */
  flush() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (!this.queued) return;
    const { queue, end } = this;
    if (this.hasGap) {
      this.reset(end - this.queued);
      this.end = end;
    }
    this.queue = [];
    this.queued = 0;
    this.draw(queue.reduce(joined));
  }

  draw(bytes) {
    const isAtEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40;
    const lines = document.createDocumentFragment();
    let from = 0;
    if (this.mustSkip) from = this.skip(bytes);
    let at;
    while ((at = bytes.indexOf(NEWLINE, from)) !== -1) {
      this.addLine(lines, joined(this.partial, bytes.subarray(from, at)), 1);
      this.partial = NOTHING;
      from = at + 1;
    }
    this.partial = joined(this.partial, bytes.subarray(from));
    if (this.partial.length > LONGEST_LINE) this.cutPartial(lines);
    this.box.classList.remove("is-waiting");
    this.tail?.remove();
    this.tail = null;
    this.box.insertBefore(lines, this.laterButton);
    if (this.partial.length) this.showTail();
    this.trim();
    if (isAtEnd) this.box.scrollTop = this.box.scrollHeight;
  }

  /** Leave out the rest of a line whose beginning we do not have. */
  skip(bytes) {
    const at = bytes.indexOf(NEWLINE);
    const left = at === -1 ? 0 : at + 1; // a log without any newline: show what there is
    this.begin += left;
    this.mustSkip = false;
    return left;
  }

  /** `extra` bytes belong to the line without being shown: its newline. */
  addLine(parent, bytes, extra) {
    let from = 0;
    while (bytes.length - from > LONGEST_LINE) {
      const to = characterStart(bytes, from + LONGEST_LINE);
      this.addPiece(parent, bytes.subarray(from, to), 0);
      from = to;
    }
    this.addPiece(parent, bytes.subarray(from), extra);
  }

  addPiece(parent, bytes, extra) {
    const isEnded = extra && bytes.at(-1) === RETURN; // a line that ends with CR LF
    const text = this.decoder.decode(isEnded ? bytes.subarray(0, -1) : bytes);
    const { runs, style } = render(text, this.style);
    this.style = style;
    parent.append(lineOf(runs, bytes.length + extra));
  }

  /** A line without end: progress that overwrites itself is kept short, the rest becomes lines of its own. */
  cutPartial(parent) {
    while (this.partial.length > LONGEST_LINE) {
      const last = this.partial.lastIndexOf(RETURN, this.partial.length - 2);
      if (last > this.partial.length / 2) {
        this.begin += this.isFirst(parent) ? last : 0;
        this.partial = this.partial.slice(last);
        continue;
      }
      const to = characterStart(this.partial, LONGEST_LINE);
      this.addPiece(parent, this.partial.subarray(0, to), 0);
      this.partial = this.partial.slice(to);
    }
  }

  isFirst(parent) {
    return !parent.firstChild && !this.box.querySelector(".line");
  }

  showTail() {
    const { runs } = render(this.decoder.decode(this.partial), this.style);
    this.tail = lineOf(runs, 0);
    this.box.insertBefore(this.tail, this.laterButton);
  }

  trim() {
    let line = this.earlierButton.nextElementSibling;
    for (let left = this.box.childElementCount - MOST_LINES; left > 0 && line !== this.tail; left--) {
      const next = line.nextElementSibling;
      this.begin += line.byteCount;
      line.remove();
      line = next;
    }
    this.earlierButton.hidden = this.begin === 0;
  }

  finish() {
    this.flush();
    this.box.classList.remove("is-waiting");
    this.box.classList.toggle("is-blank", this.end === 0);
  }

  async earlier() {
    const from = Math.max(0, this.begin - TAIL_BYTES);
    this.earlierButton.disabled = true;
    try {
      const response = await this.ask(`offset=${from}&limit=${this.begin - from}`, undefined);
      let bytes = new Uint8Array(await response.arrayBuffer());
      const cut = from > 0 ? bytes.indexOf(NEWLINE) + 1 : 0;
      this.prepend(bytes.subarray(cut), from + cut);
    } catch {
      this.say("The earlier part could not be read. Try again.");
    }
    this.earlierButton.disabled = false;
  }

  prepend(bytes, offset) {
    const lines = document.createDocumentFragment();
    const style = this.style;
    this.style = PLAIN;
    let from = 0;
    let at;
    while ((at = bytes.indexOf(NEWLINE, from)) !== -1) {
      this.addLine(lines, bytes.subarray(from, at), 1);
      from = at + 1;
    }
    if (from < bytes.length) this.addLine(lines, bytes.subarray(from), 0);
    this.style = style;
    const before = this.box.scrollHeight;
    this.earlierButton.after(lines);
    this.box.scrollTop += this.box.scrollHeight - before;
    this.begin = offset;
    this.earlierButton.hidden = offset === 0;
    if (this.box.childElementCount > 2 * MOST_LINES) this.detach();
  }

  /** So much earlier output is shown that the end must go; following it makes no sense any more. */
  detach() {
    this.stop();
    this.flush();
    this.isDetached = true;
    let line = this.laterButton.previousElementSibling;
    for (let left = this.box.childElementCount - MOST_LINES; left > 0; left--) {
      const before = line.previousElementSibling;
      line.remove();
      line = before;
    }
    this.tail = null;
    this.laterButton.hidden = false;
  }

  toEnd() {
    this.isDetached = this.isDone = this.isPlaced = false;
    this.reset(0);
    this.start();
  }

  say(text) {
    this.trouble?.remove();
    this.trouble = null;
    if (!text) return;
    this.trouble = document.createElement("div");
    this.trouble.className = "log-trouble";
    this.trouble.textContent = text;
    this.box.append(this.trouble);
  }
}

function lineOf(runs, byteCount) {
  const line = document.createElement("div");
  line.className = "line";
  line.byteCount = byteCount;
  for (const run of runs) line.append(node(run));
  return line;
}

function joined(first, second) {
  if (!first.length) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** The start of the UTF-8 character at or just before `at`. */
function characterStart(bytes, at) {
  let to = at;
  while (to > at - 4 && (bytes[to] & 0xc0) === 0x80) to--;
  return to;
}
