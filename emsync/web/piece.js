
// ---- the clock: the sound, else the film, else the time of day ------------------------------------------------------

/** A clock with the few verbs of a media element that the page uses. */
class Watch {
  #from = 0;
  #started = null;
  constructor(duration) { this.duration = duration; }
  get paused() { return this.#started === null; }
  get currentTime() {
    const at = this.#started === null ? this.#from : this.#from + (performance.now() - this.#started) / 1000;
    return Math.min(at, this.duration);
  }
  set currentTime(seconds) {
    this.#from = seconds;
    if (this.#started !== null) this.#started = performance.now();
  }
  get ended() { return this.currentTime >= this.duration; }
  play() { if (this.#started === null) this.#started = performance.now(); return Promise.resolve(); }
  pause() { this.#from = this.currentTime; this.#started = null; }
}

const film = byId("film");
const note = byId("note");
let sound = null;
let master = new Watch(data.duration);
/** A film that drifts this far from the sound, in seconds, is moved to where it belongs. */
const MOST_DRIFT = 0.08;

function say(text) { note.textContent = text; }

function openMedia() {
  if (data.film) {
    film.hidden = false;
    byId("stage").classList.add("with-film");
    film.addEventListener("error", () => {
      film.hidden = true;
      byId("own").hidden = true;
      byId("stage").classList.remove("with-film");
      if (master === film) setMaster(new Watch(data.duration));
      say(data.film.href ? `The film ${data.film.name} is not where this page expects it, or this browser cannot show it.`
        : "This browser cannot show the film.");
    });
    film.src = addressOf(data.film);
    byId("own").hidden = false;
    master = film;
  }
  if (data.sound) {
    sound = new Audio();
    sound.preload = "auto";
    sound.addEventListener("error", () => {
      sound = null;
      setMaster(data.film && !film.hidden ? film : new Watch(data.duration));
      say(`This browser cannot play ${data.sound.name}.`);
    });
    sound.src = addressOf(data.sound);
    master = sound;
  } else {
    say("This page has no sound; open the MIDI file to hear the piece.");
  }
  byId("ownsound").addEventListener("change", (event) => { film.muted = !event.target.checked; });
}

function setMaster(next) {
  const at = master.currentTime;
  const playing = !master.paused;
  master = next;
  master.currentTime = at;
  if (playing) play();
}

const followers = () => (data.film && !film.hidden && master !== film ? [film] : []);

function play() {
  if (master.ended || master.currentTime >= data.duration) go(0);
  const started = master.play();
  if (started) started.catch((error) => { if (error.name !== "AbortError") say(`Playing failed: ${error.message}`); });
  for (const each of followers()) each.play().catch(() => {});
}

function pause() {
  master.pause();
  for (const each of followers()) each.pause();
}

function go(seconds) {
  const at = Math.min(Math.max(seconds, 0), data.duration);
  master.currentTime = at;
  for (const each of followers()) each.currentTime = at;
  if (at < view.from || at > view.from + view.length) view.from = clampFrom(at - view.length / 2);
  changed = true;
}

// ---- every frame -----------------------------------------------------------------------------------------------------

let shownCut = null;

function tick() {
  const at = Math.min(master.currentTime, data.duration);
  const playing = !master.paused && !master.ended;
  if (!master.paused && at >= data.duration) pause();
  for (const each of followers()) {
    if (playing && Math.abs(each.currentTime - at) > MOST_DRIFT && !each.seeking && !each.ended) each.currentTime = at;
    if (!playing && !each.paused) each.pause();
  }
  if (playing && (at < view.from || at > view.from + view.length)) {
    view.from = clampFrom(at);
    changed = true;
  }
  if (changed) drawStill();
  changed = false;
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.drawImage(still, 0, 0);
  const scale = window.devicePixelRatio || 1;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  if (inView(at)) {
    pen.fillStyle = colour("--playhead");
    pen.fillRect(xOf(at) - 1, 0, 2, HIGH - AXIS);
  }
  showTime(at, playing);
  requestAnimationFrame(tick);
}

function showTime(at, playing) {
  const text = `${clock(at)} / ${clock(data.duration)}`;
  if (byId("time").textContent !== text) {
    byId("time").textContent = text;
    byId("seek").value = at;
    byId("seek").setAttribute("aria-valuetext", text);
  }
  const button = byId("play");
  if ((button.textContent === "Stop") !== playing) {
    button.textContent = playing ? "Stop" : "Play";
    button.setAttribute("aria-pressed", playing);
  }
  let latest = null;
  data.cuts.forEach((cut, i) => { if (cut.time <= at + 0.005) latest = i; });
  if (latest !== shownCut) {
    const rows = byId("cuts").tBodies[0].rows;
    if (shownCut !== null) rows[shownCut].removeAttribute("aria-current");
    if (latest !== null) rows[latest].setAttribute("aria-current", "true");
    shownCut = latest;
  }
}

// ---- lists and controls ----------------------------------------------------------------------------------------------

function goButton(seconds, text, name) {
  return make("button", { type: "button", "aria-label": name, onclick: () => go(seconds) }, text);
}

function signed(number) { return number === null ? "" : number.toFixed(1).replace("-", "−"); }

function fillLists() {
  byId("facts").textContent = data.facts.join(" · ");
  byId("summary").textContent = data.summary;
  byId("cuts-card").hidden = !data.cuts.length;
  byId("sections-card").hidden = !data.sections.length;
  byId("chords-card").hidden = !data.chords.length;
  data.cuts.forEach((cut, i) => {
    const state = data.states[cut.state];
    const mark = make("b", { "aria-hidden": "true", style: `color: ${state.colour}` }, MARKS[cut.state]);
    byId("cuts").tBodies[0].append(make("tr", {},
      make("th", { scope: "row" }, `${i + 1}`), make("td", {}, cut.timecode),
      make("td", {}, goButton(cut.time, clock(cut.time), `Go to cut ${i + 1} at ${clock(cut.time)}`)),
      make("td", { class: "state" }, mark, ` ${state.label}`),
      make("td", { class: "number" }, signed(cut.error_ms)), make("td", {}, cut.chord)));
  });
  for (const each of data.sections) byId("sections").append(goButton(each.start, `${each.name} ${clock(each.start)}`));
  for (const each of data.chords) {
    byId("chords").append(goButton(each.time, each.name || "·", `${each.name || "unnamed chord"} at ${clock(each.time)}`));
  }
  for (const each of data.instruments) {
    const variable = instrumentVariable(each);
    const tint = variable ? `var(${variable})` : each.colour;
    byId("legend").append(make("li", {}, make("i", { style: `background: ${tint}` }),
      `${each.name} (${each.notes.length})`));
  }
  for (const each of data.downloads) {
    byId("downloads").append(make("a", { class: "button", href: addressOf(each), download: each.name }, each.label));
  }
  for (const [medium, text] of [[data.sound, "Sound"], [data.film, "Film"]]) {
    if (medium) {
      byId("downloads").append(make("a",
        { class: "button", href: addressOf(medium), download: medium.download ?? true }, text));
    }
  }
  canvas.setAttribute("aria-label",
    `Piano roll: ${data.facts.join(", ")}. ${data.instruments.map((each) => each.name).join(", ")}. ${data.summary}`);
}

function zoom(factor) {
  const middle = Math.min(Math.max(master.currentTime, view.from), view.from + view.length);
  const share = (middle - view.from) / view.length;
  view.length = Math.min(Math.max(view.length * factor, Math.min(2, data.duration)), data.duration);
  view.from = clampFrom(middle - share * view.length);
  changed = true;
}

function listen() {
  byId("play").addEventListener("click", () => (master.paused || master.ended ? play() : pause()));
  byId("seek").max = data.duration;
  byId("seek").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("in").addEventListener("click", () => zoom(0.5));
  byId("out").addEventListener("click", () => zoom(2));
  byId("whole").addEventListener("click", () => zoom(Infinity));
  canvas.addEventListener("click", (event) => {
    const share = (event.offsetX - LEFT) / (wide - LEFT - RIGHT);
    if (share >= 0) go(view.from + share * view.length);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && !event.target.closest("button, input, a, summary")) {
      event.preventDefault();
      byId("play").click();
    }
  });
  new ResizeObserver(fit).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { changed = true; });
}

openMedia();
fillLists();
listen();
fit();
requestAnimationFrame(tick);
