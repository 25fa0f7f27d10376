// One line of terminal output into runs of styled text. Colours are understood (SGR); carriage return, backspace and
// "erase in line" overwrite as on a terminal; every other control sequence is dropped. Output is data, never markup.

export const PLAIN = Object.freeze({ fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false });

// CSI, OSC, other strings (DCS, SOS, PM, APC), two-character escapes, single controls. An unfinished one at the end goes too.
const CONTROL =
  /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\[[0-?]*[ -/]*$|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b[PX^_][^\x1b]*(?:\x1b\\|$)|\x1b[ -/]*[0-~]|\x1b|([\x00-\x08\x0a-\x1f\x7f-\x9f])/g;

/** Runs `{text, style}` of one line, and the style that the next line begins with. */
export function render(line, style) {
  const out = new Cells();
  let at = 0;
  for (const match of line.matchAll(CONTROL)) {
    if (match.index > at) out.write(line.slice(at, match.index), style);
    at = match.index + match[0].length;
    if (match[2] === "m") style = sgr(style, match[1]);
    else if (match[2] === "K") out.erase(match[1]);
    else if (match[3] === "\r") out.cursor = 0;
    else if (match[3] === "\b") out.cursor = Math.max(0, out.cursor - 1);
  }
  if (at < line.length) out.write(line.slice(at), style);
  return { runs: out.runs(), style };
}

class Cells {
  constructor() {
    this.cells = []; // of { text, style }; text is long until something overwrites
    this.length = 0;
    this.cursor = 0;
    this.isSplit = false;
  }

  write(text, style) {
    if (this.cursor === this.length && !this.isSplit) {
      const last = this.cells.at(-1);
      if (last && last.style === style) last.text += text;
      else this.cells.push({ text, style });
      this.length += text.length;
      this.cursor = this.length;
      return;
    }
    this.split();
    for (const char of text) this.cells[this.cursor++] = { text: char, style };
    this.length = this.cells.length;
  }

  /** One cell a character: needed only where something is overwritten. */
  split() {
    if (this.isSplit) return;
    const before = this.cells;
    this.cells = [];
    let units = 0;
    let cursor = 0;
    for (const cell of before) {
      for (const char of cell.text) {
        if (units < this.cursor) cursor++;
        units += char.length;
        this.cells.push({ text: char, style: cell.style });
      }
    }
    this.cursor = cursor;
    this.length = this.cells.length;
    this.isSplit = true;
  }

  erase(mode) {
    this.split();
    if (mode === "" || mode === "0") this.cells.length = Math.min(this.cells.length, this.cursor);
    else if (mode === "2") this.cells = Array.from({ length: this.cursor }, () => ({ text: " ", style: PLAIN }));
    else if (mode === "1") for (let i = 0; i < Math.min(this.cursor, this.cells.length); i++) this.cells[i] = { text: " ", style: PLAIN };
    this.length = this.cells.length;
  }

  runs() {
    if (!this.isSplit) return this.cells;
    const runs = [];
    for (const { text, style } of this.cells) {
      const last = runs.at(-1);
      if (last && last.style === style) last.text += text;
      else runs.push({ text, style });
    }
    return runs;
  }
}

function sgr(style, parameters) {
  const codes = parameters.split(/[;:]/).map((text) => (text === "" ? 0 : Number(text)));
  let next = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 9) next.strike = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code === 29) next.strike = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 39) next.fg = null;
    else if (code === 49) next.bg = null;
    else if (code === 38 || code === 48) {
      const [color, used] = extended(codes, i + 1);
      if (color !== undefined) next[code === 38 ? "fg" : "bg"] = color;
      i += used;
    }
  }
  return next;
}

function extended(codes, i) {
  const byte = (value) => Math.min(255, Math.max(0, value | 0));
  if (codes[i] === 5) return [indexed(byte(codes[i + 1])), 2];
  if (codes[i] === 2) return [`rgb(${byte(codes[i + 1])}, ${byte(codes[i + 2])}, ${byte(codes[i + 3])})`, 4];
  return [undefined, 1];
}

function indexed(number) {
  if (number < 16) return number;
  if (number >= 232) {
    const grey = 8 + (number - 232) * 10;
    return `rgb(${grey}, ${grey}, ${grey})`;
  }
  const level = (value) => (value === 0 ? 0 : 55 + value * 40);
  const cube = number - 16;
  return `rgb(${level(Math.floor(cube / 36))}, ${level(Math.floor(cube / 6) % 6)}, ${level(cube % 6)})`;
}

/** A run as a node: text, or a span with classes. Other colours go through the object model, which the policy allows. */
export function node({ text, style }) {
  const words = [];
  let { fg, bg } = style;
  if (style.inverse) [fg, bg] = [bg ?? 0, fg ?? 7];
  for (const name of ["bold", "dim", "italic", "underline", "strike"]) if (style[name]) words.push(name);
  if (style.inverse && fg === 0) words.push("ink-dark");
  else if (typeof fg === "number") words.push(`fg-${fg}`);
  if (typeof bg === "number") words.push(`bg-${bg}`);
  if (!words.length && typeof fg !== "string" && typeof bg !== "string") return document.createTextNode(text);
  const span = document.createElement("span");
  if (words.length) span.className = words.join(" ");
  if (typeof fg === "string") span.style.color = fg;
  if (typeof bg === "string") span.style.backgroundColor = bg;
  span.textContent = text;
  return span;
}
