
// ---- the notes -------------------------------------------------------------------------------------------------------

const canvas = byId("roll");
const view = { from: 0, length: data.duration };
/** The picture without the playhead, drawn again only when something changed. */
const still = document.createElement("canvas");
let changed = true;
const LEFT = 92;
const RIGHT = 10;
const MARKS = { frame: "✓", second: "◆", missed: "✕", marked: "|" };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clampFrom = (from) => Math.min(Math.max(from, 0), data.duration - view.length);
/** Grey and blue are too dark on a dark page. */
const instrumentVariable = (each) => (each.drums ? "--drums" : each.colour === "#0072B2" ? "--blue" : null);
const instrumentColour = (each) => (instrumentVariable(each) ? colour(instrumentVariable(each)) : each.colour);

/** The panels from the top down: what each is called, how high it is, and what draws it. */
function panels() {
  const all = [];
  if (data.sections.length) all.push({ name: "form", high: 22, draw: drawSections });
  all.push({ name: "cuts", high: 24, draw: drawCuts });
  if (data.chords.length) all.push({ name: "chords", high: 24, draw: drawChords });
  for (const each of data.instruments) {
    const rows = [...new Set(each.notes.map((n) => n[2]))].sort((a, b) => a - b);
    const span = each.drums ? rows.length : rows.at(-1) - rows[0] + 1;
    const high = each.drums ? 14 + 8 * span : Math.min(Math.max(26 + 3 * span, 44), 150);
    all.push({ name: each.name, high, draw: (place) => drawNotes(place, each, rows), grid: true });
  }
  all.push({ name: "tempo", high: 50, draw: drawTempo, grid: true });
  if (data.mood) all.push({ name: "mood", high: 90, draw: drawMood, grid: true });
  return all;
}

const GAP = 8;
const AXIS = 26;
const layout = panels();
const HIGH = layout.reduce((sum, panel) => sum + panel.high + GAP, 0) + AXIS;

let wide = 0;
const xOf = (seconds) => LEFT + ((seconds - view.from) / view.length) * (wide - LEFT - RIGHT);
const inView = (start, end = start) => end >= view.from && start <= view.from + view.length;

function fit() {
  const scale = window.devicePixelRatio || 1;
  wide = canvas.clientWidth;
  for (const each of [canvas, still]) {
    each.width = Math.round(wide * scale);
    each.height = Math.round(HIGH * scale);
  }
  canvas.style.height = `${HIGH}px`;
  changed = true;
}

function drawStill() {
  const pen = still.getContext("2d");
  const scale = window.devicePixelRatio || 1;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = colour("--card");
  pen.fillRect(0, 0, wide, HIGH);
  pen.textBaseline = "middle";
  let top = 0;
  for (const panel of layout) {
    const place = { pen, top, high: panel.high };
    label(place, panel.name);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, top, wide - LEFT - RIGHT, panel.high);
    pen.clip();
    pen.fillStyle = panel.grid ? colour("--page") : "transparent";
    pen.fillRect(LEFT, top, wide - LEFT - RIGHT, panel.high);
    if (panel.grid) drawBars(place);
    panel.draw(place);
    pen.restore();
    top += panel.high + GAP;
  }
  drawCutLines(pen, top - GAP);
  drawAxis(pen, top);
}

function label({ pen, top, high }, text) {
  pen.fillStyle = colour("--soft");
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "right";
  let shown = text;
  while (shown.length > 3 && pen.measureText(shown).width > LEFT - 12) shown = shown.slice(0, -2) + "…";
  pen.fillText(shown, LEFT - 10, top + high / 2);
}

/** The smallest step of 1, 2, 4, ... that leaves marks at least this many pixels apart. */
function every(times, pixels) {
  const each = times.length > 1 ? (xOf(times.at(-1)) - xOf(times[0])) / (times.length - 1) : Infinity;
  let step = 1;
  while (each * step < pixels && step < times.length) step *= 2;
  return step;
}

function drawBars({ pen, top, high }) {
  pen.fillStyle = colour("--line");
  const step = every(data.bars, 7);
  for (let i = 0; i < data.bars.length; i += step) {
    if (inView(data.bars[i])) pen.fillRect(Math.round(xOf(data.bars[i])), top, 1, high);
  }
}

function drawCutLines(pen, bottom) {
  pen.save();
  pen.strokeStyle = colour("--ink");
  pen.globalAlpha = 0.45;
  pen.setLineDash([4, 4]);
  for (const cut of data.cuts.filter((each) => inView(each.time))) {
    const x = Math.round(xOf(cut.time)) + 0.5;
    pen.beginPath();
    pen.moveTo(x, layout[0].name === "form" ? 54 : 24);
    pen.lineTo(x, bottom);
    pen.stroke();
  }
  pen.restore();
}

function drawSections({ pen, top, high }) {
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "center";
  data.sections.filter((each) => inView(each.start, each.end)).forEach((each, i) => {
    const [left, right] = [Math.max(xOf(each.start), LEFT), Math.min(xOf(each.end), wide - RIGHT)];
    pen.fillStyle = colour(i % 2 ? "--faint" : "--line");
    pen.fillRect(left, top, right - left - 1, high);
    pen.fillStyle = colour("--ink");
    if (pen.measureText(each.name).width < right - left - 6) pen.fillText(each.name, (left + right) / 2, top + high / 2);
  });
}

