// SPDX-License-Identifier: MIT
// Bytes of a log to lines of styled text. Only colours and weights are taken from escape
// sequences; every other sequence is dropped, links included. Nothing here makes HTML.

const decoder = () => new TextDecoder('utf-8', { fatal: false });

/** Longer lines are broken here, so that one endless line cannot stall the page. */
export const LONGEST_LINE = 8192;

export class LogParser {
  #decode = decoder();
  #style = { classes: '' };
  #state = { fg: null, bg: null, bold: false, dim: false, italic: false, under: false };
  #line = [];
  #length = 0;
  #escape = '';
  #carriage = false;

  /** Feeds bytes; returns finished lines, each a list of {text, classes}. */
  feed(bytes) {
    const text = this.#decode.decode(bytes, { stream: true });
    const lines = [];
    let run = '';
    const flush = () => {
      if (run) this.#line.push({ text: run, classes: this.#style.classes });
      run = '';
    };
    const end = () => {
      flush();
      lines.push(this.#line);
      this.#line = [];
      this.#length = 0;
    };
    for (const c of text) {
      if (this.#escape) {
        this.#escape += c;
        flush();
        this.#sequence();
        continue;
      }
      if (this.#carriage) {
        this.#carriage = false;
        // A lone carriage return redraws the line: only its last state is kept.
        if (c !== '\n') { run = ''; this.#line = []; this.#length = 0; }
      }
      if (c === '\x1b') { flush(); this.#escape = c; continue; }
      if (c === '\n') { end(); continue; }
      if (c === '\r') { this.#carriage = true; continue; }
      if (c === '\b') { run = run.slice(0, -1); continue; }
      if (c < ' ' && c !== '\t') continue;
      run += c;
      if (++this.#length >= LONGEST_LINE) end();
    }
    flush();
    return lines;
  }

  /** What has no end yet. */
  rest() {
    return this.#line;
  }

  #sequence() {
    const text = this.#escape;
    if (text.length < 2) return;
    if (text[1] === '[') {
      const last = text[text.length - 1];
      if (text.length > 2 && last >= '@' && last <= '~') {
        if (last === 'm') this.#colour(text.slice(2, -1));
        this.#escape = '';
      } else if (text.length > 64) {
        this.#escape = '';
      }
      return;
    }
    if (text[1] === ']') {
      // A title or a link: dropped up to its end, or when it is no sequence after all.
      if (text.endsWith('\x07') || text.endsWith('\x1b\\') || text.length > 2048) this.#escape = '';
      return;
    }
    this.#escape = '';
  }

  #colour(parameters) {
    const codes = parameters === '' ? [0] : parameters.split(/[;:]/).map((p) => Number(p) || 0);
    const s = this.#state;
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i];
      if (code === 0) Object.assign(s, { fg: null, bg: null, bold: false, dim: false, italic: false, under: false });
      else if (code === 1) s.bold = true;
      else if (code === 2) s.dim = true;
      else if (code === 3) s.italic = true;
      else if (code === 4) s.under = true;
      else if (code === 22) { s.bold = false; s.dim = false; }
      else if (code === 23) s.italic = false;
      else if (code === 24) s.under = false;
      else if (code >= 30 && code <= 37) s.fg = code - 30;
      else if (code === 39) s.fg = null;
      else if (code >= 40 && code <= 47) s.bg = code - 40;
      else if (code === 49) s.bg = null;
      else if (code >= 90 && code <= 97) s.fg = code - 82;
      else if (code >= 100 && code <= 107) s.bg = code - 100;
      else if (code === 38 || code === 48) {
        let colour = null;
        if (codes[i + 1] === 5) { colour = nearest256(codes[i + 2]); i += 2; }
        else if (codes[i + 1] === 2) { colour = nearestRgb(codes[i + 2], codes[i + 3], codes[i + 4]); i += 4; }
        if (code === 38) s.fg = colour; else s.bg = colour === null ? null : colour % 8;
      }
    }
    const classes = [];
    if (s.fg !== null) classes.push('f' + s.fg);
    if (s.bg !== null) classes.push('g' + s.bg);
    if (s.bold) classes.push('b');
    if (s.dim) classes.push('d');
    if (s.italic) classes.push('i');
    if (s.under) classes.push('u');
    this.#style = { classes: classes.join(' ') };
  }
}

// The sixteen colours the page has classes for.
function nearestRgb(r = 0, g = 0, b = 0) {
  const bright = Math.max(r, g, b) > 190 ? 8 : 0;
  const on = (value) => (value > Math.max(r, g, b) * 0.6 && value > 60 ? 1 : 0);
  return bright + on(r) + 2 * on(g) + 4 * on(b);
}

function nearest256(n = 0) {
  if (n < 16) return n;
  if (n >= 232) return n > 243 ? 7 : 8;
  const cube = n - 16;
  return nearestRgb(Math.floor(cube / 36) * 51, (Math.floor(cube / 6) % 6) * 51, (cube % 6) * 51);
}