function drawCuts({ pen, top, high }) {
  pen.font = "bold 15px system-ui, sans-serif";
  pen.textAlign = "center";
  for (const cut of data.cuts.filter((each) => inView(each.time))) {
    pen.fillStyle = data.states[cut.state].colour;
    pen.fillText(MARKS[cut.state], xOf(cut.time), top + high / 2);
  }
}

function drawChords({ pen, top, high }) {
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "left";
  pen.fillStyle = colour("--ink");
  let free = -Infinity;
  for (const chord of data.chords.filter((each) => inView(each.time))) {
    const x = xOf(chord.time);
    pen.fillRect(Math.round(x), top + high - 5, 2, 5);
    if (x >= free && chord.name) {
      pen.fillText(chord.name, x, top + high / 2 - 2);
      free = x + pen.measureText(chord.name).width + 8;
    }
  }
}

function drawNotes({ pen, top, high }, each, rows) {
  const low = each.drums ? 0 : rows[0];
  const count = each.drums ? rows.length : rows.at(-1) - rows[0] + 1;
  const step = (high - 8) / count;
  const thick = Math.min(Math.max(step - 0.5, 2), 7);
  const rowOf = each.drums ? new Map(rows.map((pitch, i) => [pitch, i])) : null;
  pen.fillStyle = instrumentColour(each);
  for (const [start, end, pitch, velocity] of each.notes) {
    if (!inView(start, end)) continue;
    const row = rowOf ? rowOf.get(pitch) : pitch - low;
    const x = xOf(start);
    const long = each.drums ? 3 : Math.max(xOf(end) - x - 0.5, 2);
    pen.globalAlpha = 0.4 + (0.6 * velocity) / 127;
    pen.fillRect(x, top + high - 4 - (row + 0.5) * step - thick / 2, long, thick);
  }
  pen.globalAlpha = 1;
}

/** A line through points (seconds, share of the height); null breaks it. */
function drawLine({ pen, top, high }, points, style, dash = []) {
  pen.strokeStyle = style;
  pen.lineWidth = 2;
  pen.setLineDash(dash);
  pen.beginPath();
  let drawing = false;
  for (const [seconds, share] of points) {
    if (share === null) { drawing = false; continue; }
    const y = top + high - 5 - share * (high - 10);
    if (drawing) pen.lineTo(xOf(seconds), y); else pen.moveTo(xOf(seconds), y);
    drawing = true;
  }
  pen.stroke();
  pen.setLineDash([]);
}

function drawTempo(place) {
  const { times, qpm } = data.tempo;
  const [low, high] = [Math.min(...qpm), Math.max(...qpm)];
  const room = Math.max((high - low) * 0.25, high * 0.05);
  const share = (value) => (value - low + room) / (high - low + 2 * room);
  const points = qpm.flatMap((value, i) => [[times[i], share(value)], [times[i + 1] ?? data.duration, share(value)]]);
  drawLine(place, points, colour("--accent"));
  corner(place, low === high ? `${low.toFixed(0)} qpm` : `${low.toFixed(0)} to ${high.toFixed(0)} qpm`);
}

function drawMood(place) {
  const { times, valence, arousal } = data.mood;
  const held = (values) => {
    const points = values.map((value, i) => [times[i], value === null ? null : (value + 1) / 2]);
    const given = points.filter((point) => point[1] !== null);
    return given.length ? [[0, given[0][1]], ...points, [data.duration, given.at(-1)[1]]] : [];
  };
  place.pen.fillStyle = colour("--line");
  place.pen.fillRect(LEFT, place.top + place.high / 2, wide, 1);
  drawLine(place, held(valence), "#009E73");
  drawLine(place, held(arousal), "#D55E00", [6, 4]);
  corner(place, "valence —   arousal - -   (−1 to 1)");
}

function corner({ pen, top }, text) {
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "left";
  const long = pen.measureText(text).width;
  pen.globalAlpha = 0.8;
  pen.fillStyle = colour("--page");
  pen.fillRect(LEFT + 3, top + 2, long + 8, 16);
  pen.globalAlpha = 1;
  pen.fillStyle = colour("--soft");
  pen.fillText(text, LEFT + 7, top + 10);
}

function drawAxis(pen, top) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600];
  const step = steps.find((each) => (each / view.length) * (wide - LEFT - RIGHT) >= 64) ?? 3600;
  pen.fillStyle = colour("--soft");
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "center";
  for (let i = Math.ceil(view.from / step); i * step <= view.from + view.length + 1e-9; i++) {
    const x = xOf(i * step);
    pen.fillRect(Math.round(x), top, 1, 5);
    const text = step < 1 ? clock(i * step) : clock(i * step).slice(0, -3);
    pen.fillText(text, Math.min(x, wide - RIGHT - 14), top + 15);
  }
}
